//! Received frames without content for the user: credit, resets, SETTINGS, PING, GOAWAY,
//! priorities.

use std::time::Instant;

use super::{Connection, Inner, end};
use crate::frame::{Entries, GoAway, ping, priority_update, settings};
use crate::streams::{Closed, Found, Known};
use crate::window::Overflow;
use crate::{ConnectionError, Priority, Reason, StreamError, StreamId, Visitor};

/// The number of urgencies that are kept for streams that are not yet open. A browser sends one
/// just before its request.
const EARLY: usize = 32;

impl Connection {
    /// Sets how soon a stream may send: 0 is first, 7 is last. The default is the value in the
    /// request's field `priority`, or 3 (RFC 9218 §4.1). It has no effect on a stream that is over.
    pub fn set_urgency(&mut self, id: StreamId, urgency: u8) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.schedule.set_urgency(slot, urgency);
        }
    }

    /// Tells the server how soon this client wants a stream (RFC 9218 §7.1). It has no effect on a
    /// stream that is over, and at a server.
    pub fn prioritize(&mut self, id: StreamId, priority: Priority) {
        if !self.inner.is_server && self.inner.slot(id).is_some() {
            self.set_urgency(id, priority.urgency());
            priority_update::write(id, priority, &mut self.inner.output.bytes);
        }
    }
}

impl Inner {
    /// WINDOW_UPDATE of the connection (RFC 9113 §6.9).
    pub(super) fn connection_credit(&mut self, increment: u32) -> Result<(), ConnectionError> {
        self.send_window.grow(increment).map_err(|Overflow| {
            ConnectionError::new(
                Reason::FLOW_CONTROL_ERROR,
                format!(
                    "a WINDOW_UPDATE by {increment} makes the connection's window larger than \
                     2^31-1 (RFC 9113 §6.9.1)"
                ),
            )
        })
    }

    /// WINDOW_UPDATE of a stream (RFC 9113 §6.9).
    pub(super) fn stream_credit(
        &mut self,
        id: StreamId,
        increment: u32,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let slot = match self.streams.find(id.get()) {
            Found::Live(slot) => slot,
            Found::Idle => return Err(end::on_idle("WINDOW_UPDATE", id)),
            // The frame may have been in transit when the stream ended (RFC 9113 §5.1).
            Found::Gone(_) => return Ok(()),
        };
        let Some(stream) = self.streams.at(slot) else { return Ok(()) };
        match stream.send_window.grow(increment) {
            Ok(()) => {
                if stream.send_window.available() > 0 {
                    self.schedule.opened(slot);
                }
                Ok(())
            }
            Err(Overflow) => {
                let error = StreamError::new(
                    Reason::FLOW_CONTROL_ERROR,
                    format!(
                        "a WINDOW_UPDATE by {increment} makes the stream's window larger than \
                         2^31-1 (RFC 9113 §6.9.1)"
                    ),
                );
                self.break_stream(slot, &error, now, visitor)
            }
        }
    }

    /// RST_STREAM (RFC 9113 §6.4).
    pub(super) fn peer_reset(
        &mut self,
        id: StreamId,
        reason: Reason,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        match self.streams.find(id.get()) {
            Found::Live(slot) => {
                self.remove(slot, Closed::ResetByPeer);
                visitor.reset(id, reason);
            }
            Found::Idle => return Err(end::on_idle("RST_STREAM", id)),
            // Both sides have reset it.
            Found::Gone(Known::Closed(Closed::ResetHere)) => {
                self.streams.note(id.get(), Closed::ResetByPeer)
            }
            // The reset left before this side's end had arrived there (RFC 9113 §5.1).
            Found::Gone(Known::Closed(Closed::Ended)) => {
                self.streams.note(id.get(), Closed::ResetByPeer);
                visitor.late_reset(id, reason);
            }
            Found::Gone(Known::Forgotten) => visitor.late_reset(id, reason),
            Found::Gone(_) => {}
        }
        Ok(())
    }

    /// SETTINGS (RFC 9113 §6.5).
    pub(super) fn peer_settings(
        &mut self,
        entries: Entries<'_>,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let old = self.theirs;
        for setting in entries.iter() {
            self.theirs.apply(setting)?;
            // Apply every value in turn: a table that was emptied in between is empty
            // (RFC 9113 §4.3.1).
            if self.theirs.header_table_size != old.header_table_size {
                self.set_encoder_limit();
            }
        }
        self.set_encoder_limit();
        // Streams get only the last value, because a frame has room for thousands.
        self.shift_send_windows(old.initial_window_size)?;
        self.has_settings = true;
        self.output.ack(settings::write_ack)?;
        visitor.settings(&self.theirs);
        Ok(())
    }

