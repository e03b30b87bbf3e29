//! `ClientTls`: the servers that a client trusts, and the certificate that it shows.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::Version;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::explained::Explained;
use super::failure::{self, Peer};
use super::fingerprint::Fingerprint;
use super::given::OrGiven;
use super::pem::{self, Roots};
use super::rustls::ClientConfig;
use super::rustls::client::WebPkiServerVerifier;
use super::rustls::client::danger::ServerCertVerifier;
use super::rustls::crypto::CryptoProvider;
use super::rustls::pki_types::{CertificateDer, ServerName};
use super::trust::{Wanted, WithoutAuthority};
use super::{H2, HTTP_1_1, Identity, Session, WRITE_LIMIT, provider};
use crate::error::{Error, ErrorKind, Result};

/// How a client makes TLS connections: the servers that it trusts, and the certificate that it
/// shows.
///
/// [`ClientTls::new`] trusts the platform's certificate authorities, and shows no certificate. It
/// speaks TLS 1.2 and 1.3. No setter fails, and their order does not matter: building the client
/// checks their values.
///
/// For settings that are not here, convert an `Arc` of rustls' `ClientConfig` into a `ClientTls`.
/// Only its ALPN protocols are replaced. The result takes [`ClientTls::server_name`] and no other
/// setter.
#[derive(Clone, Debug, Default)]
pub struct ClientTls {
    config: Option<Arc<ClientConfig>>,
    roots: Vec<Bytes>,
    only_these_roots: bool,
    pins: Vec<String>,
    identity: Option<Identity>,
    accept_any: bool,
    server_name: Option<String>,
}

impl ClientTls {
    /// Trusts the platform's certificate authorities.
    pub fn new() -> Self {
        ClientTls::default()
    }

    /// Also trusts these certificates, in PEM, in addition to the platform's.
    ///
    /// Each certificate may be an authority's, or a server's own self-signed certificate. A server
    /// that shows exactly one of these certificates is accepted if the certificate has the server's
    /// name and is valid now. That holds for a certificate with `CA:TRUE` too, which `openssl req
    /// -x509` makes by default. Further calls add more. Default: none.
    pub fn root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(Bytes::copy_from_slice(pem.as_ref()));
        self
    }

    /// Trusts these certificates, in PEM, instead of the platform's.
    ///
    /// The certificates of [`ClientTls::root_certificates`] are trusted too.
    pub fn only_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.only_these_roots = true;
        self.root_certificates(pem)
    }

    /// Accepts a server that shows the certificate with this fingerprint, and no other server.
    ///
    /// The fingerprint is the SHA-256 of the certificate in DER: 64 hexadecimal digits, with or
    /// without colons, as [`Identity::fingerprint`] and `openssl x509 -fingerprint -sha256` print
    /// it. More calls add more, of which the server needs one: to replace a certificate, pin the
    /// old and the new.
    ///
    /// Nothing else about the certificate is checked, as with a host key of ssh: it may have
    /// another name, and it may have expired. The server still has to prove that it holds the
    /// certificate's key. The platform's authorities play no part. Pins exclude root certificates
    /// and [`ClientTls::dangerous_accept_any_certificate`]: with both set, building the client fails
    /// with [`InvalidInput`](crate::ErrorKind::InvalidInput). Default: none.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "self-signed")] {
    /// use h2conn::Client;
    /// use h2conn::tls::{ClientTls, Identity};
    ///
    /// let identity = Identity::self_signed(["localhost"])?;
    /// let tls = ClientTls::new().pinned(identity.fingerprint());
    /// let client = Client::builder().tls(tls).build()?;
    /// # let _ = client;
    /// # }
    /// # Ok::<(), h2conn::Error>(())
    /// ```
    pub fn pinned(mut self, fingerprint: impl Into<String>) -> Self {
        self.pins.push(fingerprint.into());
        self
    }

    /// Shows this certificate to a server that asks for one. Default: none.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Accepts every certificate of every server.
    ///
    /// Anyone on the network path can then read and alter the traffic. The trusted certificates
    /// have no effect. Use it for trials only. To trust one self-signed certificate, use
    /// [`ClientTls::root_certificates`] or [`ClientTls::pinned`].
    pub fn dangerous_accept_any_certificate(mut self) -> Self {
        self.accept_any = true;
        self
    }

    /// The name or IP address that the server's certificate must have, and that is sent as SNI.
    /// Default: the host of the URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Checks the settings, and loads the platform's certificates.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a setting that cannot be used, `Tls` when there is no root to trust.
    pub(crate) fn build(&self) -> Result<Connector> {
        let server_name = self.server_name.as_deref().map(parse_name).transpose()?;
        let mut config = match &self.config {
            Some(config) => self.users_own(config)?,
            None => self.config()?,
        };
        #[cfg(feature = "websocket")]
        let http1 = {
            let mut config = config.clone();
            config.alpn_protocols = vec![HTTP_1_1.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(Connector {
            tls: TlsConnector::from(Arc::new(config)),
            #[cfg(feature = "websocket")]
            http1,
            server_name,
        })
    }

    fn users_own(&self, config: &ClientConfig) -> Result<ClientConfig> {
        let checks = !self.roots.is_empty() || !self.pins.is_empty() || self.accept_any;
        if checks || self.identity.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "a ClientTls made from a rustls configuration takes no certificates: set them in \
                 that configuration",
            ));
        }
        Ok(config.clone())
    }

    pub(super) fn config(&self) -> Result<ClientConfig> {
        let provider = provider();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(provider)?);
        Ok(match &self.identity {
            Some(identity) => config.with_client_cert_resolver(identity.resolver()),
            None => config.with_no_client_auth(),
        })
    }

    fn verifier(&self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>> {
        let setter = match self.only_these_roots {
            true => "ClientTls::only_root_certificates",
            false => "ClientTls::root_certificates",
        };
        let Roots { store, certificates } = pem::roots(&self.roots, setter)?;
        if let Some(pins) = self.pins()? {
            return Ok(Arc::new(WithoutAuthority::new(Wanted::OneOf(pins), provider)));
        }
        if self.accept_any {
            return Ok(Arc::new(WithoutAuthority::new(Wanted::Any, provider)));
        }
        let chains: Arc<dyn ServerCertVerifier> = match self.only_these_roots {
            true => WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
                .build()
                .map_err(unusable)?,
            false => platform_verifier(certificates.clone(), provider)?,
        };
        Ok(match certificates.is_empty() {
            true => chains,
            false => Arc::new(OrGiven::new(certificates, chains)),
        })
    }

    /// The fingerprints that decide alone, if there are any.
    fn pins(&self) -> Result<Option<Vec<Fingerprint>>> {
        if self.pins.is_empty() {
            return Ok(None);
        }
        let beside = match (self.accept_any, self.roots.is_empty()) {
            (true, _) => "dangerous_accept_any_certificate",
            (false, false) if self.only_these_roots => "only_root_certificates",
            (false, false) => "root_certificates",
            (false, true) => {
                let pins = self.pins.iter().map(|pin| Fingerprint::parse(pin));
                return pins.collect::<Result<_>>().map(Some);
            }
        };
        let message = format!(
            "ClientTls::pinned is set together with {beside}: fingerprints decide alone, so set one \
             of the two"
        );
        Err(Error::new(ErrorKind::InvalidInput, message))
    }
}

