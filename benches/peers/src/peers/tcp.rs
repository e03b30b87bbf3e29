//! Plain TCP, or rustls over TCP.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsStream;
use tokio_util::either::Either;

use super::{Link, Peer, listen};
use crate::pipe::{Reader, Writer, bytes_pipe};
use crate::secure::{Identity, Io, Trust, dial};
use crate::service;

#[derive(Debug)]
pub(crate) struct Tcp;

/// An address; each pipe is a new connection to it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(super) addr: SocketAddr,
    pub(super) trust: Option<Trust>,
}

type Tls = Box<TlsStream<TcpStream>>;
type Read = Either<OwnedReadHalf, ReadHalf<Tls>>;
type Write = Either<OwnedWriteHalf, WriteHalf<Tls>>;

fn pipe(io: Io) -> (Writer<Write>, Reader<Read>) {
    match io {
        Either::Left(socket) => {
            let (read, write) = socket.into_split();
            bytes_pipe(Either::Left(read), Either::Left(write), false)
        }
        Either::Right(stream) => {
            let (read, write) = split(stream);
            bytes_pipe(Either::Right(read), Either::Right(write), true)
        }
    }
}

impl Peer for Tcp {
    type Link = Target;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, |io| {
            let (tx, rx) = pipe(io);
            service::serve(tx, rx)
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Target> {
        Ok(Target { addr, trust })
    }
}

impl Link for Target {
    type Tx = Writer<Write>;
    type Rx = Reader<Read>;

    async fn open(&self) -> Result<(Self::Tx, Self::Rx)> {
        Ok(pipe(dial(self.addr, self.trust.as_ref(), b"").await?))
    }
}
