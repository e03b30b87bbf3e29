//! The SHA-256 of a certificate, by which one may be trusted.

use std::fmt;

use super::crypto::cipher_suite::TLS13_AES_128_GCM_SHA256;
use crate::error::{Error, ErrorKind, Result};

const BYTES: usize = 32;

/// Shown as `openssl x509 -fingerprint -sha256` does: `5E:0A:…`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint([u8; BYTES]);

impl Fingerprint {
    pub(super) fn of(certificate: &[u8]) -> Fingerprint {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
        let digest = suite.common.hash_provider.hash(certificate);
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads hexadecimal digits, with colons between them or without.
    ///
    /// # Errors
    ///
    /// `InvalidInput`, which says what is expected instead.
    pub(super) fn parse(text: &str) -> Result<Fingerprint> {
        let digits = text.trim().chars().filter(|char| *char != ':');
        let digits: Vec<u32> =
            digits.map(|char| char.to_digit(16)).collect::<Option<_>>().unwrap_or_default();
        if digits.len() != 2 * BYTES {
            let sha_1 = if digits.len() == 40 { ", and these are as many as of SHA-1" } else { "" };
            let message = format!(
                "`{text}` is no SHA-256 fingerprint of a certificate: it takes 64 hexadecimal \
                 digits, with or without colons{sha_1}"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let mut bytes = [0; BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8);
        }
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    /// Of no bytes (FIPS 180-4's empty message).
    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_fingerprint_is_read_in_all_its_forms() {
        let shown = Fingerprint::of(b"").to_string();
        assert!(shown.starts_with("E3:B0:C4:") && shown.len() == 95, "{shown}");
        for text in [EMPTY, &EMPTY.to_uppercase(), &shown, &format!(" {shown}\n")] {
            assert!(Fingerprint::parse(text).unwrap() == Fingerprint::of(b""), "{text}");
        }
        assert!(Fingerprint::parse(EMPTY).unwrap() != Fingerprint::of(b"a"));
    }

    #[test]
    fn other_text_is_refused_with_what_it_should_be() {
        for text in ["", "abc", &EMPTY[1..], &format!("{EMPTY}0"), &EMPTY.replace('e', "g"), "é"] {
            let error = Fingerprint::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
        }
        let error = Fingerprint::parse(&EMPTY[..40]).unwrap_err();
        assert!(error.to_string().contains("SHA-1"), "{error}");
    }
}
