//! The names of partial files.

use std::ffi::{OsStr, OsString};

use crate::transfer::digest::Hasher;

/// The suffix of every partial file.
pub(crate) const SUFFIX: &str = ".h2conn-part";

/// The longest name in bytes on nearly all file systems. File systems that count characters allow
/// more.
const LONGEST: usize = 255;

/// The digits of a digest that distinguish two long names with the same beginning.
const DIGITS: usize = 16;

/// The name of the partial file for `name`. It is always the same, so that the next transfer finds
/// it.
///
/// It is `NAME.h2conn-part`. If that is too long it is `BEGINNING-DIGEST.h2conn-part`, with the
/// digest of the whole name.
pub(super) fn of(name: &OsStr) -> OsString {
    let mut partial = name.to_owned();
    if name.len() + SUFFIX.len() > LONGEST {
        let mut hasher = Hasher::default();
        hasher.update(name.as_encoded_bytes());
        let digest = hasher.digest().to_string();
        // Replacement characters do not matter, because the digest is that of the bytes.
        let text = name.to_string_lossy();
        let beginning = start(&text, LONGEST - SUFFIX.len() - DIGITS - 1);
        partial = format!("{beginning}-{}", &digest[..DIGITS]).into();
    }
    partial.push(SUFFIX);
    partial
}

/// The beginning of a text that fits into `len` bytes.
fn start(text: &str, len: usize) -> &str {
    let end = text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= len);
    &text[..end.last().unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn of(name: &str) -> String {
        super::of(name.as_ref()).into_string().unwrap()
    }

    #[test]
    fn a_name_with_room_for_it_gets_the_suffix() {
        assert_eq!(of("file"), "file.h2conn-part");
        let name = "x".repeat(LONGEST - SUFFIX.len());
        assert_eq!(of(&name), name + SUFFIX);
    }

    #[test]
    fn a_longer_name_gets_its_beginning_and_its_digest() {
        for len in LONGEST - SUFFIX.len() + 1..=LONGEST {
            let one = of(&"x".repeat(len));
            let other = of(&("x".repeat(len - 1) + "y"));
            assert_eq!((one.len(), other.len()), (LONGEST, LONGEST));
            assert!(one.starts_with("xxx") && one.ends_with(SUFFIX) && one != other);
        }
        // Characters stay whole.
        for name in ["ü".repeat(127), format!("x{}", "ü".repeat(127)), "🦀".repeat(100)] {
            let partial = of(&name);
            assert!(LONGEST - 4 < partial.len() && partial.len() <= LONGEST, "{partial}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_long_name_that_is_no_text_has_one_of_its_own() {
        use std::os::unix::ffi::OsStrExt;

        let (one, other) = ([0xff; LONGEST], [0xfe; LONGEST]);
        let (one, other) =
            (super::of(OsStr::from_bytes(&one)), super::of(OsStr::from_bytes(&other)));
        assert!(one != other && one.len() <= LONGEST && other.len() <= LONGEST);
    }
}
