//! An echo on a route of an axum server, beside its other routes.
//!
//! ```console
//! $ cargo run -p on-axum
//! $ curl --http2-prior-knowledge -T . http://127.0.0.1:8000/echo
//! ```

use axum::Router;
use axum::response::Response;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use h2conn::axum::Accept;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = Router::new().route("/", get(|| async { "try /echo\n" })).route("/echo", any(echo));
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    eprintln!("listening on http://{}/echo", listener.local_addr()?);
    // Send small answers at once. If the socket refuses this option, it is only slower.
    let listener = listener.tap_io(|io| drop(io.set_nodelay(true)));
    axum::serve(listener, app).await?;
    Ok(())
}

async fn echo(accept: Accept) -> Response {
    accept.on_conn(|conn| async move {
        let (mut reader, mut writer) = conn.into_split();
        if let Err(error) = tokio::io::copy(&mut reader, &mut writer).await {
            eprintln!("a connection ended badly: {error}");
        }
    })
}
