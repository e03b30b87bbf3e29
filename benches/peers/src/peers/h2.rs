//! The handles of the `h2` crate, used directly by the user's task, with h2conn's windows and
//! frames.

use std::future::poll_fn;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{Request, Response};

use super::{Link, Peer, listen, spawn_service};
use crate::pipe::{Rx, Tx};
use crate::secure::{Identity, Trust, dial};

#[derive(Debug)]
pub(crate) struct H2;

#[derive(Clone, Debug)]
pub(crate) struct Streams(client::SendRequest<Bytes>);

/// The initial values that h2conn announces to its peer.
const WINDOW: u32 = 1 << 20;
const LINK_WINDOW: u32 = 16 << 20;
const FRAME: u32 = 64 << 10;

/// Without this, h2 ends a connection if its reader is slower than a writer of small messages.
const BUDGET: usize = usize::MAX >> 1;

impl Peer for H2 {
    type Link = Streams;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity.map(|identity| identity.alpn(b"h2")), async |io| {
            let mut builder = server::Builder::new();
            builder.initial_window_size(WINDOW).initial_connection_window_size(LINK_WINDOW);
            builder.max_frame_size(FRAME).data_frame_budget(BUDGET);
            let mut conn = builder.handshake(io).await?;
            while let Some(arrival) = conn.accept().await {
                let (request, mut respond) = arrival?;
                let tx = respond.send_response(Response::new(()), false)?;
                spawn_service(Sender(tx), Receiver::new(request.into_body()));
            }
            Ok(())
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Streams> {
        let io = dial(addr, trust.as_ref(), b"h2").await?;
        let mut builder = client::Builder::new();
        builder.initial_window_size(WINDOW).initial_connection_window_size(LINK_WINDOW);
        builder.max_frame_size(FRAME).data_frame_budget(BUDGET);
        let (send, conn) = builder.handshake(io).await?;
        tokio::spawn(conn);
        Ok(Streams(send))
    }
}

impl Link for Streams {
    type Tx = Sender;
    type Rx = Receiver;

    async fn open(&self) -> Result<(Sender, Receiver)> {
        let mut send = self.0.clone().ready().await?;
        let request = Request::post("http://localhost/").body(())?;
        let (response, tx) = send.send_request(request, false)?;
        Ok((Sender(tx), Receiver::new(response.await?.into_body())))
    }
}

pub(crate) struct Sender(SendStream<Bytes>);

impl Tx for Sender {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        let mut left = message.clone();
        while !left.is_empty() {
            self.0.reserve_capacity(left.len());
            while self.0.capacity() == 0 {
                poll_fn(|cx| self.0.poll_capacity(cx)).await.context("the stream is over")??;
            }
            let n = self.0.capacity().min(left.len());
            self.0.send_data(left.split_to(n), false)?;
        }
        Ok(())
    }
}

pub(crate) struct Receiver {
    stream: RecvStream,
    piece: Bytes,
}

impl Receiver {
    fn new(stream: RecvStream) -> Receiver {
        Receiver { stream, piece: Bytes::new() }
    }
}

impl Rx for Receiver {
    async fn recv(&mut self) -> Result<usize> {
        self.piece = match self.stream.data().await {
            Some(piece) => piece?,
            None => return Ok(0),
        };
        self.stream.flow_control().release_capacity(self.piece.len())?;
        Ok(self.piece.len())
    }

    fn piece(&self) -> &[u8] {
        &self.piece
    }
}
