//! A stock axum server and a listener of h2conn, both with TLS in one process, and a client of both.
//!
//! Each test has a file, and therefore a process, because a process has one default crypto provider.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::routing::any;
use axum_server::tls_rustls::{RustlsConfig, from_tcp_rustls};
use h2conn::axum::Accept;
use h2conn::tls::rustls::ServerConfig;
use h2conn::tls::rustls::pki_types::pem::PemObject;
use h2conn::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use h2conn::tls::{ClientTls, Identity};
use h2conn::{Client, Conn, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A test that takes longer hangs.
const WATCHDOG: Duration = Duration::from_secs(120);

/// A certificate for `localhost` with its key, both in PEM.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate.
    pub pem: String,
    /// Its key.
    pub key: String,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn new() -> Result<Certificate> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        Ok(Certificate { pem: made.cert.pem(), key: made.signing_key.serialize_pem() })
    }

    /// As h2conn takes it.
    ///
    /// # Errors
    ///
    /// Where h2conn cannot use it.
    pub fn identity(&self) -> Result<Identity> {
        Ok(Identity::from_pem(&self.pem, &self.key)?)
    }

    /// As rustls takes it from code that names no provider, such as axum-server before 0.9.2.
    ///
    /// # Errors
    ///
    /// Where rustls cannot use it.
    ///
    /// # Panics
    ///
    /// Where the process has two providers, and neither is installed as the default.
    pub fn rustls_config(&self) -> Result<Arc<ServerConfig>> {
        let certificate = CertificateDer::from_pem_slice(self.pem.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes())?;
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// As axum-server reads it.
    ///
    /// # Errors
    ///
    /// Where axum-server cannot use it.
    pub async fn stock_config(&self) -> Result<RustlsConfig> {
        let (pem, key) = (self.pem.clone().into_bytes(), self.key.clone().into_bytes());
        Ok(RustlsConfig::from_pem(pem, key).await?)
    }
}

/// Runs an axum server with this configuration; gives the URL of its echo.
///
/// # Errors
///
/// Where it cannot listen.
pub async fn axum(config: RustlsConfig) -> Result<String> {
    let echo = |accept: Accept| async { accept.on_conn(|conn| async { drop(echo(conn).await) }) };
    let app = Router::new().route("/echo", any(echo));
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let url = format!("https://localhost:{}/echo", listener.local_addr()?.port());
    let server = from_tcp_rustls(listener, config)?;
    tokio::spawn(server.serve(app.into_make_service_with_connect_info::<SocketAddr>()));
    Ok(url)
}

/// Runs a listener of h2conn; gives its URL.
///
/// # Errors
///
/// Where it cannot listen.
pub async fn listener(identity: Identity) -> Result<String> {
    let mut listener = Listener::builder().tls(identity).bind("127.0.0.1:0").await?;
    let port = listener.local_addr().socket_addr().context("TCP has a port")?.port();
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            if let Ok(conn) = incoming.accept() {
                tokio::spawn(echo(conn));
            }
        }
    });
    Ok(format!("https://localhost:{port}/"))
}

async fn echo(mut conn: Conn) -> Result<()> {
    let mut said = Vec::new();
    conn.read_to_end(&mut said).await?;
    conn.write_all(&said).await?;
    conn.close().await?;
    Ok(())
}

/// Has this URL echo something to a client that trusts this certificate.
///
/// # Errors
///
/// Where it does not.
pub async fn check(url: &str, tls: ClientTls) -> Result<()> {
    let checking = async {
        let client = Client::builder().tls(tls).build()?;
        let (mut conn, _) = client.connect(url).await?;
        conn.write_all(b"two providers").await?;
        conn.shutdown().await?;
        let mut heard = String::new();
        conn.read_to_string(&mut heard).await?;
        ensure!(heard == "two providers", "{heard:?} came back");
        client.close().await?;
        Ok(())
    };
    tokio::time::timeout(WATCHDOG, checking).await.context("it hangs")?
}

/// Checks both servers, with each way to trust a certificate.
///
/// # Errors
///
/// Where one does not echo.
pub async fn check_both(config: RustlsConfig, certificate: &Certificate) -> Result<()> {
    let identity = certificate.identity()?;
    let fingerprint = identity.fingerprint();
    for url in [axum(config).await?, listener(identity).await?] {
        for tls in [
            ClientTls::new().root_certificates(&certificate.pem),
            ClientTls::new().only_root_certificates(&certificate.pem),
            ClientTls::new().pinned(&fingerprint),
            ClientTls::new().dangerous_accept_any_certificate(),
        ] {
            check(&url, tls).await.with_context(|| url.clone())?;
        }
    }
    Ok(())
}
