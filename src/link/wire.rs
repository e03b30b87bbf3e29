//! Our wrapper of the transport, just under h2.
//!
//! h2 meets a transport that never makes it wait on a write, so that it never stops reading
//! because of one (T8); that hands up a bounded number of bytes a turn, so that the driver drains
//! what has come before more comes (T1); and that holds back the end of the transport until what
//! came before it has been dealt with (T9). The driver sees through it what h2 does not show:
//! frame headers (T10), and how much has really been written (T7).

mod confirm;
mod gauge;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{FrameLog, PREFACE, SentLog};
use crate::sync::{Mutex, lock};
use confirm::Confirm;

pub(crate) use gauge::{Gauge, Reading, WantedResets};

/// The transport of a link: a socket, TLS over one, or whatever the program gives.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Bytes handed up a turn: a frame of ours. h2 reads the next one into the same buffer if the driver
/// has emptied it meanwhile; of several in a turn each takes a buffer of its own, whose pages are new.
const QUOTA: usize = 64 << 10;

/// What a small frame costs of the quota beyond its bytes: it takes its place in h2's queues, and
/// time. A few hundred are a turn, after which others have theirs: a runtime of one thread looks for
/// what its sockets have only after some 60 turns of whoever is always busy.
const SMALL_COST: usize = 256;

/// How much is read at once from a peer that sends tiny frames, or small ones in a row, so that the
/// quota acts.
const SMALL_READ: usize = 4 << 10;
const IN_A_ROW: u64 = 16;

/// Writes up to this size are gathered and go out with the flush, in one system call.
const GATHER: usize = 8 << 10;

/// Data that the driver hands over at once, when none waits for the socket: a frame of ours. More of
/// it would not be faster, and what comes next to be sent waits for it.
pub(crate) const DATA_ROOM: usize = 64 << 10;

/// More than this waiting means that the peer does not read, and makes us answer all the same.
/// On top of [`DATA_ROOM`] it is 256 KiB of control frames: 20,000 RST_STREAMs.
const SPILL_LIMIT: usize = DATA_ROOM + (256 << 10);

/// How many of the peer's first bytes are kept for an error that says what was seen.
const FIRST: usize = 64;

/// The end of the wire that h2 holds; [`Gauge`] is the driver's.
pub(crate) struct Wire(Arc<Mutex<Inner>>);

struct Inner {
    io: Box<dyn Socket>,
    /// Bytes that were read before the link began.
    prefix: Bytes,
    quota: usize,
    delivered: bool,
    /// The transport's end, held back for a turn.
    held: Option<io::Result<()>>,
    /// h2 has been told that the transport has ended.
    read_end: bool,
    log: FrameLog,
    sent_log: SentLog,
    /// The proofs of what the peer has got.
    confirm: Confirm,
    wanted_resets: WantedResets,
    /// What the last bytes brought of tiny and of small frames.
    brought: (u64, u64),
    /// Room for a small read.
    small: Box<[u8; SMALL_READ]>,
    /// What small frames have cost of this turn's quota.
    small_cost: usize,
    first: Vec<u8>,
    /// Accepted from h2, and not yet taken by the transport.
    spill: BytesMut,
    accepted: u64,
    flushed: u64,
    /// Handed up, ever.
    received: u64,
    /// h2 has flushed what it wrote: it is between two frames.
    between_frames: bool,
    /// There is a driver.
    is_driven: bool,
    /// h2 has written its last, and reads no more.
    ending: bool,
    /// The last word is said, in h2's place.
    said_goodbye: bool,
    /// This side has ended the transport.
    shut: bool,
    /// Why the transport gives no more. h2 gets a copy, and makes text of it.
    failed: Option<io::Error>,
    /// The transport takes no more. Reading goes on: the reason may still be on its way.
    broken: Option<io::Error>,
}

