//! `Identity`: a certificate chain with its private key.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use super::rustls::sign::{CertifiedKey, SingleCertAndKey};
use super::rustls::{Error as TlsError, InconsistentKeys};
use super::{pem, provider};
use crate::error::{Error, ErrorKind, Result};

/// A certificate chain and its private key, which a server shows, or a client when it is asked.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

impl Identity {
    /// Reads a certificate chain and its key from PEM text. The end-entity certificate must come
    /// first.
    ///
    /// The key is PKCS#8, PKCS#1 or SEC1 (`PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY`).
    /// Sections of other kinds are skipped, so one text may hold both.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when a text holds no certificate or no key, when it is malformed, or when the
    /// key does not belong to the first certificate.
    pub fn from_pem(certificates: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Identity> {
        let places = ("the PEM text of the certificates", "the PEM text of the key");
        Identity::read((certificates.as_ref(), places.0), (key.as_ref(), places.1))
    }

    /// Reads a certificate chain and its key from two PEM files, which may be the same.
    ///
    /// The files are read once. Read them again to use a renewed certificate.
    ///
    /// # Errors
    ///
    /// The same as for [`Identity::from_pem`], and `InvalidInput` when a file cannot be read. The
    /// message names the file.
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::tls::Identity;
    ///
    /// let error = Identity::from_pem_files("no/such/chain.pem", "key.pem").unwrap_err();
    /// assert!(error.to_string().contains("chain.pem"));
    /// ```
    pub fn from_pem_files(
        certificates: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Identity> {
        let load = |what: &str, path: &Path| {
            fs::read(path).map_err(|error| {
                invalid(format!("cannot read the {what} from `{}`", path.display()))
                    .with_source(error)
            })
        };
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let (chain_text, key_text) = (load("certificates", certificates)?, load("key", key)?);
        let (chain_place, key_place) =
            (format!("`{}`", certificates.display()), format!("`{}`", key.display()));
        Identity::read((&chain_text, &chain_place), (&key_text, &key_place))
    }

    /// Makes a new key and a self-signed certificate for it, valid for a year.
    ///
    /// The names are DNS names (the first label may be `*`) and IP addresses. A client trusts the
    /// certificate when [`ClientTls::root_certificates`](super::ClientTls::root_certificates) has
    /// its [`Identity::certificate_pem`]. It can also be a client's certificate.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when there is no name, or when a name is neither a DNS name nor an IP
    /// address.
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::tls::{ClientTls, Identity};
    ///
    /// let identity = Identity::self_signed(["localhost", "127.0.0.1"])?;
    /// let trusting = ClientTls::new().only_root_certificates(identity.certificate_pem());
    /// # let _ = trusting;
    /// # Ok::<(), h2conn::Error>(())
    /// ```
    #[cfg(feature = "self-signed")]
    pub fn self_signed<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Identity> {
        let (certificate, key) = self_signed::make(names.into_iter().map(Into::into).collect())?;
        Identity::certified(vec![certificate], key).map_err(|error| {
            Error::new(ErrorKind::Tls, "the new certificate cannot be used").with_source(error)
        })
    }

    /// Makes what [`Identity::self_signed`] makes, as PEM text: the certificate, and after it the key.
    ///
    /// A server that keeps the text in a file can show the same certificate after a restart, and its clients
    /// need no new one. [`Identity::from_pem`] reads the text: it is both arguments.
    ///
    /// The text has the private key in it. Only the server may be able to read the file (mode 0600), and
    /// clients get [`Identity::certificate_pem`] instead.
    ///
    /// # Errors
    ///
    /// As [`Identity::self_signed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::tls::Identity;
    ///
    /// let text = Identity::self_signed_pem(["localhost", "127.0.0.1"])?;
    /// let today = Identity::from_pem(&text, &text)?;
    /// let tomorrow = Identity::from_pem(&text, &text)?;
    /// assert_eq!(today.fingerprint(), tomorrow.fingerprint());
    /// # Ok::<(), h2conn::Error>(())
    /// ```
    #[cfg(feature = "self-signed")]
    pub fn self_signed_pem<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<String> {
        let (certificate, key) = self_signed::make(names.into_iter().map(Into::into).collect())?;
        // The key is PKCS#8, whose label this is.
        let key = pem::encode("PRIVATE KEY", key.secret_der());
        Ok(pem::encode_certificate(&certificate) + &key)
    }

    /// The end-entity certificate, without the rest of the chain, as PEM text.
    pub fn certificate_pem(&self) -> String {
        pem::encode_certificate(self.leaf())
    }

    /// The SHA-256 of the end-entity certificate, as `openssl x509 -fingerprint -sha256` prints it:
    /// `5E:0A:…`. A client can trust the certificate by it:
    /// [`ClientTls::pinned`](super::ClientTls::pinned).
    pub fn fingerprint(&self) -> String {
        Fingerprint::of(self.leaf()).to_string()
    }

    pub(super) fn resolver(&self) -> Arc<SingleCertAndKey> {
        Arc::new(SingleCertAndKey::from(Arc::clone(&self.0)))
    }

    /// Reads both texts. Each comes with the name that errors give it.
    fn read(chain: (&[u8], &str), key: (&[u8], &str)) -> Result<Identity> {
        let certificates = pem::certificates(chain.0, chain.1)?;
        let private_key = pem::private_key(key.0, key.1)?;
        Identity::certified(certificates, private_key).map_err(|error| {
            let message = match error {
                TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                    "the private key in {} is not that of the first certificate in {}",
                    key.1, chain.1
                ),
                TlsError::InvalidCertificate(_) => {
                    format!("the first certificate in {} is malformed", chain.1)
                }
                _ => format!("the private key in {} is malformed, or of an unknown kind", key.1),
            };
            invalid(message).with_source(error)
        })
    }

    fn certified(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, TlsError> {
        CertifiedKey::from_der(chain, key, &provider()).map(|key| Identity(Arc::new(key)))
    }

    fn leaf(&self) -> &[u8] {
        self.0.cert.first().map_or(&[], |leaf| leaf)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(feature = "self-signed")]
mod self_signed {
    use std::time::{Duration, SystemTime};

    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

    use super::super::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use super::invalid;
    use crate::error::{Error, ErrorKind, Result};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// The longest common name that X.509 allows (RFC 5280, `ub-common-name`).
    const MAX_COMMON_NAME: usize = 64;

    pub(super) fn make(
        names: Vec<String>,
    ) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let Some(first) = names.first() else {
            return Err(invalid("a certificate needs at least one name".to_owned()));
        };
        for name in &names {
            ServerName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|error| {
                invalid(format!("`{name}` is neither a DNS name nor an IP address"))
                    .with_source(error)
            })?;
        }
        let common_name: String = first.chars().take(MAX_COMMON_NAME).collect();

        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name.push(DnType::CommonName, common_name);
        // Give each certificate a subject of its own. With two of one subject, a client that trusts
        // the other one would report a bad signature instead of an unknown issuer.
        let key = KeyPair::generate().map_err(failed)?;
        let digest: String =
            params.key_identifier(&key).iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::OrganizationalUnitName, digest);
        // A CA certificate would not work: as a trusted root it may sign, but not identify a
        // server.
        params.is_ca = IsCa::NoCa;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_err(|error| invalid("the clock is before 1970".to_owned()).with_source(error))?;
        // Begin some hours earlier, for peers whose clock is behind.
        params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(DAY / 2);
        params.not_after = params.not_before + DAY * 366;

        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok((certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into())))
    }

    fn failed(error: rcgen::Error) -> Error {
        Error::new(ErrorKind::Tls, "cannot make a self-signed certificate").with_source(error)
    }
}

