//! How streams end.

use std::borrow::Cow;
use std::time::Instant;

use super::{Connection, Inner};
use crate::frame::rst_stream;
use crate::limits::{Row, TooMany};
use crate::stream::RecvHalf;
use crate::streams::Closed;
use crate::{ConnectionError, Reason, StreamError, StreamId, Visitor};

impl Connection {
    /// Resets a stream. Bytes that are still in transit for it are dropped when they come. It has
    /// no effect on a stream that is over.
    ///
    /// If a DATA frame was asked for and is not yet written, take it back first through
    /// [`withdraw`](Connection::withdraw), which resets the stream.
    pub fn reset(&mut self, id: StreamId, reason: Reason) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.remove_reset(slot);
            rst_stream::write(id, reason, &mut self.inner.output.bytes);
        }
    }
}

impl Inner {
    /// Removes a stream whose two halves have ended.
    #[inline]
    pub(super) fn look_whether_over(&mut self, slot: u32) {
        if self.streams.peek(slot).is_some_and(|stream| stream.is_over()) {
            self.remove(slot, Closed::Ended);
        }
    }

    /// This side has sent END_STREAM.
    #[inline]
    pub(super) fn sent_end(&mut self, slot: u32) {
        self.schedule.leave(slot);
        let is_unread = self.streams.peek(slot).is_some_and(|s| s.recv != RecvHalf::Ended);
        if self.is_server && is_unread {
            // The client has all that it asked for, and may stop sending the rest of its request.
            self.limits.answered();
        }
        self.look_whether_over(slot);
    }

    pub(super) fn remove(&mut self, slot: u32, how: Closed) {
        self.schedule.leave(slot);
        self.streams.remove(slot, how);
    }

    /// Removes a stream that is being reset here. An honest peer may still have frames in transit,
    /// so these are due: as much content as its window allows, and a head or two.
    pub(super) fn remove_reset(&mut self, slot: u32) {
        let Some(stream) = self.streams.peek(slot) else { return };
        let how = match stream.recv {
            RecvHalf::Ended => Closed::Ended,
            RecvHalf::Head | RecvHalf::Body => Closed::ResetHere,
        };
        if how == Closed::ResetHere {
            let available = stream.recv_window.available();
            self.limits.expect(Row::DeadData, u64::try_from(available).unwrap_or(0));
            self.limits.expect(Row::Heads, 1);
        }
        self.remove(slot, how);
    }

    /// Resets an open stream on which the peer has broken a rule.
    ///
    /// # Errors
    ///
    /// The peer has done so too often.
    #[cold]
    pub(super) fn break_stream(
        &mut self,
        slot: u32,
        error: &StreamError,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let id = self.streams.peek(slot).and_then(|stream| StreamId::new(stream.id));
        let Some(id) = id else { return Ok(()) };
        self.remove_reset(slot);
        self.answer_reset(id, error.reason(), now)?;
        visitor.broken(id, error);
        Ok(())
    }

    /// Sends RST_STREAM as an answer to the peer's frame.
    pub(super) fn answer_reset(
        &mut self,
        id: StreamId,
        reason: Reason,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.spend(Row::StreamErrors, 1, now)?;
        self.output.answer(|into| rst_stream::write(id, reason, into))
    }

    /// The peer sends on a stream that it has reset itself.
    pub(super) fn refuse_after_reset(
        &mut self,
        id: StreamId,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        // Further frames are dropped without another answer.
        self.streams.note(id.get(), Closed::ResetHere);
        self.answer_reset(id, Reason::STREAM_CLOSED, now)
    }

    /// Charges a row of the limits.
    #[inline]
    pub(super) fn spend(
        &mut self,
        row: Row,
        cost: u32,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        self.limits.spend(row, cost, now).map_err(|TooMany(what)| {
            ConnectionError::calm(format!("too many {what}, fewer were expected (RFC 9113 §10.5)"))
        })
    }
}

/// A frame on a stream that its sender has ended. No honest peer sends one (RFC 9113 §5.1).
#[cold]
pub(super) fn after_the_end(kind: &str, id: StreamId) -> ConnectionError {
    ConnectionError::new(
        Reason::STREAM_CLOSED,
        format!("{kind} on stream {id}, which its sender had ended (RFC 9113 §5.1)"),
    )
}

/// A frame on a stream that was never opened (RFC 9113 §5.1).
#[cold]
pub(super) fn on_idle(kind: &str, id: StreamId) -> ConnectionError {
    ConnectionError::protocol(format!(
        "{kind} on stream {id}, which is idle, HEADERS or PRIORITY was expected (RFC 9113 §5.1)"
    ))
}

/// An error of a stream.
pub(super) fn stream_error((reason, what): (Reason, impl Into<Cow<'static, str>>)) -> StreamError {
    StreamError::new(reason, what)
}
