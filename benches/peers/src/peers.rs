//! The transports, one per file.

pub(crate) mod accept;
pub(crate) mod conn;
pub(crate) mod fastwebsockets;
pub(crate) mod h2;
pub(crate) mod hyper;
pub(crate) mod served;
pub(crate) mod streaming;
pub(crate) mod tcp;
pub(crate) mod tonic;
pub(crate) mod tungstenite;
pub(crate) mod yamux;

use std::future::Future;
use std::net::SocketAddr;

use anyhow::Result;
use tokio::net::TcpListener;

use crate::pipe::{Rx, Tx};
use crate::secure::{self, Identity, Io, Trust};
use crate::service;

/// The limit of streams of a server, if its own limit is too low for some workloads.
const STREAMS: u32 = 2_000;

/// A transport.
pub(crate) trait Peer: 'static {
    type Link: Link;

    /// Serves on a free port for as long as the runtime lives.
    fn serve(identity: Option<Identity>) -> impl Future<Output = Result<SocketAddr>> + Send;

    /// A link to a server, without any pipes yet.
    fn link(
        addr: SocketAddr,
        trust: Option<Trust>,
    ) -> impl Future<Output = Result<Self::Link>> + Send;
}

/// A source of pipes: a connection with many streams, or an address.
pub(crate) trait Link: Clone + Send + Sync + 'static {
    type Tx: Tx;
    type Rx: Rx;

    fn open(&self) -> impl Future<Output = Result<(Self::Tx, Self::Rx)>> + Send;
}

/// Accepts sockets, and hands each to `serve` in a task of its own.
pub(crate) async fn listen<F>(
    identity: Option<Identity>,
    serve: impl Fn(Io) -> F + Clone + Send + Sync + 'static,
) -> Result<SocketAddr>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (identity, serve) = (identity.clone(), serve.clone());
            tokio::spawn(async move {
                let served =
                    async { serve(secure::accept(socket, identity.as_ref()).await?).await };
                // A client that has measured enough simply leaves.
                let _ = served.await;
            });
        }
    });
    Ok(addr)
}

/// Serves a pipe in a task of its own.
fn spawn_service(tx: impl Tx, rx: impl Rx) {
    tokio::spawn(service::serve(tx, rx));
}
