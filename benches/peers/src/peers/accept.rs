//! h2conn's `accept` in a handler of hyper. The client is h2conn's, too.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::conn::Conns;
use super::{Peer, STREAMS, listen, spawn_service};
use crate::pipe::bytes_pipe;
use crate::secure::{Identity, Trust};

#[derive(Debug)]
pub(crate) struct Accept;

impl Peer for Accept {
    type Link = Conns;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity.map(|identity| identity.alpn(b"h2")), async |io| {
            let mut server = http2::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(STREAMS);
            Ok(server.serve_connection(TokioIo::new(io), service_fn(handle)).await?)
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Conns> {
        Conns::new(addr, trust)
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<h2conn::Body>, Infallible> {
    Ok(match h2conn::accept(request) {
        Ok((conn, response)) => {
            let (read, write) = conn.into_split();
            let (tx, rx) = bytes_pipe(read, write, false);
            spawn_service(tx, rx);
            response
        }
        Err(error) => error.into_response(),
    })
}
