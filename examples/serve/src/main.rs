//! A whole server on one port, on this library's own HTTP/2: a JSON route, a live route with a bearer token, metrics,
//! logs, and a good end on Ctrl-C or SIGTERM. Its clients speak HTTP/2 or HTTP/1.1, and pages may open WebSockets.
//!
//! ```console
//! $ cargo run -p serve
//! $ curl -k https://localhost:8443/api/version
//! $ curl -k -H 'authorization: Bearer s3cret' -T . https://localhost:8443/live
//! ```

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Json, Router};
use futures_util::{SinkExt, StreamExt};
use h2conn::axum::Accept;
use h2conn::http::{HeaderMap, StatusCode};
use h2conn::tls::Identity;
use h2conn::tokio_util::codec::Framed;
use h2conn::{Acceptor, Conn, Listener, ListenerStats, OnDrop, WebSockets, codec};
use serde_json::{Value, json};
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // The level comes from RUST_LOG: at `debug` the links and connections come and go.
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).init();
    let websockets = WebSockets::new().json_lines().subprotocols(["json"]);
    // A handler that fails drops its Conn. Its peer then gets an error, and no good end.
    let acceptor = Acceptor::builder().websockets(websockets).on_drop(OnDrop::Reset).build()?;
    let app = Router::new()
        .route(
            "/api/version",
            get(|| async { Json(json!({ "version": env!("CARGO_PKG_VERSION") })) }),
        )
        .route("/live", any(live))
        .layer(Extension(acceptor));
    let addr = std::env::args().nth(1).unwrap_or_else(|| "localhost:8443".to_owned());
    let identity = Identity::self_signed(["localhost", "127.0.0.1", "::1"])?;
    // Pages put their WebSockets on the HTTP/2 connection of their other requests.
    let builder = Listener::builder().tls(identity).protocols(["websocket"]);
    let listener = builder.bind(addr).await?;
    eprintln!("listening on https://{}", listener.local_addr());
    let handle = listener.handle();
    let app = app.route("/metrics", get(move || async move { metrics(handle.stats()) }));
    h2conn::serve(listener, app)
        .with_graceful_shutdown(interrupted())
        .with_shutdown_timeout(Duration::from_secs(10))
        .await?;
    eprintln!("all clients have their answers");
    Ok(())
}

/// Waits for Ctrl-C, or for SIGTERM, by which systemd and Kubernetes end a service.
async fn interrupted() {
    #[cfg(unix)]
    let mut terminated = match signal(SignalKind::terminate()) {
        Ok(terminated) => terminated,
        // Without signals nothing asks it to end.
        Err(_) => return std::future::pending().await,
    };
    #[cfg(unix)]
    let terminated = terminated.recv();
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated => {}
    }
}

/// Some figures for Prometheus. The feature `metrics` has more, for the exporters of the crate `metrics`.
fn metrics(stats: ListenerStats) -> String {
    let ListenerStats { links, conns, accepted, unread_bytes, .. } = stats;
    format!("links {links}\nopen {conns}\naccepted_total {accepted}\nunread_bytes {unread_bytes}\n")
}

/// Only those who show the token may connect.
async fn live(headers: HeaderMap, accept: Accept) -> Response {
    if h2conn::bearer_token(&headers) != Some("s3cret") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    accept.on_conn(|conn| async move {
        if let Err(error) = talk(&conn).await {
            eprintln!("a connection ended badly: {error:#}");
        }
    })
}

/// Answers each JSON value, until the client has said everything or the server ends.
async fn talk(conn: &Conn) -> h2conn::Result<()> {
    let mut values = Framed::new(conn, codec::Json::<Value>::new());
    loop {
        tokio::select! {
            biased;
            () = conn.draining() => break,
            value = values.next() => match value.transpose()? {
                Some(value) => values.send(json!({ "heard": value })).await?,
                None => break,
            },
        }
    }
    conn.close().await
}
