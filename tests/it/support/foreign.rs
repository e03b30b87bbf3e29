//! Peers that are not of this library: unmodified rustls, hyper and h2.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use h2conn::http::{Request, Response};
use h2conn::tls::rustls;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

use super::{Over, Site, TestResult, tcp_server};

/// A byte stream below HTTP.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A server's certificate in PEM, and its rustls configuration.
pub(crate) fn server_config(alpn: &[&str]) -> TestResult<(String, ServerConfig)> {
    let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = protocols(alpn);
    Ok((made.cert.pem(), config))
}

/// A rustls configuration that trusts this certificate.
pub(crate) fn client_config(certificate: &str, alpn: &[&str]) -> TestResult<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols(alpn);
    Ok(config)
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

/// Connects to a server with TLS, and offers these protocols.
pub(crate) async fn tls_to(site: &Site, alpn: &[&str]) -> TestResult<client::TlsStream<TcpStream>> {
    let certificate = site.certificate.as_ref().context("a site with TLS")?;
    let connector = TlsConnector::from(Arc::new(client_config(certificate, alpn)?));
    let name = ServerName::from(site.addr.ip());
    Ok(connector.connect(name, TcpStream::connect(site.addr).await?).await?)
}

/// Connects to a server, with TLS if the server needs it.
pub(crate) async fn io_to(site: &Site) -> TestResult<Box<dyn Io>> {
    Ok(match site.certificate {
        None => Box::new(TcpStream::connect(site.addr).await?),
        Some(_) => Box::new(tls_to(site, &["h2"]).await?),
    })
}

/// Runs a TLS server with these protocols. `handler` gets each finished handshake.
pub(crate) async fn tls_server<F, Fut>(alpn: &[&str], handler: F) -> TestResult<Site>
where
    F: Fn(Box<dyn Io>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = TestResult> + Send + 'static,
{
    let (certificate, config) = server_config(alpn)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let handler = Arc::new(handler);
    let addr = tcp_server(move |stream| {
        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
        async move { handler(Box::new(acceptor.accept(stream).await?)).await }
    })
    .await?;
    Ok(Site { addr, certificate: Some(certificate) })
}

/// Runs an HTTP server over `over`. `handler` gets each transport.
pub(crate) async fn server<F, Fut>(over: Over, handler: F) -> TestResult<Site>
where
    F: Fn(Box<dyn Io>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = TestResult> + Send + 'static,
{
    match over {
        Over::Cleartext => {
            Ok(Site::cleartext(tcp_server(move |stream| handler(Box::new(stream))).await?))
        }
        Over::Tls => tls_server(&["h2", "http/1.1"], handler).await,
    }
}

/// A stock hyper server that answers with the body of the request, as it arrives.
pub(crate) async fn hyper_echo(io: impl Io) -> TestResult {
    let echo = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), echo)
        .await?;
    Ok(())
}

/// The same server with HTTP/1 only.
pub(crate) async fn hyper_http1(io: impl Io) -> TestResult {
    let echo = service_fn(|request: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(request.into_body()))
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), echo).await?;
    Ok(())
}

/// A server on the bare `h2` crate that echoes.
pub(crate) async fn h2_echo(io: impl Io) -> TestResult {
    let mut connection = h2::server::handshake(io).await?;
    while let Some(arrival) = connection.accept().await {
        let (request, mut respond) = arrival?;
        tokio::spawn(async move {
            let send = respond.send_response(Response::new(()), false)?;
            h2_pump(request.into_body(), send).await
        });
    }
    Ok(())
}

/// Sends everything that arrives, to its end.
pub(crate) async fn h2_pump(mut from: RecvStream, mut to: SendStream<Bytes>) -> TestResult {
    while let Some(bytes) = from.data().await {
        let bytes = bytes?;
        let len = bytes.len();
        h2_send(&mut to, bytes).await?;
        from.flow_control().release_capacity(len)?;
    }
    to.send_data(Bytes::new(), true)?;
    Ok(())
}

/// Sends bytes as the window opens.
pub(crate) async fn h2_send(to: &mut SendStream<Bytes>, mut bytes: Bytes) -> TestResult {
    while !bytes.is_empty() {
        to.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await;
        let room = room.context("the stream has ended")??;
        to.send_data(bytes.split_to(room.min(bytes.len())), false)?;
    }
    Ok(())
}

/// Reads to the end.
pub(crate) async fn h2_read(mut from: RecvStream) -> TestResult<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(bytes) = from.data().await {
        let bytes = bytes?;
        all.extend_from_slice(&bytes);
        from.flow_control().release_capacity(bytes.len())?;
    }
    Ok(all)
}
