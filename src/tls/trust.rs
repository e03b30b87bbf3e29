//! Trust that asks no authority: any certificate, or those with a known fingerprint.

use std::fmt;
use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use super::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use super::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use super::rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, OtherError, SignatureScheme,
};

/// Which certificates are accepted.
#[derive(Debug)]
pub(super) enum Wanted {
    Any,
    OneOf(Vec<Fingerprint>),
}

/// Accepts a server by its certificate alone, as long as it holds the certificate's key.
#[derive(Debug)]
pub(super) struct WithoutAuthority {
    wanted: Wanted,
    provider: Arc<CryptoProvider>,
}

impl WithoutAuthority {
    pub(super) fn new(wanted: Wanted, provider: Arc<CryptoProvider>) -> WithoutAuthority {
        WithoutAuthority { wanted, provider }
    }
}

impl ServerCertVerifier for WithoutAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if let Wanted::OneOf(expected) = &self.wanted {
            let seen = Fingerprint::of(end_entity);
            if !expected.contains(&seen) {
                let error = NotPinned { seen, expected: expected.clone() };
                return Err(CertificateError::Other(OtherError(Arc::new(error))).into());
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A server showed a certificate with another fingerprint than those that were expected.
#[derive(Clone)]
pub(super) struct NotPinned {
    pub(super) seen: Fingerprint,
    pub(super) expected: Vec<Fingerprint>,
}

impl std::error::Error for NotPinned {}

impl fmt::Display for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fingerprint is not one that is expected")
    }
}

/// Short, for rustls shows it in its errors, below ours that name the fingerprints.
impl fmt::Debug for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotPinned")
    }
}
