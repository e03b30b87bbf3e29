//! The session of a link: HTTP/2 (`h2conn-engine`) over a transport, and the count of the bytes
//! that have really left.
//!
//! ```text
//! calls, batches ─► engine ─► output ─► transport
//!          events ◄─ engine ◄─ read ◄─ transport
//! ```
//!
//! The session never waits or decides. The driver does.

mod confirm;
mod end;
mod read;

use std::any::Any;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use h2conn_engine::{Connection, DataHead, OpenError, Output, Protocol, SendError, StreamId};
use http::{HeaderMap, Response, request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::trace::Trace;
pub(super) use confirm::Carried;
use confirm::Confirm;
pub(crate) use end::poll_discard;
use read::FIRST_READ;
pub(super) use read::Read;

/// The transport of a link: a socket, TLS over one, or the program's own transport.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {
    /// To find out which of them it is.
    #[cfg_attr(
        not(any(feature = "serve", feature = "websocket")),
        expect(dead_code, reason = "only HTTP/1 needs a reset of the transport")
    )]
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Content up to this size is copied behind other output, and leaves with it in one system call.
const GATHER: usize = 8 << 10;

/// HTTP/2 hands out heads, answers and credit while no more than this waits for the transport. It
/// bounds the output that a peer causes without reading it.
const CONTROL: usize = 64 << 10;

/// With more than this waiting, the peer does not read and still causes answers. It is the size of
/// one of our frames and 256 KiB, which are 20,000 RST_STREAMs.
const MOST_WAITING: usize = (64 << 10) + (256 << 10);

/// The room for output that is kept while nothing waits.
const KEPT: usize = 16 << 10;

/// The chunks of content that one write takes.
const SLICES: usize = 18;

/// The bytes that have ever passed each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Bytes that HTTP/2 has handed out.
    pub(super) accepted: u64,
    /// Bytes that the transport has taken, flushed or not.
    pub(super) taken: u64,
    /// Bytes that were taken and flushed.
    pub(super) flushed: u64,
    /// Bytes that have come from the peer.
    pub(super) received: u64,
}

impl Moved {
    /// Bytes that wait for the transport.
    pub(super) fn backlog(&self) -> usize {
        (self.accepted - self.flushed) as usize
    }
}

/// HTTP/2 over a transport.
pub(super) struct Session {
    engine: Connection,
    io: Box<dyn Socket>,
    /// Bytes that were read before the link began.
    prefix: Bytes,
    /// The size of the next read.
    read_size: usize,
    /// When bytes were last read.
    read_at: Instant,
    /// The time of the present turn, once it was asked for.
    turn_at: Option<Instant>,
    /// Bytes that HTTP/2 has handed out. From `start` on the transport has not taken them.
    output: Vec<u8>,
    start: usize,
    moved: Moved,
    /// The proofs of what the peer has received.
    confirm: Confirm,
    /// The transport has not taken all of the last write.
    full: bool,
    /// HTTP/2 has heads that it has not yet handed out.
    heads_wait: bool,
    /// One of the heads that HTTP/2 has not yet handed out belongs to a stream that is over, and
    /// that the peer must receive in full.
    whole_heads_wait: bool,
    first: Vec<u8>,
    trace: Option<Box<Trace>>,
    /// Nothing more can be read from the transport.
    read_end: bool,
    /// This side has ended the transport.
    shut: bool,
    /// The transport must be ended in order, after a last word.
    parts: bool,
    /// The error that ended reading, if it was an error.
    failed: Option<io::Error>,
    /// Nothing more can be written to the transport. Reading goes on, because the reason may still
    /// arrive.
    broken: Option<io::Error>,
}

impl Session {
    /// Begins HTTP/2 over `io`, of which `prefix` has already been read.
    pub(super) fn new(
        engine: Connection,
        io: Box<dyn Socket>,
        prefix: Bytes,
        trace: Option<Box<Trace>>,
    ) -> Session {
        Session {
            engine,
            io,
            prefix,
            read_size: FIRST_READ,
            read_at: Instant::now(),
            turn_at: None,
            output: Vec::new(),
            start: 0,
            moved: Moved::default(),
            confirm: Confirm::default(),
            full: false,
            heads_wait: false,
            whole_heads_wait: false,
            first: Vec::new(),
            trace,
            read_end: false,
            shut: false,
            parts: false,
            failed: None,
            broken: None,
        }
    }

