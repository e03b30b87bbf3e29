//! Converting certificates and keys from PEM text, and back.

use bytes::Bytes;

use super::rustls::RootCertStore;
use super::rustls::pki_types::pem::{Error as PemError, PemObject};
use super::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use crate::error::{Error, ErrorKind, Result};

/// All certificates in `pem`, at least one. Errors name `place` as the source of the text.
pub(super) fn certificates(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unreadable(place, error))?;
    if certificates.is_empty() {
        return Err(invalid(format!(
            "no certificate in {place}: it has to be PEM text, with a section that starts with \
             `-----BEGIN CERTIFICATE-----`"
        )));
    }
    Ok(certificates)
}

/// The first private key in `pem`.
pub(super) fn private_key(pem: &[u8], place: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound if is_encrypted(pem) => invalid(format!(
            "the private key in {place} is encrypted: decrypt it, with `openssl pkey` for example"
        )),
        PemError::NoItemsFound => invalid(format!(
            "no private key in {place}: it has to be PEM text, with a section that starts with \
             `-----BEGIN PRIVATE KEY-----` (or `RSA PRIVATE KEY`, or `EC PRIVATE KEY`)"
        )),
        error => unreadable(place, error),
    })
}

/// Roots to trust, in two forms.
pub(super) struct Roots {
    pub(super) store: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

/// All certificates of `texts`, as roots to trust. Errors name `setter` as their source.
pub(super) fn roots(texts: &[Bytes], setter: &str) -> Result<Roots> {
    let mut roots = Roots { store: RootCertStore::empty(), certificates: Vec::new() };
    for text in texts {
        for certificate in certificates(text, &format!("the text given to {setter}"))? {
            roots.store.add(certificate.clone()).map_err(|error| {
                invalid(format!("a certificate given to {setter} cannot be trusted as a root"))
                    .with_source(error)
            })?;
            roots.certificates.push(certificate);
        }
    }
    Ok(roots)
}

/// A certificate as PEM text (RFC 7468).
pub(super) fn encode_certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

/// DER as PEM text, whose label says what it is (RFC 7468).
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let base64 = base64(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for place in 0..4 {
            if place <= chunk.len() {
                let index = group >> (18 - 6 * place) & 0x3f;
                text.push(char::from(ALPHABET[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn is_encrypted(pem: &[u8]) -> bool {
    const HEADER: &[u8] = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    pem.windows(HEADER.len()).any(|window| window == HEADER)
}

fn unreadable(place: &str, error: PemError) -> Error {
    invalid(format!("{place} is not well-formed PEM")).with_source(error)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let table = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in table {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        for length in [1, 47, 48, 49, 500] {
            let der: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let text = encode_certificate(&der);
            assert!(text.lines().all(|line| line.len() <= 64), "{text}");
            let back = certificates(text.as_bytes(), "it").unwrap();
            assert_eq!(back, [CertificateDer::from(der)]);
        }
    }

    #[test]
    fn text_without_a_certificate_or_key_says_what_it_lacks() {
        let error = certificates(b"garbage", "`a.pem`").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().starts_with("no certificate in `a.pem`"), "{error}");
        let error = private_key(b"garbage", "`b.pem`").unwrap_err();
        assert!(error.to_string().starts_with("no private key in `b.pem`"), "{error}");
    }

    #[test]
    fn an_encrypted_key_is_told_apart_from_a_broken_one() {
        let (begin, end) =
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----END ENCRYPTED PRIVATE KEY-----");
        let whole = format!("{begin}\nAAAA\n{end}\n");
        let error = private_key(whole.as_bytes(), "it").unwrap_err();
        assert!(error.to_string().contains("is encrypted"), "{error}");
        let error = private_key(begin.as_bytes(), "it").unwrap_err();
        assert!(error.to_string().contains("not well-formed"), "{error}");
    }

    #[test]
    fn a_root_that_is_no_certificate_names_the_setter() {
        let texts = [Bytes::from(encode_certificate(b"not a certificate"))];
        let error = roots(&texts, "ClientTls::root_certificates").map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("ClientTls::root_certificates"), "{error}");
    }
}
