//! WebSockets of web pages, over HTTP/2 as well as HTTP/1.1: an echo of bytes at `/`, and JSON at `/json`.
//!
//! Run `cargo run -p browser`, and open the URL that it prints. Browsers use HTTP/2 only
//! over TLS, and will warn about the certificate, which is made on the spot.

mod live;

use axum::Router;
use axum::response::{Html, Response};
use axum::routing::{any, get};
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use h2conn::axum::Accept;
use h2conn::tls::{Identity, ServerTls};
use h2conn::{Conn, OnDrop};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let page = get(|| async { Html(include_str!("page.html")) });
    let app = Router::new().route("/", page).route("/echo", any(echo)).merge(live::routes()?);
    let port = std::env::args().nth(1).map_or(Ok(8000), |port| port.parse())?;
    let listener = std::net::TcpListener::bind(("127.0.0.1", port))?;
    eprintln!("listening on https://localhost:{}/", listener.local_addr()?.port());
    let tls = ServerTls::new(Identity::self_signed(["localhost", "127.0.0.1"])?);
    let tls = RustlsAcceptor::new(RustlsConfig::from_config(tls.rustls_config()?));
    let mut server = axum_server::from_tcp(listener)?.acceptor(tls.acceptor(NoDelayAcceptor));
    // Without this, browsers open their WebSockets over HTTP/1.1.
    server.http_builder().http2().enable_connect_protocol();
    Ok(server.serve(app.into_make_service()).await?)
}

async fn send_back(conn: &Conn) -> std::io::Result<u64> {
    let bytes = tokio::io::copy(&mut &*conn, &mut &*conn).await?;
    conn.close().await?;
    Ok(bytes)
}

async fn echo(accept: Accept) -> Response {
    accept.on_conn(|conn| async move {
        // If it fails, the page must not take that for a good end.
        conn.on_drop(OnDrop::Reset);
        match send_back(&conn).await {
            Ok(bytes) => eprintln!("{bytes} bytes went back"),
            Err(error) => eprintln!("a connection ended badly: {error}"),
        }
    })
}