#[cfg(all(test, feature = "self-signed"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use rcgen::{CertificateParams, KeyPair};
    use sha2::{Digest, Sha256};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn the_certificate_comes_back_as_the_pem_that_it_was_read_from() {
        let (certificate, key) = pair();
        let both = format!("{key}{certificate}");
        let identity = Identity::from_pem(&both, &both).unwrap();
        assert_eq!(identity.certificate_pem(), certificate.replace("\r\n", "\n"));
    }

    #[test]
    fn the_fingerprint_is_the_sha_256_of_the_certificate() {
        let identity = Identity::self_signed(["localhost"]).unwrap();
        let digest = Sha256::digest(identity.leaf());
        let hex: String = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(identity.fingerprint().replace(':', ""), hex);
        assert_eq!(identity.fingerprint().split(':').count(), 32);
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let error = Identity::from_pem(pair().0, pair().1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("is not that of the first certificate"), "{error}");
    }

    #[test]
    fn garbage_is_refused() {
        let (certificate, key) = pair();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let table = [
            ("garbage", key.as_str(), "no certificate in the PEM text of the certificates"),
            (&certificate, "garbage", "no private key in the PEM text of the key"),
            (
                broken,
                &key,
                "the first certificate in the PEM text of the certificates is malformed",
            ),
            (&certificate, no_key, "the private key in the PEM text of the key is malformed"),
        ];
        for (certificate, key, expected) in table {
            let error = Identity::from_pem(certificate, key).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }

    #[test]
    fn errors_name_the_file() {
        let error = Identity::from_pem_files("no/such.pem", "key.pem").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "cannot read the certificates from `no/such.pem`");
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let error = Identity::from_pem_files(here, here).unwrap_err();
        assert!(error.to_string().starts_with(&format!("no certificate in `{here}`")), "{error}");
    }

    #[test]
    fn a_self_signed_certificate_needs_good_names() {
        for names in [vec![], vec!["localhost", ""], vec!["two words"], vec!["http://localhost"]] {
            let error = Identity::self_signed(names.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{names:?}");
        }
        Identity::self_signed(["*.example.com", "::1"]).unwrap();
        let long = ["abcdefghi."; 10].concat() + "example";
        Identity::self_signed([long]).unwrap();
    }

    #[test]
    fn a_self_signed_identity_survives_as_text() {
        let text = Identity::self_signed_pem(["localhost"]).unwrap();
        let first = Identity::from_pem(&text, &text).unwrap();
        assert_eq!(text.matches("-----BEGIN").count(), 2, "{text}");
        assert!(text.starts_with(&first.certificate_pem()), "{text}");
        let again = Identity::from_pem(&text, &text).unwrap();
        assert_eq!(again.fingerprint(), first.fingerprint());
        assert_ne!(
            Identity::self_signed(["localhost"]).unwrap().fingerprint(),
            first.fingerprint()
        );
        Identity::self_signed_pem(["two words"]).unwrap_err();
    }

    #[test]
    fn debug_does_not_show_the_key() {
        let identity = Identity::self_signed(["localhost"]).unwrap();
        let expected = format!("Identity {{ fingerprint: {:?}, .. }}", identity.fingerprint());
        assert_eq!(format!("{identity:?}"), expected);
    }
}
