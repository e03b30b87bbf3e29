//! The receiving queue: bytes that have arrived and are not yet read.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::ReadBuf;

use super::buffers::{BUFFER, Buffers, Chunk, Chunks};
use super::{Mover, WakerSet};
use crate::error::Error;
use crate::sync::{Mutex, lock};

/// Up to this size, received bytes stay in a buffer that grows with them. More bytes go into a
/// recycled buffer of [`BUFFER`] bytes. So a queue takes at most twice the memory of its content,
/// and one partly read buffer.
const GROWN: usize = BUFFER / 2;

/// An empty queue keeps no larger buffer, because there may be thousands of idle connections.
const IDLE: usize = 4 * 1024;

/// Bytes on their way to the user.
///
/// The queue has no bound of its own. The peer's flow-control window bounds it, and the mover gives
/// the window back only as the user reads (RFC 9113 §5.2).
///
/// All bytes are copied in, because the links of a thread share the room that they read into.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    buffers: Arc<Buffers>,
    mover: Arc<dyn Mover>,
}

#[derive(Debug, Default)]
struct State {
    chunks: Chunks,
    len: usize,
    /// The bytes that have ever arrived.
    arrived: u64,
    read: u64,
    /// Bytes that have left the queue, but whose window is not yet given back.
    consumed: usize,
    /// The mover is woken once it can give back this much window.
    threshold: usize,
    end: Option<Result<(), Error>>,
    discarding: bool,
    readers: WakerSet,
}

impl Inbox {
    pub(crate) fn new(buffers: Arc<Buffers>, mover: Arc<dyn Mover>) -> Inbox {
        Inbox { state: Mutex::new(State { threshold: 1, ..State::default() }), buffers, mover }
    }

    /// Reads as much as fits. `Ok` with no byte read is the end of the stream.
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
        state.copy_into(buf, &self.buffers);
        let due = state.consume(before - buf.remaining());
        drop(state);
        if due {
            Arc::clone(&self.mover).read();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next run of bytes as it lies in the queue. `None` is the end of the stream.
    pub(crate) fn poll_chunk(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let mut state = lock(&self.state);
        if state.len == 0 {
            return state.poll_end(cx).map_ok(|()| None);
        }
        // An empty buffer is only kept for later bytes.
        let mut chunks = std::iter::from_fn(|| state.chunks.pop());
        let chunk = chunks.find(|chunk| chunk.len() > 0).expect("the queue is not empty");
        let due = state.consume(chunk.len());
        drop(state);
        if due {
            Arc::clone(&self.mover).read();
        }
        Poll::Ready(Ok(Some(chunk.into_bytes(&self.buffers))))
    }

    /// Drops the queued and all later bytes, so that the peer's writer does not stall. Returns
    /// whether there are any, or may be.
    pub(crate) fn discard(&self) -> bool {
        let mut state = lock(&self.state);
        state.discarding = true;
        state.clear();
        let has_some = state.end.is_none() || state.consumed > 0;
        drop(state);
        if has_some {
            Arc::clone(&self.mover).read();
        }
        has_some
    }

    /// Ends the queue at once. Queued bytes are dropped, and reads fail.
    pub(crate) fn abort(&self, error: Error) {
        let mut state = lock(&self.state);
        state.end = Some(Err(error));
        state.clear();
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
        Arc::clone(&self.mover).read();
    }

    /// Queues bytes that have arrived.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        state.arrived += bytes.len() as u64;
        if state.discarding || state.end.is_some() {
            state.consumed += bytes.len();
            return;
        }
        state.append(bytes, &self.buffers);
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
    }

    /// Sets the end after the queued bytes. The first call counts.
    pub(crate) fn finish(&self, end: Result<(), Error>) {
        let mut state = lock(&self.state);
        state.end.get_or_insert(end);
        let mut readers = state.readers.take();
        drop(state);
        readers.wake_all();
    }

    /// Wakes the tasks that wait to read, so that they check their other conditions.
    pub(crate) fn wake_readers(&self) {
        let mut readers = lock(&self.state).readers.take();
        readers.wake_all();
    }

    /// Bytes whose window can be given back. Each byte is reported once.
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
            Arc::clone(&self.mover).read();
        }
    }

    /// Whether all bytes of the peer and its end have come.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(lock(&self.state).end, Some(Ok(())))
    }

    /// The number of bytes that have arrived, and the number of those that were read.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.arrived, state.read)
    }

    /// Bytes that wait to be read.
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

    fn append(&mut self, mut bytes: &[u8], buffers: &Buffers) {
        self.len += bytes.len();
        while !bytes.is_empty() {
            let n = match self.chunks.back_mut() {
                Some(Chunk::Own { buffer, start }) => {
                    if buffer.capacity() != BUFFER && buffer.len() + bytes.len() > GROWN {
                        let mut larger = buffers.get();
                        larger.extend_from_slice(&buffer[*start..]);
                        (*buffer, *start) = (larger, 0);
                    }
                    let most = if buffer.capacity() == BUFFER { BUFFER } else { GROWN };
                    let n = bytes.len().min(most - buffer.len());
                    buffer.extend_from_slice(&bytes[..n]);
                    n
                }
                _ => 0,
            };
            bytes = &bytes[n..];
            if n == 0 {
                let large = bytes.len() > GROWN;
                let buffer = if large { buffers.get() } else { Vec::with_capacity(bytes.len()) };
                self.chunks.push(Chunk::Own { buffer, start: 0 });
            }
        }
    }

    fn copy_into(&mut self, buf: &mut ReadBuf<'_>, buffers: &Buffers) {
        while buf.remaining() > 0 {
            let Some(front) = self.chunks.front_mut() else { break };
            let n = front.len().min(buf.remaining());
            buf.put_slice(&front.as_slice()[..n]);
            front.advance(n);
            if front.len() > 0 {
                break;
            }
            match self.chunks.pop() {
                Some(Chunk::Own { mut buffer, .. })
                    if self.chunks.is_empty() && buffer.capacity() <= IDLE =>
                {
                    buffer.clear();
                    self.chunks.push(Chunk::Own { buffer, start: 0 });
                    break;
                }
                Some(chunk) => chunk.recycle(buffers),
                None => {}
            }
        }
    }

    /// Counts bytes that left, and returns whether the mover must be told.
    fn consume(&mut self, n: usize) -> bool {
        self.len -= n;
        self.read += n as u64;
        self.consumed += n;
        self.consumed >= self.threshold
    }

    fn clear(&mut self) {
        self.chunks = Chunks::default();
        self.consumed += std::mem::take(&mut self.len);
    }
}

#[cfg(test)]
mod tests;
