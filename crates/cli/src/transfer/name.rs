//! The name of a file in a request's path.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::partial::SUFFIX;

/// All characters but these are escaped in a path. They are the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The relative path of the file that a request names. The path only goes down: none of its parts
/// is empty, begins with a dot, or can be read as more than one part. The directory
/// ([`Store`](super::store::Store)) makes sure that no link leads out of it.
///
/// # Errors
///
/// If the name is not served, with the reason.
pub(crate) fn parse(path: &str) -> Result<PathBuf> {
    let mut name = PathBuf::new();
    for part in path.split('/') {
        let part = percent_decode_str(part).decode_utf8().context("the name is not UTF-8")?;
        if part.is_empty() {
            bail!("a part of the name is empty; expected /files/NAME");
        }
        if part.starts_with('.') {
            bail!("{part:?} begins with a dot; hidden files are not served");
        }
        if part.contains(|c: char| c.is_control() || "/\\".contains(c) || cfg!(windows) && c == ':')
        {
            bail!("{part:?} has a character that no name here has");
        }
        if cfg!(windows) && part.ends_with(['.', ' ']) {
            bail!("{part:?} ends with a dot or a space, which the system leaves out");
        }
        if cfg!(windows) && is_device(&part) {
            bail!("{part:?} is the name of a device of the system, and no file's");
        }
        // Some file systems ignore case.
        if part.to_ascii_lowercase().ends_with(SUFFIX) {
            bail!("{part:?} is, or would be, a file that is still being received");
        }
        name.push(&*part);
    }
    Ok(name)
}

/// Whether Windows takes the name for a device, in whatever directory.
fn is_device(part: &str) -> bool {
    // An ending behind a dot changes nothing, and spaces at the end are left out.
    let stem = part.split('.').next().unwrap_or_default().trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    let numbered = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let number = numbered.and_then(|rest| {
        let mut rest = rest.chars();
        rest.next().filter(|_| rest.next().is_none())
    });
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&stem.as_str())
        || number.is_some_and(|number| "0123456789\u{b9}\u{b2}\u{b3}".contains(number))
}

/// A name as a part of a path.
pub(crate) fn to_segment(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::path::Component;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_go_down_and_stay_what_they_are() {
        for (path, name) in [
            ("a.iso", "a.iso"),
            ("dir/sub/b", "dir/sub/b"),
            ("a%20b%25c", "a b%c"),
            ("%C3%BC", "ü"),
            ("a..b", "a..b"),
            ("100%", "100%"),
        ] {
            assert_eq!(parse(path).unwrap(), PathBuf::from(name));
        }
        assert_eq!(to_segment("a b/ü?.iso"), "a%20b%2F%C3%BC%3F.iso");
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "a//b",
            "a/",
            ".",
            "..",
            "../a",
            "a/../../b",
            "a/..",
            "%2e%2e/a",
            "%2E%2E%2Fa",
            "a%2fb",
            "a%5cb",
            "a\\b",
            "..%5cb",
            "a%00",
            "%0a",
            ".ssh/id",
            "%2essh/id",
            "a.h2conn-part",
            "a.H2Conn-Part",
            "%ff",
            "a/./b",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        assert!(
            parse("%252e%252e/a").is_ok(),
            "it is decoded once: this is a name with percent signs"
        );
    }

    #[test]
    fn names_of_devices_are_known_in_every_form() {
        for name in [
            "NUL",
            "nul",
            "Con",
            "aux.txt",
            "nul.tar.gz",
            "PRN .txt",
            "COM1",
            "com\u{b9}",
            "LPT9.x",
        ] {
            assert!(is_device(name), "{name}");
            assert_eq!(parse(&to_segment(name)).is_err(), cfg!(windows), "{name}");
        }
        for name in ["NULL", "com", "COM10", "COMA", "LPT", "console", "a.nul", "x NUL"] {
            assert!(!is_device(name), "{name}");
            parse(&to_segment(name)).unwrap();
        }
    }

    proptest! {
        #[test]
        fn every_part_of_a_name_that_is_taken_is_plain(path in "(\\.|/|%2[eEfF]|%5c|\\\\|:|a|ü){0,12}") {
            if let Ok(name) = parse(&path) {
                prop_assert!(name.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert_eq!(name.components().count(), path.split('/').count());
            }
        }

        #[test]
        fn a_name_survives_its_way_through_a_path(name in "[^/\\\\\\.\\p{C}][^/\\\\\\p{C}]{0,20}") {
            prop_assume!(cfg!(not(windows)) || !(name.contains(':') || name.ends_with(['.', ' '])));
            prop_assume!(cfg!(not(windows)) || !is_device(&name));
            prop_assume!(!name.to_ascii_lowercase().ends_with(SUFFIX));
            prop_assert_eq!(parse(&to_segment(&name)).unwrap(), PathBuf::from(name));
        }
    }
}
