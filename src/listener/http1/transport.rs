//! The transport of a client that speaks HTTP/1, and the watch over what moves on it: hyper has no
//! timeout for a body that does not come, nor for one that is not read.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::conn::Quiet;
use crate::link::Socket;
use crate::listener::socket::break_off;
use crate::sync::{Mutex, lock};

/// The most bytes that are read before hyper wants them.
const AHEAD: usize = 4096;

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

/// The transport of a client, which hyper and the client's task share. After an upgrade it is
/// hyper's alone.
#[derive(Clone)]
pub(super) struct Line(Arc<Mutex<Wire>>);

pub(super) struct Wire {
    pub(super) io: Box<dyn Socket>,
    /// Bytes that were read already.
    seen: Bytes,
    /// The client has ended its side.
    read_end: bool,
    /// The number of bytes that the transport has taken.
    written: u64,
    /// hyper has read in vain since it has last written: it waits for a request, or for content.
    reads: bool,
    /// hyper has ended this side, after everything that it had to say.
    pub(super) ended: bool,
    /// Something waits to be written.
    waits: bool,
    /// The body of the present answer has begun, and not all of it has been taken from the program.
    answers: bool,
    /// The present request asks for an upgrade, which needs both sides.
    upgrades: bool,
    /// Tells when the transport is gone.
    _open: oneshot::Sender<()>,
}

impl Line {
    pub(super) fn new(io: Box<dyn Socket>, seen: Bytes, open: oneshot::Sender<()>) -> Line {
        Line(Arc::new(Mutex::new(Wire {
            io,
            seen,
            read_end: false,
            written: 0,
            reads: false,
            ended: false,
            waits: false,
            answers: false,
            upgrades: false,
            _open: open,
        })))
    }

    /// A request has come.
    pub(super) fn asked(&self, upgrades: bool) {
        lock(&self.0).upgrades = upgrades;
    }

    /// The body of the answer has begun, or it has ended.
    pub(super) fn answer_goes_on(&self, goes_on: bool) {
        lock(&self.0).answers = goes_on;
    }

    /// The number of bytes that the transport has taken.
    pub(super) fn written(&self) -> u64 {
        lock(&self.0).written
    }

    /// Whether the client has all of its answers, if nothing is being answered.
    pub(super) fn waits_for_client(&self) -> bool {
        lock(&self.0).reads
    }

    /// The transport, unless somebody else has it.
    pub(super) fn into_wire(self) -> Option<Wire> {
        Arc::into_inner(self.0)
            .map(|wire| wire.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the client is gone while its request is being answered. hyper does not read then.
    ///
    /// A client that has only ended its side may wait for the answer. One that is gone looks the same
    /// until something is sent to it. So the answer has some time to begin, and for each pause.
    pub(super) async fn client_leaves(&self, patience: Duration) -> io::Error {
        if let Err(error) = poll_fn(|cx| lock(&self.0).poll_end(cx)).await {
            return error;
        }
        let mut before = self.written();
        while !lock(&self.0).upgrades {
            sleep(patience).await;
            let wire = lock(&self.0);
            if !wire.waits && wire.written == before {
                break;
            }
            before = wire.written;
        }
        io::Error::new(io::ErrorKind::UnexpectedEof, "the client has left before its answer")
    }
}

impl Wire {
    /// Waits for the end of the client's side, or the failure of the transport. The task that waits
    /// must be the one that uses the transport.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.read_end {
            return Poll::Ready(Ok(()));
        }
        if !self.seen.is_empty() {
            return Poll::Pending;
        }
        let mut bytes = [0; AHEAD];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        self.seen = Bytes::copy_from_slice(buf.filled());
        // hyper has waited for these bytes, or for the end.
        cx.waker().wake_by_ref();
        if !self.seen.is_empty() {
            return Poll::Pending;
        }
        self.read_end = true;
        Poll::Ready(Ok(()))
    }

    /// Whether a part of an answer is still to come.
    pub(super) fn is_cut_short(&self) -> bool {
        !self.ended && (self.answers || self.waits)
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        self.reads = false;
        self.waits = written.is_pending();
        if let Poll::Ready(Ok(n)) = written {
            self.written += *n as u64;
        }
    }
}

/// Breaks the transport off when it is dropped, if an answer is cut short by that. Where the end of the transport is that
/// of the answer, as over HTTP/1.0, a client would take a part for all of it otherwise.
pub(super) struct CutShort(pub(super) Line);

impl Drop for CutShort {
    fn drop(&mut self) {
        let wire = lock(&self.0.0);
        if wire.is_cut_short() {
            break_off(&*wire.io);
        }
    }
}

/// The transport of a client as hyper sees it.
pub(super) struct Transport {
    line: Line,
    watch: Watch,
    is_write_vectored: bool,
}

impl Transport {
    pub(super) fn new(line: Line, watch: Watch) -> Transport {
        let is_write_vectored = lock(&line.0).io.is_write_vectored();
        Transport { line, watch, is_write_vectored }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.line.0);
        if wire.read_end {
            return Poll::Ready(Ok(()));
        }
        if wire.seen.is_empty() {
            let before = buf.filled().len();
            let read = Pin::new(&mut wire.io).poll_read(cx, buf);
            wire.reads = read.is_pending();
            ready!(read)?;
            match buf.filled().len() > before {
                true => self.watch.received(),
                false => wire.read_end = buf.remaining() > 0,
            }
            return Poll::Ready(Ok(()));
        }
        let n = wire.seen.len().min(buf.remaining());
        buf.put_slice(&wire.seen[..n]);
        wire.seen.advance(n);
        if wire.seen.is_empty() {
            // A WebSocket would keep the memory.
            wire.seen = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.line.0);
        let written = Pin::new(&mut wire.io).poll_write(cx, buf);
        wire.wrote(&written);
        self.watch.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = lock(&self.line.0);
        let written = Pin::new(&mut wire.io).poll_write_vectored(cx, bufs);
        wire.wrote(&written);
        self.watch.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.is_write_vectored
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.line.0);
        let flushed = Pin::new(&mut wire.io).poll_flush(cx);
        wire.waits = flushed.is_pending();
        self.watch.flushed(&flushed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = lock(&self.line.0);
        let shut = Pin::new(&mut wire.io).poll_shutdown(cx);
        wire.ended = matches!(shut, Poll::Ready(Ok(())));
        shut
    }
}
