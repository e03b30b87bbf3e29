//! The receiving queue: what has arrived and the user has not yet read.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;

use super::WakerSet;
use crate::error::Error;
use crate::sync::{Mutex, lock};

/// Chunks below this size are copied together: a `Bytes` of one byte would pin the whole read
/// buffer that it was cut from. Half of the largest frame that we invite, so that what a queue
/// pins is at most twice what it holds.
const KEEP_FROM: usize = 32 * 1024;

/// The copied tail becomes a chunk of its own at this size.
const TAIL: usize = 64 * 1024;

/// An empty tail keeps no more memory than this: there may be thousands of idle connections.
const IDLE_TAIL: usize = 4 * 1024;

/// Bytes on their way to the user.
///
/// It has no bound of its own: the peer's flow-control window bounds it, which the mover gives
/// back only as the user reads (RFC 9113 §5.2).
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    mover: Waker,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Copies of small chunks, after all of `chunks`.
    tail: BytesMut,
    len: usize,
    /// Bytes that have ever arrived, and that were read.
    arrived: u64,
    read: u64,
    /// Bytes that have left the queue and whose window is not yet given back.
    consumed: usize,
    /// The mover is woken once so much window can be given back.
    threshold: usize,
    end: Option<Result<(), Error>>,
    discarding: bool,
    readers: WakerSet,
}

impl Inbox {
    pub(crate) fn new(mover: Waker) -> Inbox {
        Inbox { state: Mutex::new(State { threshold: 1, ..State::default() }), mover }
    }

    /// Reads as much as fits. Nothing read and `Ok` means end of stream.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.state);
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if state.len == 0 {
            return state.poll_end(cx);
        }
        let before = buf.remaining();
        state.copy_into(buf);
        let due = state.consume(before - buf.remaining());
        drop(state);
        if due {
            self.mover.wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next run of bytes as it lies there; `None` is the end of the stream.
    pub(crate) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let mut state = lock(&self.state);
        if state.len == 0 {
            return state.poll_end(cx).map_ok(|()| None);
        }
        let chunk = state.chunks.pop_front().unwrap_or_else(|| state.tail.split().freeze());
        let due = state.consume(chunk.len());
        drop(state);
        if due {
            self.mover.wake_by_ref();
        }
        Poll::Ready(Ok(Some(chunk)))
    }

    /// Drops what is queued and whatever comes, so that the peer's writer does not stall.
    pub(crate) fn discard(&self) {
        let mut state = lock(&self.state);
        state.discarding = true;
        state.clear();
        drop(state);
        self.mover.wake_by_ref();
    }

    /// Ends the queue at once: queued bytes are dropped, reads fail.
    pub(crate) fn abort(&self, error: Error) {
        let mut state = lock(&self.state);
        state.end = Some(Err(error));
        state.clear();
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
        self.mover.wake_by_ref();
    }

    /// Queues bytes that have arrived.
    pub(crate) fn push(&self, bytes: Bytes) {
        let mut state = lock(&self.state);
        state.arrived += bytes.len() as u64;
        if state.discarding || state.end.is_some() {
            state.consumed += bytes.len();
            return;
        }
        state.append(bytes);
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
    }

    /// Says what comes after the queued bytes. The first word counts.
    pub(crate) fn finish(&self, end: Result<(), Error>) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(end);
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
    }

    /// Wakes those who wait to read, to look again at what else concerns them.
    pub(crate) fn wake_readers(&self) {
        let mut readers = lock(&self.state).readers.take();
        readers.wake_all();
    }

    /// Bytes whose window can be given back, each reported once.
    pub(crate) fn take_consumed(&self) -> usize {
        std::mem::take(&mut lock(&self.state).consumed)
    }

    /// Sets how many bytes must be read before the mover is woken to give their window back.
    pub(crate) fn set_threshold(&self, bytes: usize) {
        let mut state = lock(&self.state);
        state.threshold = bytes.max(1);
        let due = state.consumed >= state.threshold;
        drop(state);
        if due {
            self.mover.wake_by_ref();
        }
    }

    /// Whether all that was sent has come, and its end.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(lock(&self.state).end, Some(Ok(())))
    }

    /// How many bytes have arrived, and how many of them were read.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.arrived, state.read)
    }

    /// Bytes that wait for the user.
    pub(crate) fn len(&self) -> usize {
        lock(&self.state).len
    }
}

impl State {
    fn poll_end(&mut self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        match &self.end {
            Some(end) => Poll::Ready(end.clone()),
            None => {
                self.readers.add(cx);
                Poll::Pending
            }
        }
    }

    fn append(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() >= KEEP_FROM {
            self.seal_tail();
            self.chunks.push_back(bytes);
            return;
        }
        if self.tail.len() + bytes.len() > TAIL {
            self.seal_tail();
        }
        self.tail.extend_from_slice(&bytes);
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }

    fn copy_into(&mut self, buf: &mut ReadBuf<'_>) {
        while buf.remaining() > 0 {
            let Some(front) = self.chunks.front_mut() else { break };
            let n = front.len().min(buf.remaining());
            buf.put_slice(&front[..n]);
            front.advance(n);
            if front.is_empty() {
                self.chunks.pop_front();
            }
        }
        let n = self.tail.len().min(buf.remaining());
        buf.put_slice(&self.tail[..n]);
        if n == self.tail.len() && self.tail.capacity() > IDLE_TAIL {
            self.tail = BytesMut::new();
        } else if n == self.tail.len() {
            self.tail.clear();
        } else {
            self.tail.advance(n);
        }
    }

    /// Accounts for bytes that left; says whether the mover should hear of it.
    fn consume(&mut self, n: usize) -> bool {
        self.len -= n;
        self.read += n as u64;
        self.consumed += n;
        self.consumed >= self.threshold
    }

    fn clear(&mut self) {
        self.chunks = VecDeque::new();
        self.tail = BytesMut::new();
        self.consumed += std::mem::take(&mut self.len);
    }
}

#[cfg(test)]
mod tests;
