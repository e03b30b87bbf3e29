//! Output beside DATA: collected, counted, handed out.

use std::time::Instant;

use super::{Connection, Inner};
use crate::window::Due;
use crate::{ConnectionError, Reason, StreamId, frame};

/// The most acknowledgements, and bytes of any answers, that the peer can make wait here. Beyond,
/// it does not read, or asks for more than anybody needs. 10,000 connections that a client closes at
/// once, each with a PING behind its end, are honest, and thousands of them fit into one read.
const MOST_ACKS: usize = 10_000;
const MOST_ANSWERS: usize = 256 << 10;

/// Room that is kept from one time to the next.
const KEPT: usize = 16 << 10;

/// Whether [`Connection::transmit`] has something to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Nothing.
    Nothing,
    /// Credit for the peer, which goes with whatever is written next, and need not be written by
    /// itself before the caller waits for input.
    CanWait,
    /// Something that should go now.
    Now,
}

/// The bytes that wait.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    /// Acknowledgements among them, and the bytes of all that the peer has provoked.
    acks: usize,
    answers: usize,
}

impl Buffer {
    /// Something that the peer has provoked goes out.
    pub(super) fn answer(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ConnectionError> {
        let before = self.bytes.len();
        write(&mut self.bytes);
        self.answers += self.bytes.len() - before;
        if self.answers <= MOST_ANSWERS {
            return Ok(());
        }
        Err(ConnectionError::calm(format!(
            "{} bytes of answers wait for the peer to read, at most {MOST_ANSWERS} were expected \
             (RFC 9113 §10.5)",
            self.answers
        )))
    }

    /// An acknowledgement goes out.
    pub(super) fn ack(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectionError> {
        self.acks += 1;
        if self.acks <= MOST_ACKS {
            return self.answer(write);
        }
        Err(ConnectionError::calm(format!(
            "more than {MOST_ACKS} acknowledgements wait for the peer to read, fewer were expected \
             (RFC 9113 §10.5)"
        )))
    }
}

impl Connection {
    /// Whether there is something to hand out, and how urgent it is.
    #[inline]
    pub fn output(&self) -> Output {
        if !self.inner.output.bytes.is_empty() {
            return Output::Now;
        }
        match self.inner.updates_due() {
            Due::Nothing => Output::Nothing,
            Due::CanWait => Output::CanWait,
            Due::Now => Output::Now,
        }
    }

    /// Bytes that wait for [`transmit`](Connection::transmit), credit excepted. Heads and resets of the
    /// caller's are among them without a limit: one whose transport is full stops receiving when this
    /// grows, or a peer that asks and never reads makes it answer into memory.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.inner.output.bytes.len()
    }

    /// Appends all that must be written, DATA excepted, to `into`, credit that could wait included.
    ///
    /// It must be written before DATA whose head is asked for afterwards, and behind all before. What
    /// the peer can make wait here between two calls is bounded (10,000 acknowledgements, 256 KiB);
    /// the caller bounds what waits at its side by not calling this while too much does.
    pub fn transmit(&mut self, now: Instant, into: &mut Vec<u8>) {
        let Inner { output, ours, .. } = &mut self.inner;
        if !output.bytes.is_empty() {
            ours.handed_out(now);
            if into.is_empty() {
                std::mem::swap(into, &mut output.bytes);
            } else {
                into.append(&mut output.bytes);
            }
            if output.bytes.capacity() > KEPT {
                output.bytes = Vec::new();
            }
            (output.acks, output.answers) = (0, 0);
        }
        if self.inner.updates_due() != Due::Nothing {
            self.inner.write_updates(into);
        }
    }

    /// When [`Connection::tick`] must be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match self.inner.failed {
            Some(_) => None,
            None => self.inner.ours.deadline(self.inner.config.settings_timeout),
        }
    }

    /// Looks at the time.
    ///
    /// # Errors
    ///
    /// The peer has not acknowledged SETTINGS in time (RFC 9113 §6.5.3), or the connection had failed
    /// before. GOAWAY is output.
    pub fn tick(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = &self.inner.failed {
            return Err(error.clone());
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Err(self.inner.fail(self.inner.settings_timed_out()));
        }
        Ok(())
    }

    /// Sends a PING (RFC 9113 §6.7). Its payload comes back by
    /// [`Visitor::pong`](crate::Visitor::pong), after all that the peer has sent before it has read
    /// the PING.
    pub fn ping(&mut self, payload: [u8; 8]) {
        if self.inner.failed.is_none() {
            self.inner.pings += 1;
            frame::ping::write(payload, false, &mut self.inner.output.bytes);
        }
    }

    /// Sends GOAWAY (RFC 9113 §6.8): this side takes no streams above `last`, or none at all. A graceful
    /// end begins with [`StreamId::MAX`] and NO_ERROR, and comes to
    /// [`last_peer_stream`](Connection::last_peer_stream) a round trip later. No stream can be opened
    /// afterwards, by a client, and those of the peer above `last` are ignored. `last` never rises
    /// again. Of `debug`, a text for people, at most 1,024 bytes are sent.
    pub fn go_away(&mut self, last: Option<StreamId>, reason: Reason, debug: &[u8]) {
        if self.inner.failed.is_none() {
            self.inner.write_go_away(last.map_or(0, StreamId::get), reason, debug);
        }
    }
}

impl Inner {
    /// Credit goes no further than the GOAWAY of a connection that has failed.
    #[inline]
    fn updates_due(&self) -> Due {
        match self.failed {
            Some(_) => Due::Nothing,
            None => self.updates.due(),
        }
    }

    fn write_go_away(&mut self, last: u32, reason: Reason, debug: &[u8]) {
        let last = self.our_last.map_or(last, |before| before.min(last));
        self.our_last = Some(last);
        let debug = &debug[..debug.len().min(1_024)];
        frame::go_away::write(last, reason, debug, &mut self.output.bytes);
    }

    /// The connection fails: GOAWAY is the last that it outputs.
    #[cold]
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        let last = if self.is_server { self.streams.highest() } else { 0 };
        self.write_go_away(last, error.reason(), error.what().as_bytes());
        self.failed = Some(error.clone());
        error
    }
}
