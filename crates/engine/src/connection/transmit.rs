//! Output other than DATA: collected, counted, handed out.

use std::time::Instant;

use super::{Connection, Inner};
use crate::window::Due;
use crate::{ConnectionError, Reason, StreamId, frame};

/// The most acknowledgements, and bytes of answers, that the peer can make wait here. With more, it
/// does not read, or it asks for more than it needs. 10,000 connections that an honest client
/// closes at once, each with a PING behind its end, stay below. Thousands of them fit into one
/// read.
const MOST_ACKS: usize = 10_000;
const MOST_ANSWERS: usize = 256 << 10;

/// The room that is kept after the output was handed out.
const KEPT: usize = 16 << 10;

/// Whether [`Connection::transmit`] has something to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Output {
    /// Nothing.
    Nothing,
    /// Credit for the peer. It goes with the next output, and need not be written alone before the
    /// caller waits for input.
    CanWait,
    /// Output that should go now.
    Now,
}

/// The waiting output.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
    /// The number of acknowledgements in it, and the bytes of all answers to the peer.
    acks: usize,
    answers: usize,
}

impl Buffer {
    /// Writes an answer to the peer's frame.
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

    /// Writes an acknowledgement.
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
    /// Whether there is output, and how urgent it is.
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

    /// Bytes that wait for [`transmit`](Connection::transmit), except credit. They include the
    /// caller's own heads and resets, which have no limit. A caller whose transport is full must
    /// stop receiving when this grows. Otherwise a peer that asks and never reads makes it fill its
    /// memory with answers.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.inner.output.bytes.len()
    }

    /// Appends everything that must be written, except DATA, to `into`, including credit that could
    /// wait.
    ///
    /// Write these bytes before DATA whose head is asked for afterwards, and after everything
    /// handed out before. The output that the peer can make wait here between two calls is bounded
    /// (10,000 acknowledgements, 256 KiB). The caller bounds its own waiting output: it does not
    /// call this while too much of it waits.
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

    /// Checks the time.
    ///
    /// # Errors
    ///
    /// The peer has not acknowledged SETTINGS in time (RFC 9113 §6.5.3), or the connection had
    /// failed before. The output has a GOAWAY.
    pub fn tick(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if let Some(error) = &self.inner.failed {
            return Err(error.clone());
        }
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Err(self.inner.fail(self.inner.settings_timed_out()));
        }
        Ok(())
    }

    /// Sends a PING (RFC 9113 §6.7). Its payload comes back through
    /// [`Visitor::pong`](crate::Visitor::pong), after everything that the peer has sent before it
    /// read the PING.
    pub fn ping(&mut self, payload: [u8; 8]) {
        if self.inner.failed.is_none() {
            self.inner.pings += 1;
            frame::ping::write(payload, false, &mut self.inner.output.bytes);
        }
    }

    /// Sends GOAWAY (RFC 9113 §6.8): this side accepts no streams above `last`, or none at all. A
    /// graceful end begins with [`StreamId::MAX`] and NO_ERROR, and sends
    /// [`last_peer_stream`](Connection::last_peer_stream) a round trip later. Afterwards a client
    /// can open no stream, and the peer's streams above `last` are ignored. `last` never rises
    /// again. `debug` is a text for people, of which at most 1,024 bytes are sent.
    pub fn go_away(&mut self, last: Option<StreamId>, reason: Reason, debug: &[u8]) {
        if self.inner.failed.is_none() {
            self.inner.write_go_away(last.map_or(0, StreamId::get), reason, debug);
        }
    }
}

impl Inner {
    /// After the GOAWAY of a failed connection, no credit is sent.
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

    /// Fails the connection. GOAWAY is its last output.
    #[cold]
    pub(super) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        let last = if self.is_server { self.streams.highest() } else { 0 };
        self.write_go_away(last, error.reason(), error.what().as_bytes());
        self.failed = Some(error.clone());
        error
    }
}
