//! TLS, which is the same for all transports: rustls, with a certificate made on the spot.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::either::Either;

/// The name in the certificate.
pub(crate) const NAME: &str = "localhost";

/// A server's certificate and key, in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
    alpn: &'static [u8],
}

/// The certificate that a client trusts, in PEM.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Trust(pub(crate) String);

impl Identity {
    pub(crate) fn new() -> Result<Identity> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        Ok(Identity { certificate, key, alpn: b"" })
    }

    /// The protocol to agree on.
    pub(crate) fn alpn(self, alpn: &'static [u8]) -> Identity {
        Identity { alpn, ..self }
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust(self.certificate.clone())
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let builder = ServerConfig::builder().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = alpn(self.alpn);
        Ok(Arc::new(config).into())
    }
}

impl Trust {
    fn connector(&self, protocol: &[u8]) -> Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.0.as_bytes())?)?;
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = alpn(protocol);
        Ok(Arc::new(config).into())
    }
}

fn alpn(name: &[u8]) -> Vec<Vec<u8>> {
    Some(name.to_vec()).into_iter().filter(|name| !name.is_empty()).collect()
}

/// A TCP connection, with or without TLS.
pub(crate) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

pub(crate) async fn dial(
    addr: SocketAddr,
    trust: Option<&Trust>,
    protocol: &'static [u8],
) -> Result<Io> {
    let socket = TcpStream::connect(addr).await?;
    socket.set_nodelay(true)?;
    let Some(trust) = trust else { return Ok(Either::Left(socket)) };
    let stream = trust.connector(protocol)?.connect(ServerName::try_from(NAME)?, socket).await?;
    Ok(Either::Right(Box::new(stream.into())))
}

pub(crate) async fn accept(socket: TcpStream, identity: Option<&Identity>) -> Result<Io> {
    socket.set_nodelay(true)?;
    let Some(identity) = identity else { return Ok(Either::Left(socket)) };
    let stream = identity.acceptor()?.accept(socket).await?;
    Ok(Either::Right(Box::new(stream.into())))
}
