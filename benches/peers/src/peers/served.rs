//! h2conn's `accept` in a service that h2conn's own listener serves. The client is h2conn's, too.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use h2conn::serve::RequestBody;
use h2conn::tls;
use http::{Request, Response};

use super::conn::Conns;
use super::{Peer, STREAMS, spawn_service};
use crate::pipe::bytes_pipe;
use crate::secure::{Identity, Trust};

#[derive(Debug)]
pub(crate) struct Served;

impl Peer for Served {
    type Link = Conns;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        let listener = listener(identity).await?;
        let addr = listener.local_addr().socket_addr().context("TCP has a port")?;
        tokio::spawn(async { h2conn::serve(listener, tower::service_fn(handle)).await });
        Ok(addr)
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Conns> {
        Conns::new(addr, trust)
    }
}

/// A listener of h2conn on a free port.
pub(crate) async fn listener(identity: Option<Identity>) -> Result<h2conn::Listener> {
    let mut builder = h2conn::Listener::builder().max_conns_per_link(STREAMS);
    if let Some(Identity { certificate, key, .. }) = identity {
        builder = builder.tls(tls::Identity::from_pem(certificate, key)?);
    }
    Ok(builder.bind("127.0.0.1:0").await?)
}

async fn handle(request: Request<RequestBody>) -> Result<Response<h2conn::Body>, Infallible> {
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
