//! tokio-tungstenite: a WebSocket is a TCP connection, and a message is a binary message.

use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::tcp::Target;
use super::{Link, Peer, listen};
use crate::pipe::{Rx, Tx};
use crate::secure::{Identity, Io, Trust, dial};
use crate::service;

#[derive(Debug)]
pub(crate) struct Tungstenite;

#[derive(Clone, Debug)]
pub(crate) struct Sockets(Target);

type Socket = WebSocketStream<Io>;

fn pipe(socket: Socket) -> (Sender, Receiver) {
    let (tx, rx) = socket.split();
    (Sender(tx), Receiver { stream: rx, piece: Bytes::new() })
}

impl Peer for Tungstenite {
    type Link = Sockets;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, async |io| {
            let (tx, rx) = pipe(accept_async(io).await?);
            service::serve(tx, rx).await
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Sockets> {
        Ok(Sockets(Target { addr, trust }))
    }
}

impl Link for Sockets {
    type Tx = Sender;
    type Rx = Receiver;

    async fn open(&self) -> Result<(Sender, Receiver)> {
        let io = dial(self.0.addr, self.0.trust.as_ref(), b"").await?;
        let (socket, _) = client_async("ws://localhost/", io).await?;
        Ok(pipe(socket))
    }
}

pub(crate) struct Sender(SplitSink<Socket, Message>);

impl Tx for Sender {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        Ok(self.0.send(Message::Binary(message.clone())).await?)
    }
}

pub(crate) struct Receiver {
    stream: SplitStream<Socket>,
    piece: Bytes,
}

impl Rx for Receiver {
    async fn recv(&mut self) -> Result<usize> {
        loop {
            match self.stream.next().await.transpose()? {
                Some(Message::Binary(piece)) => self.piece = piece,
                Some(Message::Close(_)) | None => return Ok(0),
                Some(_) => continue,
            }
            return Ok(self.piece.len());
        }
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}