    fn set_encoder_limit(&mut self) {
        let most = self.config.encoder_table_size;
        self.encoder.set_limit(self.theirs.header_table_size.min(most));
    }

    /// The peer's SETTINGS_INITIAL_WINDOW_SIZE has changed (RFC 9113 §6.9.2).
    fn shift_send_windows(&mut self, old: u32) -> Result<(), ConnectionError> {
        let by = i64::from(self.theirs.initial_window_size) - i64::from(old);
        if by == 0 {
            return Ok(());
        }
        for (slot, stream) in self.streams.iter_mut() {
            if let Err(Overflow) = stream.send_window.shift(by) {
                return Err(ConnectionError::new(
                    Reason::FLOW_CONTROL_ERROR,
                    format!(
                        "SETTINGS_INITIAL_WINDOW_SIZE of {} makes the window of stream {} larger \
                         than 2^31-1 (RFC 9113 §6.9.2)",
                        self.theirs.initial_window_size, stream.id
                    ),
                ));
            }
            if stream.send_window.available() > 0 {
                self.schedule.opened(slot);
            }
        }
        Ok(())
    }

    /// PING (RFC 9113 §6.7).
    pub(super) fn peer_ping(&mut self, payload: [u8; 8]) -> Result<(), ConnectionError> {
        self.output.ack(|into| ping::write(payload, true, into))
    }

    /// GOAWAY (RFC 9113 §6.8). A second one may name a lower stream. A higher one has no effect.
    pub(super) fn peer_goes_away(&mut self, go_away: GoAway<'_>, visitor: &mut impl Visitor) {
        let GoAway { last, reason, debug } = go_away;
        let last = self.their_last.map_or(last, |before| before.min(last));
        self.their_last = Some(last);
        let mut lost = Vec::new();
        if !self.is_server {
            let above = self.streams.iter_mut().filter(|(_, stream)| stream.id > last);
            lost.extend(above.map(|(slot, stream)| (stream.id, slot)));
            lost.sort_unstable();
            for (_, slot) in &lost {
                self.remove(*slot, Closed::ResetByPeer);
            }
        }
        visitor.go_away(StreamId::new(last), reason, debug);
        for id in lost.into_iter().filter_map(|(id, _)| StreamId::new(id)) {
            visitor.not_processed(id);
        }
    }

    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    pub(super) fn priority_update(
        &mut self,
        id: StreamId,
        priority: Priority,
    ) -> Result<(), ConnectionError> {
        match self.streams.find(id.get()) {
            Found::Live(slot) => self.schedule.set_urgency(slot, priority.urgency()),
            Found::Gone(_) => {}
            Found::Idle if id.is_server_initiated() => {
                return Err(ConnectionError::protocol(format!(
                    "a PRIORITY_UPDATE frame for stream {id}, a push stream that is idle, one of a \
                     client was expected (RFC 9218 §7.1)"
                )));
            }
            Found::Idle => {
                self.early_urgencies.retain(|(early, _)| *early != id.get());
                if self.early_urgencies.len() == EARLY {
                    self.early_urgencies.remove(0);
                }
                self.early_urgencies.push((id.get(), priority.urgency()));
            }
        }
        Ok(())
    }

    /// The urgency of a stream that opens now. A PRIORITY_UPDATE takes precedence over the field
    /// (RFC 9218 §7).
    pub(super) fn early_urgency(&mut self, id: u32) -> Option<u8> {
        if self.early_urgencies.is_empty() {
            return None;
        }
        let index = self.early_urgencies.iter().position(|(early, _)| *early == id)?;
        Some(self.early_urgencies.remove(index).1)
    }

    /// Handles a frame that requires a reset of its stream.
    pub(super) fn broken_frame(
        &mut self,
        id: StreamId,
        error: &StreamError,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        match self.streams.find(id.get()) {
            Found::Live(slot) => self.break_stream(slot, error, now, visitor),
            // An idle stream cannot be reset (RFC 9113 §6.4).
            Found::Idle => Err(ConnectionError::new(error.reason(), error.what().to_owned())),
            // This rule holds in every state (RFC 9113 §6.3, §6.9).
            Found::Gone(_) => self.answer_reset(id, error.reason(), now),
        }
    }
}
