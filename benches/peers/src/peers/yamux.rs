//! yamux: many streams over one TCP connection, without HTTP.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use anyhow::{Context, Result};
use futures_util::AsyncReadExt;
use futures_util::io::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{
    Compat, FuturesAsyncReadCompatExt, FuturesAsyncWriteCompatExt, TokioAsyncReadCompatExt,
};
use yamux::{Config, Connection, Mode, Stream};

use super::{Link, Peer, STREAMS, listen, spawn_service};
use crate::pipe::{Reader, Writer, bytes_pipe};
use crate::secure::{Identity, Io, Trust, dial};

#[derive(Debug)]
pub(crate) struct Yamux;

#[derive(Clone, Debug)]
pub(crate) struct Streams(mpsc::UnboundedSender<oneshot::Sender<Stream>>);

type Pipe = (Writer<Compat<WriteHalf<Stream>>>, Reader<Compat<ReadHalf<Stream>>>);

fn pipe(stream: Stream) -> Pipe {
    let (read, write) = stream.split();
    bytes_pipe(read.compat(), write.compat_write(), true)
}

impl Peer for Yamux {
    type Link = Streams;

    async fn serve(identity: Option<Identity>) -> Result<SocketAddr> {
        listen(identity, async |io: Io| {
            let mut conn = Connection::new(io.compat(), config(), Mode::Server);
            while let Some(stream) = poll_fn(|cx| conn.poll_next_inbound(cx)).await.transpose()? {
                let (tx, rx) = pipe(stream);
                spawn_service(tx, rx);
            }
            Ok(())
        })
        .await
    }

    async fn link(addr: SocketAddr, trust: Option<Trust>) -> Result<Streams> {
        let io = dial(addr, trust.as_ref(), b"").await?;
        let mut conn = Connection::new(io.compat(), config(), Mode::Client);
        let (orders, mut ordered) = mpsc::unbounded_channel::<oneshot::Sender<Stream>>();
        tokio::spawn(async move {
            let mut waiting = None;
            poll_fn(|cx| {
                loop {
                    if waiting.is_none()
                        && let Poll::Ready(order) = ordered.poll_recv(cx)
                    {
                        match order {
                            Some(order) => waiting = Some(order),
                            None => return Poll::Ready(()),
                        }
                    }
                    if waiting.is_some()
                        && let Poll::Ready(opened) = conn.poll_new_outbound(cx)
                    {
                        if let (Ok(stream), Some(order)) = (opened, waiting.take()) {
                            let _ = order.send(stream);
                        }
                        continue;
                    }
                    match conn.poll_next_inbound(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
            })
            .await;
        });
        Ok(Streams(orders))
    }
}

fn config() -> Config {
    let mut config = Config::default();
    // The default is 512. Also, windows may not add up to more than the connection's.
    config.set_max_num_streams(STREAMS as usize).set_max_connection_receive_window(None);
    config
}

impl Link for Streams {
    type Tx = Writer<Compat<WriteHalf<Stream>>>;
    type Rx = Reader<Compat<ReadHalf<Stream>>>;

    async fn open(&self) -> Result<(Self::Tx, Self::Rx)> {
        let (order, stream) = oneshot::channel();
        let _ = self.0.send(order);
        Ok(pipe(stream.await.context("the connection is over")?))
    }
}
