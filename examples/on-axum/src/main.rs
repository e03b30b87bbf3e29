//! An echo on a route of an axum server, beside its other routes. Ctrl-C ends it in good order: connections hear of it,
//! and have ten seconds to finish.
//!
//! ```console
//! $ cargo run -p on-axum
//! $ curl --http2-prior-knowledge -T . http://127.0.0.1:8000/echo
//! ```

use std::time::Duration;

use axum::response::Response;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use axum::{Extension, Router};
use h2conn::axum::Accept;
use h2conn::{Acceptor, Conn, OnDrop};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let acceptor = Acceptor::default();
    let app = Router::new()
        .route("/", get(|| async { "try /echo\n" }))
        .route("/echo", any(live))
        .layer(Extension(acceptor.clone()));
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    eprintln!("listening on http://{}/echo", listener.local_addr()?);
    // Send small answers at once. If the socket refuses this option, it is only slower.
    let listener = listener.tap_io(|io| drop(io.set_nodelay(true)));
    let server = axum::serve(listener, app).with_graceful_shutdown(interrupted());
    let drain = async {
        interrupted().await;
        acceptor.drain(Duration::from_secs(10)).await
    };
    // Both begin with Ctrl-C, and the process stays until both have ended.
    let (served, in_time) = tokio::join!(server.into_future(), drain);
    eprintln!("all connections have ended by themselves: {in_time}");
    Ok(served?)
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without signals nothing asks it to end.
        std::future::pending().await
    }
}

async fn live(accept: Accept) -> Response {
    accept.on_conn(|conn| async move {
        // If it fails, the peer must not take that for a good end.
        conn.on_drop(OnDrop::Reset);
        if let Err(error) = echo(&conn).await {
            eprintln!("a connection ended badly: {error}");
        }
    })
}

async fn echo(conn: &Conn) -> h2conn::Result<()> {
    loop {
        tokio::select! {
            biased;
            // First, or a client that never pauses would put the end off.
            () = conn.draining() => break,
            chunk = conn.read_chunk() => match chunk? {
                Some(chunk) => conn.write_chunk(chunk).await?,
                None => break,
            },
        }
    }
    // Sends what is still queued, then the end, and waits for the client's.
    conn.close().await
}
