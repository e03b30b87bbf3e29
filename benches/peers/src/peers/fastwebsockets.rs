//! fastwebsockets as in its examples: upgraded by hyper, with one binary frame per message.

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use fastwebsockets::{
    Frame, OpCode, Payload, WebSocket, WebSocketError, WebSocketRead, WebSocketWrite, handshake,
    upgrade,
};
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{ReadHalf, WriteHalf, split};

use super::tcp::Target;
use super::{Link, Peer, listen, spawn_service};
use crate::pipe::{Rx, Tx};
use crate::secure::{Identity, Trust, dial};

#[derive(Debug)]
pub(crate) struct Fastwebsockets;

#[derive(Clone, Debug)]
pub(crate) struct Sockets(Target);

type Io = TokioIo<Upgraded>;

fn pipe(mut socket: WebSocket<Io>) -> (Sender, Receiver) {
    socket.set_auto_pong(false);
    let (read, write) = socket.split(split);
    (Sender(write), Receiver { read, piece: BytesMut::new() })
}

impl Peer for Fastwebsockets {
    type Link = Sockets;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, async |io| {
            let serving = http1::Builder::new();
            let serving = serving.serve_connection(TokioIo::new(io), service_fn(handle));
            Ok(serving.with_upgrades().await?)
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Sockets> {
        Ok(Sockets(Target { addr, trust }))
    }
}

async fn handle(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    let Ok((response, upgrade)) = upgrade::upgrade(&mut request) else {
        let mut refusal = Response::new(Empty::new());
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refusal);
    };
    tokio::spawn(async move {
        let (tx, rx) = pipe(upgrade.await?);
        spawn_service(tx, rx);
        anyhow::Ok(())
    });
    Ok(response)
}

impl Link for Sockets {
    type Tx = Sender;
    type Rx = Receiver;

    async fn open(&self) -> Result<(Sender, Receiver)> {
        let io = dial(self.0.addr, self.0.trust.as_ref(), b"").await?;
        let request = Request::get("http://localhost/")
            .header(header::HOST, "localhost")
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "upgrade")
            .header(header::SEC_WEBSOCKET_KEY, handshake::generate_key())
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .body(Empty::<Bytes>::new())?;
        let (socket, _) = handshake::client(&TokioExecutor::new(), request, io).await?;
        Ok(pipe(socket))
    }
}

pub(crate) struct Sender(WebSocketWrite<WriteHalf<Io>>);

impl Tx for Sender {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        self.0.write_frame(Frame::binary(Payload::Borrowed(message))).await?;
        Ok(self.0.flush().await?)
    }
}

pub(crate) struct Receiver {
    read: WebSocketRead<ReadHalf<Io>>,
    piece: BytesMut,
}

impl Rx for Receiver {
    async fn recv(&mut self) -> Result<usize> {
        let mut no_answer = async |_: Frame<'_>| Ok::<_, WebSocketError>(());
        let frame = self.read.read_frame(&mut no_answer).await?;
        match (frame.opcode, frame.payload) {
            (OpCode::Binary, Payload::Bytes(piece)) => self.piece = piece,
            (OpCode::Binary, payload) => self.piece = BytesMut::from(&payload[..]),
            (OpCode::Close, _) => return Ok(0),
            _ => bail!("a frame that nobody has sent"),
        }
        Ok(self.piece.len())
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}
