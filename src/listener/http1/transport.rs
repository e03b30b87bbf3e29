//! The transport of a client that speaks HTTP/1, and the watch over what moves on it: hyper has no
//! timeout for a body that does not come, nor for one that is not read.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::conn::Quiet;
use crate::link::Socket;
use crate::sync::{Mutex, lock};

/// Looks at what moves on a transport, if a timeout is set.
#[derive(Clone)]
pub(super) struct Watch(Option<Arc<Mutex<Movement>>>);

struct Movement {
    quiet: Box<Quiet>,
    /// The number of bytes that the transport has taken.
    position: u64,
    /// Bytes wait until the transport takes them.
    waits: bool,
    /// The path of the latest request.
    path: String,
}

impl Movement {
    fn look(&mut self, received: bool) {
        self.quiet.look(Instant::now(), received, self.position, self.waits);
    }
}

impl Watch {
    pub(super) fn new(quiet: Option<Box<Quiet>>) -> Watch {
        Watch(quiet.map(|quiet| {
            let movement = Movement { quiet, position: 0, waits: false, path: String::new() };
            Arc::new(Mutex::new(movement))
        }))
    }

    /// A request has come.
    pub(super) fn asked(&self, path: &str) {
        if let Some(movement) = &self.0 {
            path.clone_into(&mut lock(movement).path);
        }
    }

    fn received(&self) {
        if let Some(movement) = &self.0 {
            lock(movement).look(true);
        }
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Some(movement) = &self.0 {
            let mut movement = lock(movement);
            movement.waits = written.is_pending();
            if let Poll::Ready(Ok(n)) = written {
                movement.position += *n as u64;
            }
            movement.look(false);
        }
    }

    fn flushed(&self, flushed: &Poll<io::Result<()>>) {
        if let Some(movement) = &self.0 {
            let mut movement = lock(movement);
            movement.waits = flushed.is_pending();
            movement.look(false);
        }
    }

    /// Waits until a timeout runs out. Gives its name, and the path of the latest request. The task that waits must be the one
    /// that uses the transport.
    pub(super) async fn runs_out(&self) -> (&'static str, String) {
        let Some(movement) = &self.0 else { return pending().await };
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|cx| {
            loop {
                let movement = lock(movement);
                if let Some((knob, _)) = movement.quiet.verdict(Instant::now()) {
                    return Poll::Ready((knob, movement.path.clone()));
                }
                let Some(due) = movement.quiet.due() else { return Poll::Pending };
                drop(movement);
                if timer.deadline() != due {
                    timer.as_mut().reset(due);
                }
                ready!(timer.as_mut().poll(cx));
            }
        })
        .await
    }
}

/// A transport of which some bytes were read already.
pub(super) struct Transport {
    seen: Bytes,
    io: Box<dyn Socket>,
    watch: Watch,
    /// Tells when the transport is gone.
    _open: oneshot::Sender<()>,
}

impl Transport {
    pub(super) fn new(
        io: Box<dyn Socket>,
        seen: Bytes,
        watch: Watch,
        open: oneshot::Sender<()>,
    ) -> Transport {
        Transport { seen, io, watch, _open: open }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut self.io).poll_read(cx, buf);
            if buf.filled().len() > before {
                self.watch.received();
            }
            return read;
        }
        let n = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen[..n]);
        self.seen.advance(n);
        if self.seen.is_empty() {
            // A WebSocket would keep the memory.
            self.seen = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.watch.flushed(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
