//! Certificates that the program has given as roots, where a peer shows one of them as its own.

use std::sync::Arc;

use super::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use super::rustls::client::verify_server_name;
use super::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use super::rustls::server::ParsedCertificate;
use super::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use super::rustls::{DigitallySignedStruct, DistinguishedName, Error as TlsError, SignatureScheme};
use super::validity::Validity;

/// Accepts a peer that shows exactly a certificate that was given, while that is valid; leaves all
/// others to `chains`.
///
/// webpki refuses an authority's certificate (`CA:TRUE`) that a peer shows as its own, also where
/// it was given as a root, and `openssl req -x509` makes such. To accept it gives nothing away:
/// the holder of a root's key could sign a certificate that webpki accepts.
#[derive(Debug)]
pub(super) struct OrGiven<V: ?Sized> {
    given: Vec<(CertificateDer<'static>, Validity)>,
    chains: Arc<V>,
}

impl<V: ?Sized> OrGiven<V> {
    pub(super) fn new(given: Vec<CertificateDer<'static>>, chains: Arc<V>) -> OrGiven<V> {
        let given = given.into_iter().filter_map(|certificate| {
            let validity = Validity::of(&certificate)?;
            Some((certificate, validity))
        });
        OrGiven { given: given.collect(), chains }
    }

    /// Whether `shown` was given.
    ///
    /// # Errors
    ///
    /// Where it was, but is not valid now.
    fn is_given(&self, shown: &CertificateDer<'_>, now: UnixTime) -> Result<bool, TlsError> {
        match self.given.iter().find(|(given, _)| given == shown) {
            Some((_, validity)) => Ok(validity.check(now).map(|()| true)?),
            None => Ok(false),
        }
    }
}

impl ServerCertVerifier for OrGiven<dyn ServerCertVerifier> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.is_given(end_entity, now)? {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.chains.requires_raw_public_keys()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        self.chains.root_hint_subjects()
    }
}

impl ClientCertVerifier for OrGiven<dyn ClientCertVerifier> {
    fn offer_client_auth(&self) -> bool {
        self.chains.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chains.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        if self.is_given(end_entity, now)? {
            return Ok(ClientCertVerified::assertion());
        }
        self.chains.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.chains.requires_raw_public_keys()
    }
}
