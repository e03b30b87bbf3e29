//! hyper's `Upgraded` at both ends: CONNECT over HTTP/2, with hyper's defaults.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self as client, SendRequest};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper::upgrade::{self, Upgraded};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{ReadHalf, WriteHalf, split};

use super::{Link, Peer, STREAMS, listen, spawn_service};
use crate::pipe::{Reader, Writer, bytes_pipe};
use crate::secure::{Identity, Trust, dial};

#[derive(Debug)]
pub(crate) struct Hyper;

#[derive(Clone, Debug)]
pub(crate) struct Tunnels(SendRequest<Empty<Bytes>>);

type Io = TokioIo<Upgraded>;

impl Peer for Hyper {
    type Link = Tunnels;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity.map(|identity| identity.alpn(b"h2")), async |io| {
            let mut server = server::Builder::new(TokioExecutor::new());
            server.max_concurrent_streams(STREAMS);
            Ok(server.serve_connection(TokioIo::new(io), service_fn(handle)).await?)
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Tunnels> {
        let io = TokioIo::new(dial(addr, trust.as_ref(), b"h2").await?);
        let (send, conn) = client::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(conn);
        Ok(Tunnels(send))
    }
}

async fn handle(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    tokio::spawn(async move {
        let upgraded = upgrade::on(request).await?;
        let (read, write) = split(TokioIo::new(upgraded));
        let (tx, rx) = bytes_pipe(read, write, true);
        spawn_service(tx, rx);
        anyhow::Ok(())
    });
    Ok(Response::new(Empty::new()))
}

impl Link for Tunnels {
    type Tx = Writer<WriteHalf<Io>>;
    type Rx = Reader<ReadHalf<Io>>;

    async fn open(&self) -> Result<(Self::Tx, Self::Rx)> {
        let request = Request::builder().method(Method::CONNECT).uri("localhost:80");
        let response = self.0.clone().send_request(request.body(Empty::new())?).await?;
        let (read, write) = split(TokioIo::new(upgrade::on(response).await?));
        Ok(bytes_pipe(read, write, true))
    }
}
