//! `ServerTls`: the certificate that a server shows, and the clients that it lets in.

#[cfg(any(feature = "serve", feature = "websocket"))]
use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(any(feature = "serve", feature = "websocket"))]
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::explained::Explained;
use super::failure::{self, Peer};
use super::given::OrGiven;
use super::pem::{self, Roots};
use super::rustls::ServerConfig;
use super::rustls::server::danger::ClientCertVerifier;
use super::rustls::server::{NoClientAuth, WebPkiClientVerifier};
use super::{H2, HTTP_1_1, Identity, Session, WRITE_LIMIT, provider};
use crate::error::{Error, ErrorKind, Result};

/// How a server accepts TLS connections: the certificate that it shows, and the certificates that
/// it asks for.
///
/// It speaks TLS 1.2 and 1.3. No setter fails, and their order does not matter: building the server
/// checks their values.
///
/// For settings that are not here, convert an `Arc` of rustls' `ServerConfig` into a `ServerTls`.
/// Only its ALPN protocols are replaced. The result takes no setter.
#[derive(Clone, Debug)]
pub struct ServerTls {
    base: Base,
    roots: Vec<Bytes>,
    client_auth: ClientAuth,
}

#[derive(Clone, Debug)]
enum Base {
    Identity(Identity),
    Config(Arc<ServerConfig>),
}

/// In rising order, so that the order of the setters does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ClientAuth {
    Off,
    Optional,
    Required,
}

impl ServerTls {
    /// Shows `identity` to every client, and asks for no certificate.
    pub fn new(identity: Identity) -> Self {
        ServerTls::on(Base::Identity(identity))
    }

    /// Lets in only clients with a certificate that one of these certificates, in PEM, has signed.
    ///
    /// A client's own self-signed certificate may be among them. A client that shows exactly one of
    /// these certificates is let in while the certificate is valid. That holds for a certificate
    /// with `CA:TRUE` too, which `openssl req -x509` makes by default. Further calls add more.
    /// Default: clients are not asked for a certificate.
    pub fn client_roots(self, pem: impl AsRef<[u8]>) -> Self {
        self.trust(pem.as_ref(), ClientAuth::Required)
    }

    /// Does the same as [`ServerTls::client_roots`], but also lets in clients that show no
    /// certificate.
    ///
    /// If `client_roots` is called too, a certificate is required, and these roots are trusted as
    /// well.
    pub fn optional_client_roots(self, pem: impl AsRef<[u8]>) -> Self {
        self.trust(pem.as_ref(), ClientAuth::Optional)
    }

    /// Converts these settings for a server that is not this crate's, such as one of axum or hyper.
    /// ALPN offers `h2` and `http/1.1`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a setting that cannot be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::tls::{Identity, ServerTls};
    /// use tokio_rustls::TlsAcceptor;
    ///
    /// let tls = ServerTls::new(Identity::self_signed(["localhost"])?);
    /// let acceptor = TlsAcceptor::from(tls.rustls_config()?);
    /// # let _ = acceptor;
    /// # Ok::<(), h2conn::Error>(())
    /// ```
    pub fn rustls_config(&self) -> Result<Arc<ServerConfig>> {
        let mut config = match &self.base {
            Base::Identity(identity) => self.config(identity)?,
            Base::Config(_) if self.client_auth != ClientAuth::Off => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "a ServerTls made from a rustls configuration takes no client roots: set them \
                     in that configuration",
                ));
            }
            Base::Config(config) => ServerConfig::clone(config),
        };
        // Offer HTTP/1.1 too, so that a client without HTTP/2 gets an answer that it can read.
        config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
        Ok(Arc::new(config))
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// The same as for [`ServerTls::rustls_config`].
    pub(crate) fn build(&self) -> Result<Acceptor> {
        Ok(Acceptor(TlsAcceptor::from(self.rustls_config()?)))
    }

    fn config(&self, identity: &Identity) -> Result<ServerConfig> {
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_client_cert_verifier(self.verifier()?)
            .with_cert_resolver(identity.resolver());
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>> {
        let setter = match self.client_auth {
            ClientAuth::Off => return Ok(Arc::new(NoClientAuth)),
            ClientAuth::Optional => "ServerTls::optional_client_roots",
            ClientAuth::Required => "ServerTls::client_roots",
        };
        let Roots { store, certificates } = pem::roots(&self.roots, setter)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider());
        let verifier = match self.client_auth {
            ClientAuth::Required => verifier,
            _ => verifier.allow_unauthenticated(),
        };
        let chains = verifier.build().map_err(unusable)?;
        Ok(Arc::new(OrGiven::new(certificates, chains)))
    }

    fn on(base: Base) -> ServerTls {
        ServerTls { base, roots: Vec::new(), client_auth: ClientAuth::Off }
    }

    fn trust(mut self, pem: &[u8], client_auth: ClientAuth) -> Self {
        self.roots.push(Bytes::copy_from_slice(pem));
        self.client_auth = self.client_auth.max(client_auth);
        self
    }
}

impl From<Identity> for ServerTls {
    fn from(identity: Identity) -> ServerTls {
        ServerTls::new(identity)
    }
}

impl From<Arc<ServerConfig>> for ServerTls {
    fn from(config: Arc<ServerConfig>) -> ServerTls {
        ServerTls::on(Base::Config(config))
    }
}

/// Accepts TLS connections, all with the same settings.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Makes TLS over `io`, as the server. ALPN offers `h2` and `http/1.1`, and may choose none of
    /// them.
    ///
    /// # Errors
    ///
    /// * `Tls`: the handshake failed. The source is an `io::Error` of kind `PermissionDenied` if a
    ///   certificate was not accepted, and `InvalidData` otherwise.
    /// * `Unsupported`: the client offers other protocols only.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropping the future early drops `io`.
    pub(crate) async fn accept<T>(&self, io: T) -> Result<(Explained<TlsStream<T>>, Session)>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut stream =
            self.0.accept(io).await.map_err(|error| failure::failed(Peer::Client, error))?;
        stream.get_mut().1.set_buffer_limit(Some(WRITE_LIMIT));
        let session = Session::of(stream.get_ref().1);
        Ok((Explained::to_client(stream), session))
    }
}

/// The TCP socket below a client's TLS, if that is what `io` is.
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(crate) fn tcp_below(io: &dyn Any) -> Option<&TcpStream> {
    let tls = io.downcast_ref::<Explained<TlsStream<TcpStream>>>()?;
    Some(tls.below().get_ref().0)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Tls, "these TLS settings cannot be used").with_source(error)
}
