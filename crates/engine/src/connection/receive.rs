//! Receiving the peer's bytes: they are cut into frames, and each frame is charged and handled.

use std::time::Instant;

use super::{Connection, Inner};
use crate::frame::{Frame, Head, Kind};
use crate::limits::{Cost, Row, Weight};
use crate::settings::MIN_MAX_FRAME_SIZE;
use crate::{ConnectionError, Visitor};

impl Connection {
    /// Takes all of the peer's bytes, however they are cut, and reports their meaning to the
    /// visitor. `now` is the time when they came. It must not go back.
    ///
    /// Answers that HTTP/2 requires become output. If the caller receives but never hands out
    /// output, the engine treats the peer as one that does not read: see
    /// [`transmit`](Connection::transmit).
    ///
    /// # Errors
    ///
    /// The connection has failed: the peer has broken a rule that ends it, or sends too many frames
    /// that cost work (RFC 9113 §5.4.1, §10.5). The output has a GOAWAY, which should still be
    /// written. Later calls have no effect and return the same error.
    /// [`ConnectionError::first_bytes`] identifies a peer that does not speak HTTP/2 at all.
    pub fn receive(
        &mut self,
        now: Instant,
        bytes: &[u8],
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let Connection { deframer, inner } = self;
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        // The limit may have changed since.
        deframer.set_max_frame_size(inner.ours.max_frame_size());
        let mut input = bytes;
        loop {
            let taken = match deframer.next(&mut input) {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => inner.frame(frame, now, visitor),
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return Err(inner.fail(error));
            }
            if input.is_empty() && deframer.is_between_frames() {
                deframer.release();
                return Ok(());
            }
        }
    }
}

impl Inner {
    #[inline]
    fn frame(
        &mut self,
        frame: Frame<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        match frame {
            // Most frames are of this kind, and flow control bounds them.
            Frame::Head(Head { kind: Kind::DATA, len: 1.., .. }) => Ok(()),
            Frame::Head(head) => self.weigh(head, now),
            Frame::Data(data) => self.data(data, now, visitor),
            Frame::Headers(headers) => self.headers(headers, now, visitor),
            Frame::WindowUpdate { stream: None, increment } => self.connection_credit(increment),
            Frame::WindowUpdate { stream: Some(id), increment } => {
                self.stream_credit(id, increment, now, visitor)
            }
            Frame::Reset { stream, reason } => self.peer_reset(stream, reason, visitor),
            Frame::Settings(entries) => self.peer_settings(entries, visitor),
            Frame::SettingsAck => {
                if self.settings_acknowledged() {
                    visitor.settings_acknowledged();
                }
                Ok(())
            }
            Frame::Ping(payload) => self.peer_ping(payload),
            Frame::Pong(payload) => {
                self.pings = self.pings.saturating_sub(1);
                visitor.pong(payload);
                Ok(())
            }
            Frame::GoAway(go_away) => {
                self.peer_goes_away(go_away, visitor);
                Ok(())
            }
            // RFC 7540's priorities are not used (RFC 9113 §5.3.2).
            Frame::Priority { .. } => Ok(()),
            Frame::PriorityUpdate { stream, priority } => self.priority_update(stream, priority),
            Frame::Broken { stream, error } => self.broken_frame(stream, &error, now, visitor),
        }
    }

    /// Charges a frame to its row of the limits, before it is handled.
    fn weigh(&mut self, head: Head, now: Instant) -> Result<(), ConnectionError> {
        let Head { kind, flags, len, .. } = head;
        let weight = Weight { kind: kind.0, flags: flags.0, len, at_server: self.is_server };
        match weight.cost() {
            Cost::Of(row, cost) => self.spend(row, cost, now)?,
            Cost::Answer if kind == Kind::SETTINGS && self.ours.are_sent() => {}
            Cost::Answer if kind == Kind::PING && self.pings > 0 => {}
            Cost::Answer => self.spend(Row::Unasked, 1, now)?,
            Cost::Window | Cost::Place | Cost::Error => {}
        }
        if matches!(kind, Kind::HEADERS | Kind::CONTINUATION) && len >= MIN_MAX_FRAME_SIZE {
            // A full frame, behind which the rest of a large block must come.
            self.limits.expect_continuation();
        }
        Ok(())
    }
}
