//! The sending queue: bytes that the user has written and that have not yet left.

mod mover;

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::buffers::{BUFFER, Buffers, Chunk, Chunks, SMALL};
use super::{Mover, WakerSet};
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, MutexGuard, lock};
pub(crate) use mover::Taken;

/// From this size on, a system call for one write costs less than the copy that it saves.
const LARGE: usize = 16 << 10;

/// A larger write is not a single message, but part of a long transfer. The mover should send it
/// while the user prepares the next part.
pub(crate) const A_MESSAGE: usize = 32 << 10;

/// Bytes on their way out, with a bound: a write waits while the queue is full. It is full earlier
/// if the queues that share its memory hold much.
///
/// Positions count the bytes written since the beginning. END_STREAM counts as one more byte at the
/// end, so that one number describes the progress.
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    buffers: Arc<Buffers>,
    capacity: usize,
    mover: Arc<dyn Mover>,
}

#[derive(Debug, Default)]
struct State {
    chunks: Chunks,
    queued: usize,
    /// The memory that the chunks take, and the part of it that the queue has told of.
    memory: usize,
    told: usize,
    written: u64,
    taken: u64,
    sent: u64,
    end: End,
    /// The reason why writes after the end fail.
    refusal: Option<Refusal>,
    failed: Option<Error>,
    writers: WakerSet,
    /// Tasks that wait for a position to be sent.
    watchers: WakerSet,
}

/// The reason why nothing more may be written, although nothing has failed.
#[derive(Debug)]
enum Refusal {
    /// The user has ended this side. The error is only made if it is needed.
    Shutdown,
    Because(Error),
}

impl Refusal {
    fn error(&self) -> Error {
        match self {
            Refusal::Shutdown => {
                Error::new(ErrorKind::Closed, "written to after the shutdown of this side")
            }
            Refusal::Because(error) => error.clone(),
        }
    }
}

/// The progress of END_STREAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Requested,
    Taken,
}

impl Outbox {
    pub(crate) fn new(capacity: usize, buffers: Arc<Buffers>, mover: Arc<dyn Mover>) -> Outbox {
        Outbox { state: Mutex::default(), buffers, capacity: capacity.max(1), mover }
    }