    /// HTTP/2 itself. Send heads through [`Session::open`] and [`Session::respond`], content through
    /// [`Session::write`], because they count them.
    pub(super) fn http2(&mut self) -> &mut Connection {
        &mut self.engine
    }

    /// The present state of HTTP/2.
    pub(super) fn state(&self) -> &Connection {
        &self.engine
    }

    pub(super) fn moved(&self) -> Moved {
        self.moved
    }

    /// Begins a turn of the driver, or a visit of a user's task.
    pub(super) fn begin_turn(&mut self) {
        self.turn_at = None;
    }

    /// The time in the present turn, for which the system is asked once.
    pub(super) fn now(&mut self) -> Instant {
        *self.turn_at.get_or_insert_with(Instant::now)
    }

    /// Opens a stream. Nothing follows if `end`.
    pub(super) fn open(
        &mut self,
        request: &request::Parts,
        headers: &HeaderMap,
        protocol: Option<&Protocol>,
        end: bool,
    ) -> Result<StreamId, OpenError> {
        let id = self.engine.open_with(&request.method, &request.uri, headers, protocol, end)?;
        self.heads_wait = true;
        Ok(id)
    }

    /// Answers a request. Nothing follows if `end`.
    pub(super) fn respond(
        &mut self,
        id: StreamId,
        response: &Response<()>,
        end: bool,
    ) -> Result<(), SendError> {
        self.engine.respond(id, response, end)?;
        self.heads_wait = true;
        Ok(())
    }

    /// Sends an interim response to a request.
    pub(super) fn inform(&mut self, id: StreamId, head: &Response<()>) -> Result<(), SendError> {
        self.engine.inform(id, head)?;
        self.heads_wait = true;
        Ok(())
    }

    /// Ends a stream with trailers. They are handed out at once, so that a stream whose every byte
    /// was handed out has no head that waits.
    pub(super) fn trailers(&mut self, id: StreamId, trailers: &HeaderMap) -> Result<(), SendError> {
        self.engine.trailers(id, trailers)?;
        self.heads_wait = true;
        self.transmit();
        Ok(())
    }

    /// The peer has acknowledged a PING with this payload.
    pub(super) fn acknowledged(&mut self, payload: [u8; 8]) {
        self.confirm.acknowledged(payload);
    }

    /// Takes HTTP/2's output other than content, if the transport still takes bytes.
    pub(super) fn collect(&mut self) {
        if self.waiting() > CONTROL {
            return;
        }
        self.transmit();
        self.put_ping();
    }

    /// Puts a PING behind everything that was handed out, if one is wanted.
    fn put_ping(&mut self) {
        if let Some(payload) = self.confirm.next(self.moved.accepted) {
            self.engine.ping(payload);
            self.transmit();
        }
    }

    /// Whether content can follow the bytes handed out, and the transport may take it.
    pub(super) fn may_send(&mut self) -> bool {
        self.collect();
        !self.full && self.engine.waiting() == 0
    }

    fn transmit(&mut self) {
        if !self.has_output() {
            return;
        }
        self.compact();
        let before = self.output.len();
        let now = self.now().into_std();
        self.engine.transmit(now, &mut self.output);
        let carried = match std::mem::take(&mut self.heads_wait) {
            true => Carried::Bytes,
            false => Carried::Nothing,
        };
        self.count(self.output.len() - before, carried);
        if std::mem::take(&mut self.whole_heads_wait) {
            self.confirm.must_be_whole(self.moved.accepted);
        }
        if let Some(trace) = &mut self.trace {
            trace.sent(&self.output[before..]);
        }
        self.drop_unsendable();
    }

    fn count(&mut self, bytes: usize, carried: Carried) {
        self.moved.accepted += bytes as u64;
        self.confirm.owe(self.moved.accepted, carried);
    }

