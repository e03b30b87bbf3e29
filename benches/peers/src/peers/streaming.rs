//! hyper with streaming bodies at both ends, used directly. `accept` builds on the same.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender as Body};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{Link, Peer, STREAMS, listen, spawn_service};
use crate::pipe::{Rx, Tx};
use crate::secure::{Identity, Trust, dial};

#[derive(Debug)]
pub(crate) struct Streaming;

#[derive(Clone, Debug)]
pub(crate) struct Requests(SendRequest<Channel<Bytes>>);

/// How many messages may wait for hyper.
const WAITING: usize = 32;

impl Peer for Streaming {
    type Link = Requests;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity.map(|identity| identity.alpn(b"h2")), async |io| {
            let mut server = server::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(STREAMS);
            Ok(server.serve_connection(TokioIo::new(io), service_fn(handle)).await?)
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Requests> {
        let io = TokioIo::new(dial(addr, trust.as_ref(), b"h2").await?);
        let (send, conn) = client::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(conn);
        Ok(Requests(send))
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<Channel<Bytes>>, Infallible> {
    let (tx, body) = Channel::new(WAITING);
    spawn_service(Sender(tx), Receiver::new(request.into_body()));
    Ok(Response::new(body))
}

impl Link for Requests {
    type Tx = Sender;
    type Rx = Receiver;

    async fn open(&self) -> Result<(Sender, Receiver)> {
        let (tx, body) = Channel::new(WAITING);
        let request = Request::post("http://localhost/").body(body)?;
        let response = self.0.clone().send_request(request).await?;
        Ok((Sender(tx), Receiver::new(response.into_body())))
    }
}

pub(crate) struct Sender(Body<Bytes>);

impl Tx for Sender {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.send_data(message.clone()).await?)
    }
}

pub(crate) struct Receiver {
    body: Incoming,
    piece: Bytes,
}

impl Receiver {
    fn new(body: Incoming) -> Receiver {
        Receiver { body, piece: Bytes::new() }
    }
}

impl Rx for Receiver {
    async fn recv(&mut self) -> Result<usize> {
        self.piece = match self.body.frame().await {
            Some(frame) => frame?.into_data().unwrap_or_default(),
            None => return Ok(0),
        };
        Ok(self.piece.len())
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}