    /// Accepts as many bytes as there is room for, and at least one byte of a non-empty `bytes`. A
    /// message can bypass the queue.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        // A large write bypasses the queue if it can, which saves a copy.
        let passed = match bytes.len() {
            LARGE..=A_MESSAGE => Arc::clone(&self.mover).write_through(bytes),
            _ => 0,
        };
        match passed {
            0 => self.poll_write_vectored(cx, &[IoSlice::new(bytes)]),
            n => Poll::Ready(Ok(n)),
        }
    }

    /// The same as [`Outbox::poll_write`], from several slices, which stay together.
    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let mut state = lock(&self.state);
        state.check_open()?;
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let room = self.room(&state);
        if room == 0 {
            state.writers.add(cx);
            return Poll::Pending;
        }
        let was_idle = state.queued == 0;
        let mut accepted = 0;
        for slice in slices {
            let n = slice.len().min(room - accepted);
            state.append(&slice[..n], &self.buffers);
            accepted += n;
        }
        state.tell(&self.buffers);
        drop(state);
        if was_idle {
            Arc::clone(&self.mover).written();
        }
        Poll::Ready(Ok(accepted))
    }

    /// Takes the whole of `bytes` once there is any room, without a copy unless a little is put
    /// behind other bytes. Nothing is taken while this is pending.
    pub(crate) fn poll_write_chunk(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.state);
        let is_first = state.queued == 0 && !bytes.is_empty();
        let written = self.put(&mut state, cx, bytes);
        drop(state);
        if is_first && matches!(written, Poll::Ready(Ok(()))) {
            Arc::clone(&self.mover).written();
        }
        written
    }

    /// The same, without a word to the mover, which must be told of something else afterwards.
    #[cfg(any(feature = "requests", feature = "serve"))]
    pub(crate) fn poll_put(
        &self,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), Error>> {
        self.put(&mut lock(&self.state), cx, bytes)
    }

    fn put(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
        bytes: &mut Bytes,
    ) -> Poll<Result<(), Error>> {
        state.check_open()?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if self.room(state) == 0 {
            state.writers.add(cx);
            return Poll::Pending;
        }
        if bytes.len() <= SMALL && !state.chunks.is_empty() {
            state.append(bytes, &self.buffers);
        } else {
            state.queued += bytes.len();
            state.written += bytes.len() as u64;
            state.push(Chunk::Shared(std::mem::take(bytes)));
        }
        state.tell(&self.buffers);
        Poll::Ready(Ok(()))
    }

    /// Requests END_STREAM after everything that was written. Later writes fail with
    /// [`ErrorKind::Closed`], unless they fail already.
    pub(crate) fn finish(&self) {
        let mut state = lock(&self.state);
        state.refusal.get_or_insert(Refusal::Shutdown);
        self.request_end(state);
    }

    /// The same as [`Outbox::finish`], with the error for all later writes.
    pub(crate) fn finish_with(&self, refusal: Error) {
        let mut state = lock(&self.state);
        state.refusal = Some(Refusal::Because(refusal));
        self.request_end(state);
    }

    fn request_end(&self, mut state: MutexGuard<'_, State>) {
        if state.end != End::Open || state.failed.is_some() {
            return;
        }
        state.end = End::Requested;
        let mut writers = state.writers.take();
        drop(state);
        writers.wake_all();
        Arc::clone(&self.mover).written();
    }

    /// The same as [`Outbox::finish`], without a word to the mover, which must be told of something
    /// else afterwards.
    #[cfg(any(feature = "requests", feature = "serve"))]
    pub(crate) fn put_end(&self) {
        let mut state = lock(&self.state);
        if state.end == End::Open && state.failed.is_none() {
            state.end = End::Requested;
        }
    }

    /// Wakes the tasks that wait for room or for their bytes to be sent, so that they check their
    /// other conditions.
    pub(crate) fn wake_writers(&self) {
        let mut state = lock(&self.state);
        let (mut writers, mut watchers) = (state.writers.take(), state.watchers.take());
        drop(state);
        writers.wake_all();
        watchers.wake_all();
    }

    /// The position after the accepted bytes, and after END_STREAM if it was requested.
    pub(crate) fn position(&self) -> u64 {
        let state = lock(&self.state);
        state.written + u64::from(state.end != End::Open)
    }

    /// Ready once everything before `position` is on the transport.
    pub(crate) fn poll_sent(&self, cx: &mut Context<'_>, position: u64) -> Poll<Result<(), Error>> {
        let mut state = lock(&self.state);
        if state.sent >= position {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &state.failed {
            return Poll::Ready(Err(error.clone()));
        }
        state.watchers.add(cx);
        Poll::Pending
    }

    /// The number of bytes that were written, and the number of those that are on the transport.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.written, state.sent.min(state.written))
    }

    /// The error that the queue failed with, if it did.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &lock(&self.state).failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Whether END_STREAM was requested.
    pub(crate) fn is_finishing(&self) -> bool {
        lock(&self.state).end != End::Open
    }

    /// Whether END_STREAM has been handed to HTTP/2.
    pub(crate) fn is_end_taken(&self) -> bool {
        lock(&self.state).end == End::Taken
    }

    /// Whether every byte, and END_STREAM, is on the transport.
    pub(crate) fn is_sent(&self) -> bool {
        let state = lock(&self.state);
        state.end == End::Taken && state.sent == state.taken
    }

    /// Whether bytes (END_STREAM does not count) have not reached the transport.
    pub(crate) fn has_unsent_bytes(&self) -> bool {
        let state = lock(&self.state);
        state.sent < state.written
    }

    /// Drops the queued bytes. Writes fail from now on. The first error counts.
    pub(crate) fn fail(&self, error: Error) {
        let mut state = lock(&self.state);
        state.failed.get_or_insert(error);
        state.clear();
        state.tell(&self.buffers);
        let (mut writers, mut watchers) = (state.writers.take(), state.watchers.take());
        drop(state);
        writers.wake_all();
        watchers.wake_all();
    }

    /// The buffers, and the memory, for another queue beside this one.
    #[cfg(feature = "websocket")]
    pub(crate) fn buffers(&self) -> Arc<Buffers> {
        Arc::clone(&self.buffers)
    }

    /// The bytes that may wait at present.
    fn bound(&self) -> usize {
        self.capacity.min(self.buffers.memory.threshold())
    }

    fn room(&self, state: &State) -> usize {
        self.bound().saturating_sub(state.queued)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.buffers.memory.change(lock(&self.state).told, 0);
    }
}

impl State {
    fn check_open(&self) -> Result<(), Error> {
        match (&self.failed, &self.refusal) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(refusal)) => Err(refusal.error()),
            (None, None) => Ok(()),
        }
    }

    fn append(&mut self, mut bytes: &[u8], buffers: &Buffers) {
        self.queued += bytes.len();
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let spare = match self.chunks.back_mut() {
                Some(Chunk::Own { buffer, .. }) => {
                    let limit = if buffer.capacity() == BUFFER { BUFFER } else { SMALL };
                    let n = limit.saturating_sub(buffer.len()).min(bytes.len());
                    buffer.extend_from_slice(&bytes[..n]);
                    n
                }
                _ => 0,
            };
            bytes = &bytes[spare..];
            if spare == 0 {
                let is_little = self.queued <= SMALL;
                let buffer =
                    if is_little { Vec::with_capacity(bytes.len()) } else { buffers.get() };
                self.push(Chunk::Own { buffer, start: 0 });
            }
        }
    }

    fn push(&mut self, chunk: Chunk) {
        self.memory += chunk.memory();
        self.chunks.push(chunk);
    }

    fn clear(&mut self) -> Chunks {
        (self.queued, self.memory) = (0, 0);
        std::mem::take(&mut self.chunks)
    }

    /// Tells the others that share the memory how much this queue takes.
    fn tell(&mut self, buffers: &Buffers) {
        if self.told != self.memory {
            buffers.memory.change(self.told, self.memory);
            self.told = self.memory;
        }
    }
}

#[cfg(test)]
mod tests;
