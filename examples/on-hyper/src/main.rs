//! An echo inside a plain hyper server.
//!
//! ```console
//! $ cargo run -p on-hyper
//! $ curl --http2-prior-knowledge -T . http://127.0.0.1:8000/
//! ```

use std::convert::Infallible;

use h2conn::http::{Request, Response};
use h2conn::{Conn, OnDrop};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

async fn handle(request: Request<Incoming>) -> Result<Response<h2conn::Body>, Infallible> {
    Ok(match h2conn::accept(request) {
        Ok((conn, response)) => {
            tokio::spawn(async move {
                // If it fails, the peer must not take that for a good end.
                conn.on_drop(OnDrop::Reset);
                if let Err(error) = echo(&conn).await {
                    eprintln!("a connection ended badly: {error}");
                }
            });
            response
        }
        Err(error) => error.into_response(),
    })
}

async fn echo(conn: &Conn) -> std::io::Result<()> {
    tokio::io::copy(&mut &*conn, &mut &*conn).await?;
    Ok(conn.close().await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let listener = tokio::net::TcpListener::bind(addr).await?;
    eprintln!("listening on http://{}/", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let server = http2::Builder::new(TokioExecutor::new());
            let served = server.serve_connection(TokioIo::new(stream), service_fn(handle)).await;
            if let Err(error) = served {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
