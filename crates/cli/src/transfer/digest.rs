//! SHA-256 of a file, or of its beginning.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::str::FromStr;

use anyhow::{Result, bail};
use sha2::{Digest as _, Sha256};

use super::CHUNK;

/// A digest, in the form that `sha256sum` prints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

/// A digest that is not finished, and the number of its bytes so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hasher {
    state: Sha256,
    len: u64,
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// The number of bytes it has digested.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The digest of all bytes so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.state.clone().finalize().into())
    }

    /// Reads the first `len` bytes of a file, or all of it if the file is shorter. Blocks. The
    /// file's position is then behind these bytes.
    pub(crate) fn of_start(mut file: &File, len: u64) -> io::Result<Hasher> {
        file.rewind()?;
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; CHUNK];
        let mut start = file.take(len);
        loop {
            match start.read(&mut buffer)? {
                0 => return Ok(hasher),
                n => hasher.update(&buffer[..n]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Digest> {
        let mut digest = [0; 32];
        // Check this before cutting the text into bytes, because a character can be longer than one
        // byte.
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            bail!("{text:?} is no SHA-256; expected 64 hexadecimal digits");
        }
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16)?;
        }
        Ok(Digest(digest))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::Write;

    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn it_is_sha_256_in_hexadecimal() {
        let mut hasher = Hasher::default();
        hasher.update(b"a");
        hasher.update(b"bc");
        assert_eq!((hasher.len(), hasher.digest().to_string()), (3, ABC.to_owned()));
        assert_eq!(ABC.to_uppercase().parse::<Digest>().unwrap(), hasher.digest());
        let umlauts = "ä".repeat(32);
        for bad in ["", "ba78", &ABC.replace('b', "g"), &format!("{ABC}0"), &umlauts] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_start_of_a_file_is_read_to_where_it_is_said() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abcdef").unwrap();
        let start = Hasher::of_start(&file, 3).unwrap();
        assert_eq!(start.digest().to_string(), ABC);
        assert_eq!(file.stream_position().unwrap(), 3);
        assert_eq!(Hasher::of_start(&file, 100).unwrap().len(), 6);
    }
}