/// Trusts the platform's authorities, and these certificates.
fn platform_verifier(
    extra: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>> {
    use rustls_platform_verifier::Verifier;
    let verifier = match extra.is_empty() {
        true => Verifier::new(provider),
        false => Verifier::new_with_extra_roots(extra, provider),
    };
    Ok(Arc::new(verifier.map_err(|error| {
        Error::new(
            ErrorKind::Tls,
            "no root certificates were found on this machine to check servers with: install them \
             (the package is often named `ca-certificates`), name them in SSL_CERT_FILE, or give \
             those to trust with ClientTls::only_root_certificates",
        )
        .with_source(error)
    })?))
}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> ClientTls {
        ClientTls { config: Some(config), ..ClientTls::default() }
    }
}

/// Makes TLS connections, all with the same settings.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    #[cfg(feature = "websocket")]
    http1: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// Makes TLS over `io` to `host`, a DNS name or an IP address without brackets. On success ALPN
    /// has chosen this version of HTTP: HTTP/2, or HTTP/1.1, which servers need not name.
    ///
    /// With TLS 1.3 a server checks the client's certificate after this has returned. If the server
    /// refuses the certificate, the first read fails.
    ///
    /// # Errors
    ///
    /// * `InvalidInput`: `host` is neither a DNS name nor an IP address.
    /// * `Tls`: the handshake failed. The source is an `io::Error` of kind `PermissionDenied` if a
    ///   certificate was not accepted, and `InvalidData` otherwise.
    /// * `Unsupported`: the server does not offer that version.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future early drops `io`.
    pub(crate) async fn connect<T>(
        &self,
        version: Version,
        host: &str,
        io: T,
    ) -> Result<(Explained<TlsStream<T>>, Session)>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host)?,
        };
        let name = server_name.to_str().into_owned();
        let tls = match version {
            #[cfg(feature = "websocket")]
            Version::HTTP_11 => &self.http1,
            _ => &self.tls,
        };
        let mut stream = tls
            .connect(server_name, io)
            .await
            .map_err(|error| failure::failed(Peer::Server(&name), error))?;
        stream.get_mut().1.set_buffer_limit(Some(WRITE_LIMIT));
        let session = Session::of(stream.get_ref().1);
        match (version, session.alpn.as_deref()) {
            (Version::HTTP_11, Some(HTTP_1_1) | None) | (Version::HTTP_2, Some(H2)) => {
                Ok((Explained::to_server(stream, &name), session))
            }
            (Version::HTTP_11, Some(alpn)) => Err(failure::no_http1(&name, alpn)),
            (_, alpn) => Err(failure::no_h2(&name, alpn)),
        }
    }
}

fn parse_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).map_err(|error| {
        let message = format!("`{name}` is neither a DNS name nor an IP address");
        Error::new(ErrorKind::InvalidInput, message).with_source(error)
    })
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Tls, "these TLS settings cannot be used").with_source(error)
}
