//! The mover's side of the sending queue: it takes bytes, and tells how far they have come.

use std::sync::Arc;

#[cfg(feature = "accept")]
use bytes::Bytes;

use super::{End, Outbox, State};
#[cfg(feature = "accept")]
use crate::pipe::buffers::Chunk;
use crate::pipe::buffers::{Batch, Buffers, Chunks};
use crate::sync::lock;

/// The result of [`Outbox::take`].
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    /// Bytes, END_STREAM, or both; never neither.
    pub(crate) batch: Option<Batch<'a>>,
    /// Bytes that are still queued.
    pub(crate) left: usize,
}

/// The result of [`Outbox::take_run`].
#[cfg(feature = "accept")]
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) bytes: Option<Bytes>,
    /// Whether END_STREAM goes with them.
    pub(crate) end: bool,
    /// The position after them, for [`Outbox::mark_sent`].
    pub(crate) position: u64,
}

impl Outbox {
    /// Lets `bytes` bypass the queue: they count as written, and as taken. Returns `false` if bytes
    /// are queued, or if nothing may be written any more.
    pub(crate) fn pass(&self, bytes: usize) -> bool {
        let mut state = lock(&self.state);
        let passes = state.queued == 0 && state.end == End::Open && state.check_open().is_ok();
        if passes {
            state.written += bytes as u64;
            state.taken += bytes as u64;
        }
        passes
    }

    /// Bytes that wait to be taken, and whether END_STREAM waits behind them.
    pub(crate) fn pending(&self) -> (usize, bool) {
        let state = lock(&self.state);
        (state.queued, state.end == End::Requested && state.failed.is_none())
    }

    /// Takes up to `most` bytes for HTTP/2, with END_STREAM if no bytes are left.
    pub(crate) fn take(&self, most: usize) -> Taken<'_> {
        self.take_with(most, true)
    }

    /// The same as [`Outbox::take`], but never takes END_STREAM.
    pub(crate) fn take_bytes(&self, most: usize) -> Taken<'_> {
        self.take_with(most, false)
    }

    fn take_with(&self, most: usize, end_may_go: bool) -> Taken<'_> {
        let mut state = lock(&self.state);
        if state.failed.is_some() {
            return Taken { batch: None, left: 0 };
        }
        let chunks = state.split_front(most, &self.buffers);
        state.tell(&self.buffers);
        let end = end_may_go && state.queued == 0 && state.end == End::Requested;
        if chunks.is_empty() && !end {
            return Taken { batch: None, left: state.queued };
        }
        if end {
            state.end = End::Taken;
        }
        let batch = Batch::new(chunks, end, &self.buffers);
        state.taken += bytes::Buf::remaining(&batch) as u64 + u64::from(end);
        Taken { batch: Some(batch), left: state.queued }
    }

    /// Takes the first run of bytes, up to `most`, for a mover with a bound of its own. The bytes
    /// make room in the queue at once.
    #[cfg(feature = "accept")]
    pub(crate) fn take_run(&self, most: usize) -> Run {
        let mut state = lock(&self.state);
        if state.failed.is_some() {
            return Run::default();
        }
        let first = state.chunks.front_mut().map_or(0, |chunk| chunk.len());
        let run = state.split_front(first.min(most), &self.buffers).pop();
        state.tell(&self.buffers);
        let end = state.queued == 0 && state.end == End::Requested;
        if end {
            state.end = End::Taken;
        }
        state.taken += run.as_ref().map_or(0, Chunk::len) as u64 + u64::from(end);
        let position = state.taken;
        let mut writers = state.writers.take();
        drop(state);
        writers.wake_all();
        Run { bytes: run.map(|run| run.into_bytes(&self.buffers)), end, position }
    }

    /// Wakes writers that have room again, and returns the position up to which everything was
    /// taken.
    pub(crate) fn settle(&self) -> u64 {
        let mut position = 0;
        self.settle_up_to(|taken| {
            position = taken;
            0
        });
        position
    }

    /// The same as [`Outbox::settle`], for a mover that also knows what is on the transport. It
    /// calls `sent` with the position that `settle` would return, and `sent` returns the position
    /// up to which everything is on the transport. Returns whether everything that was taken is on
    /// the transport.
    pub(crate) fn settle_up_to(&self, sent: impl FnOnce(u64) -> u64) -> bool {
        let mut state = lock(&self.state);
        let has_room = !state.writers.is_empty() && {
            let bound = self.bound();
            bound.saturating_sub(state.queued) * 3 >= bound
        };
        let mut writers = has_room.then(|| state.writers.take());
        let sent = sent(state.taken);
        let news = sent > state.sent && !state.watchers.is_empty();
        let mut watchers = news.then(|| state.watchers.take());
        state.sent = state.sent.max(sent);
        let all = state.sent == state.taken;
        drop(state);
        for tasks in writers.iter_mut().chain(&mut watchers) {
            tasks.wake_all();
        }
        all
    }

    /// Everything before `position` is on the transport.
    pub(crate) fn mark_sent(&self, position: u64) {
        let mut state = lock(&self.state);
        if position <= state.sent {
            return;
        }
        state.sent = position;
        let mut watchers = state.watchers.take();
        drop(state);
        watchers.wake_all();
    }
}

impl State {
    fn split_front(&mut self, most: usize, buffers: &Arc<Buffers>) -> Chunks {
        if self.queued <= most {
            return self.clear();
        }
        let mut taken = Chunks::default();
        let mut room = most;
        while room > 0 {
            let Some(front) = self.chunks.front_mut() else { break };
            let n = front.len().min(room);
            self.memory -= front.memory();
            if n < front.len() {
                taken.push(front.split_to(n, buffers));
                self.memory += front.memory();
            } else if let Some(chunk) = self.chunks.pop() {
                taken.push(chunk);
            }
            room -= n;
        }
        self.queued -= most - room;
        taken
    }
}