    /// Whether HTTP/2 has output. Credit counts even in small amounts, because the peer may wait
    /// for it.
    pub(super) fn has_output(&self) -> bool {
        self.engine.output() != Output::Nothing
    }

    /// Bytes that were handed out and that the transport has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.output.len() - self.start
    }

    /// Bytes of heads, resets and answers on their way to the transport.
    pub(super) fn control_waiting(&self) -> usize {
        self.waiting() + self.engine.waiting()
    }

    /// Whether so many bytes wait for the peer to read that the peer must be at fault.
    pub(super) fn is_overflowing(&self) -> bool {
        self.control_waiting() > MOST_WAITING
    }

    /// Writes a frame of content, or a frame with only END_STREAM. Bytes that the transport does
    /// not take are copied.
    pub(super) fn write(&mut self, cx: &mut Context<'_>, head: &DataHead, mut content: impl Buf) {
        let carried = if head.len == 0 { Carried::Ends } else { Carried::Bytes };
        self.count(head.header.len() + head.len, carried);
        if let Some(trace) = &mut self.trace {
            trace.sent(&head.header);
            trace.sent_content(head.len);
        }
        self.compact();
        let mut head_left = &head.header[..];
        if head.len > GATHER && self.broken.is_none() {
            let mut taken = self.write_with(cx, head_left, &content);
            self.full = taken < self.waiting() + head.header.len() + head.len;
            let waited = taken.min(self.waiting());
            self.start += waited;
            taken -= waited;
            head_left = &head_left[taken.min(head_left.len())..];
            content.advance(taken.saturating_sub(head.header.len()));
            self.compact();
        }
        self.output.extend_from_slice(head_left);
        while content.has_remaining() {
            let chunk = content.chunk();
            self.output.extend_from_slice(chunk);
            let len = chunk.len();
            content.advance(len);
        }
        self.drop_unsendable();
    }

    /// Writes the waiting bytes, and then content with its head. Returns how many of all bytes were
    /// taken.
    fn write_with(&mut self, cx: &mut Context<'_>, head: &[u8], content: &impl Buf) -> usize {
        let mut slices = [IoSlice::new(&[]); SLICES];
        slices[0] = IoSlice::new(&self.output[self.start..]);
        slices[1] = IoSlice::new(head);
        let filled = 2 + content.chunks_vectored(&mut slices[2..]);
        let slices = &slices[usize::from(self.waiting() == 0)..filled];
        match Pin::new(&mut self.io).poll_write_vectored(cx, slices) {
            Poll::Ready(Ok(n)) => {
                self.moved.taken += n as u64;
                n
            }
            Poll::Ready(Err(error)) => {
                self.break_off(error);
                0
            }
            Poll::Pending => 0,
        }
    }

    /// Reuses the room of bytes that have left.
    fn compact(&mut self) {
        if self.start * 2 >= self.output.len() {
            self.output.drain(..self.start);
            self.start = 0;
        }
    }

    /// Continues writing. Bytes that a broken transport has not taken never count as flushed.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if self.moved.flushed == self.moved.accepted || self.broken.is_some() {
            return;
        }
        self.full = self.waiting() > 0;
        while self.waiting() > 0 {
            match Pin::new(&mut self.io).poll_write(cx, &self.output[self.start..]) {
                Poll::Ready(Ok(0)) => return self.break_off(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.start += n;
                    self.moved.taken += n as u64;
                }
                Poll::Ready(Err(error)) => return self.break_off(error),
                Poll::Pending => return,
            }
        }
        self.full = false;
        self.compact();
        if self.output.capacity() > KEPT {
            self.output = Vec::new();
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => self.break_off(error),
            Poll::Ready(Ok(())) => self.moved.flushed = self.moved.accepted,
        }
    }

    fn break_off(&mut self, error: io::Error) {
        self.broken.get_or_insert(error);
        self.drop_unsendable();
    }

    fn drop_unsendable(&mut self) {
        if self.broken.is_some() {
            (self.output, self.start) = (Vec::new(), 0);
        }
    }
}

/// `io::Error` cannot be cloned, so this copies its kind and its text.
fn copy_error(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