/// Wraps `io`; `prefix` is what has already been read from it, `client` says whose preface comes.
pub(crate) fn wrap(io: Box<dyn Socket>, prefix: Bytes, peer_is_client: bool) -> (Wire, Gauge) {
    let inner = Arc::new(Mutex::new(Inner {
        io,
        prefix,
        quota: QUOTA,
        delivered: false,
        held: None,
        read_end: false,
        log: FrameLog::new(peer_is_client),
        sent_log: SentLog::new(if peer_is_client { 0 } else { PREFACE.len() }),
        confirm: Confirm::default(),
        wanted_resets: WantedResets::default(),
        brought: (0, 0),
        small: Box::new([0; SMALL_READ]),
        small_cost: 0,
        first: Vec::new(),
        spill: BytesMut::new(),
        accepted: 0,
        flushed: 0,
        received: 0,
        between_frames: false,
        is_driven: false,
        ending: false,
        said_goodbye: false,
        shut: false,
        failed: None,
        broken: None,
    }));
    (Wire(Arc::clone(&inner)), Gauge::new(inner))
}

impl Inner {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.quota == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.delivered
            && let Some(end) = self.held.take()
        {
            self.read_end = true;
            return Poll::Ready(end);
        }
        let before = buf.filled().len();
        let end = match self.poll_transport(cx, buf) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                self.note(&buf.filled()[before..]);
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(end) => end.map_err(|error| {
                let copy = copy_error(&error);
                self.failed.get_or_insert(error);
                copy
            }),
        };
        if !self.delivered {
            self.read_end = true;
            return Poll::Ready(end);
        }
        self.held = Some(end);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_transport(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.has_remaining() {
            let n = self.prefix.len().min(buf.remaining());
            buf.put_slice(&self.prefix.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let (tiny, small) = self.brought;
        if (tiny == 0 && small < IN_A_ROW) || buf.remaining() <= SMALL_READ {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        // To have no more than this read into `buf` itself, so much of it would have to be zeroed.
        let mut small = ReadBuf::new(&mut self.small[..]);
        let poll = Pin::new(&mut self.io).poll_read(cx, &mut small);
        buf.put_slice(small.filled());
        poll
    }

    /// Takes account of bytes that are handed up.
    fn note(&mut self, bytes: &[u8]) {
        self.delivered = true;
        self.received += bytes.len() as u64;
        let wanted = FIRST.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..wanted]);
        let (tiny, small) = (self.log.tiny(), self.log.small());
        self.log.feed(bytes);
        let before = self.confirm.last();
        for pong in self.log.pongs() {
            self.confirm.acknowledged(pong);
        }
        if self.confirm.last() != before {
            // One that has waited for its turn goes before h2 answers what else has come: a peer that
            // leaves hangs up upon that answer.
            self.ping();
        }
        self.brought = (self.log.tiny() - tiny, self.log.small() - small);
        let cost = self.brought.1 as usize * SMALL_COST;
        self.small_cost += cost;
        self.quota = self.quota.saturating_sub(bytes.len() + cost);
    }

    /// Takes all of `slices`, whatever the transport does.
    fn write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> usize {
        let total = slices.iter().map(|slice| slice.len()).sum();
        self.accepted += total as u64;
        if self.broken.is_some() || self.said_goodbye {
            return total;
        }
        let carried = slices.iter().map(|slice| self.sent_log.feed(slice)).max();
        self.confirm.owe(self.accepted, carried.unwrap_or_default());
        let mut skip = 0;
        if total > GATHER {
            self.write_spill(cx);
            if self.spill.is_empty() && self.broken.is_none() {
                skip = self.write_some(cx, slices);
            }
        }
        for slice in slices {
            let rest = slice.get(skip..).unwrap_or(&[]);
            self.spill.extend_from_slice(rest);
            skip = skip.saturating_sub(slice.len());
        }
        total
    }

    fn write_some(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> usize {
        match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(n)) => n,
            Poll::Ready(Err(error)) => {
                self.break_off(error);
                0
            }
            Poll::Pending => 0,
        }
    }

    fn write_spill(&mut self, cx: &mut Context<'_>) {
        while self.spill.has_remaining() {
            match Pin::new(&mut self.io).poll_write(cx, &self.spill) {
                Poll::Ready(Ok(0)) => self.break_off(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => self.spill.advance(n),
                Poll::Ready(Err(error)) => self.break_off(error),
                Poll::Pending => return,
            }
        }
        self.spill.clear();
    }

    /// Puts a PING behind what was written, if one is wanted and HTTP/2 is between two frames.
    fn ping(&mut self) {
        if !self.between_frames || self.said_goodbye || self.broken.is_some() {
            return;
        }
        if let Some(frame) = self.confirm.next(self.accepted) {
            self.put(&frame);
        }
    }

    /// Writes a frame of the wire's own, between two of HTTP/2's.
    fn put(&mut self, frame: &[u8]) {
        self.accepted += frame.len() as u64;
        self.spill.extend_from_slice(frame);
    }

    /// Reads on when HTTP/2 has ended: for acknowledgements, and to answer the peer's PINGs, which
    /// may be behind the last of its own bytes. All else is dropped.
    fn read_on(&mut self, cx: &mut Context<'_>) {
        self.log.answer_pings();
        let mut bytes = [0; SMALL_READ];
        while !self.read_end {
            if self.quota == 0 {
                return cx.waker().wake_by_ref();
            }
            let mut buf = ReadBuf::new(&mut bytes);
            match self.poll_transport(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.note(buf.filled()),
                Poll::Ready(end) => {
                    self.failed = self.failed.take().or(end.err());
                    self.read_end = true;
                }
            }
            for payload in self.log.take_pings() {
                let mut pong = *b"\0\0\x08\x06\x01\0\0\0\0\0\0\0\0\0\0\0\0";
                pong[9..].copy_from_slice(&payload);
                self.put(&pong);
            }
        }
    }

    /// Goes on writing. What a broken transport has not taken is never counted as flushed.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.flushed == self.accepted || self.broken.is_some() {
            return;
        }
        self.write_spill(cx);
        if self.broken.is_some() || !self.spill.is_empty() {
            return;
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => self.break_off(error),
            Poll::Ready(Ok(())) => {
                self.log.sent((self.accepted - self.flushed) as usize);
                self.flushed = self.accepted;
            }
        }
    }

    fn break_off(&mut self, error: io::Error) {
        self.broken.get_or_insert(error);
        self.spill = BytesMut::new();
    }

    /// h2 has said its last. The transport stays: the peer may not have got it yet, and may want
    /// answers (see [`Gauge::read_on`]).
    fn poll_shutdown(&mut self) -> Poll<io::Result<()>> {
        self.ending = true;
        Poll::Ready(self.broken.as_ref().map_or(Ok(()), |error| Err(copy_error(error))))
    }

    /// Ends this side of the transport behind all that was written.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.drive(cx);
        if let Some(error) = &self.broken {
            return Poll::Ready(Err(copy_error(error)));
        }
        if self.flushed < self.accepted {
            return Poll::Pending;
        }
        let poll = Pin::new(&mut self.io).poll_shutdown(cx);
        self.shut |= matches!(poll, Poll::Ready(Ok(())));
        poll
    }

    fn poll_parted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let has_ended = self.ending || self.said_goodbye;
        if has_ended && !self.shut && self.broken.is_none() && self.poll_end(cx).is_pending() {
            return Poll::Pending;
        }
        if !self.shut || self.held.is_some() || self.read_end {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        lock(&self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = lock(&self.0);
        inner.between_frames = false;
        Poll::Ready(Ok(inner.write(cx, bufs)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The driver, once there is one, writes what is gathered at the end of its turn, with what else
    /// must go.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = lock(&self.0);
        inner.between_frames = true;
        if !inner.is_driven {
            inner.drive(cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).poll_shutdown()
    }
}

/// `io::Error` cannot be cloned; the kind and the text are what is needed of it twice.
fn copy_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
