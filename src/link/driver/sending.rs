//! The writing of a turn: content first, then all other output. Also writes of a user's own task.

use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::{DATA_ROOM, Driver, HEADS_ROOM};
use crate::link::carrier::LinkCarrier;
use crate::link::entry::Entry;
use crate::link::ids::Place;
use crate::link::send::Sent;
use crate::link::session::Session;
use crate::pipe::A_MESSAGE;

impl Driver {
    /// Writes content while the transport takes it, one frame of each stream in turn.
    pub(super) fn send_data(&mut self, cx: &mut Context<'_>) {
        if self.end.is_some() {
            return;
        }
        if let Some(payload) = self.pinger.poll(cx) {
            self.session.http2().ping(payload);
        }
        if self.session.waiting() > 0 {
            self.session.flush(cx);
        }
        // Content that the transport does not take at once is copied, so add none behind it.
        let mut room = if self.session.waiting() == 0 { DATA_ROOM } else { 0 };
        self.sendable = self.session.state().has_turns();
        while room > 0 && self.session.may_send() {
            let Some(id) = self.session.http2().next_to_send() else {
                self.sendable = false;
                break;
            };
            let Some(&Place::Entry(key)) = self.ids.get(&id) else { continue };
            let Some(entry) = self.streams.get_mut(key) else { continue };
            let (sent, len) = entry.send(cx, &mut self.session, room);
            room = room.saturating_sub(len);
            entry.note_stall(sent == Sent::Blocked);
            entry.send_state.queued = sent == Sent::More;
            self.has_queued |= entry.send_state.queued;
            match sent {
                Sent::All => {}
                Sent::AllButTheEnd => self.ends.push(key),
                // HTTP/2 brings the stream back when its windows open.
                Sent::Blocked if self.session.state().send_capacity(id) > 0 => {}
                Sent::More | Sent::Blocked => self.session.http2().want_send(id),
            }
            if !entry.send_state.unsettled {
                entry.send_state.unsettled = true;
                self.unsettled.push(key);
            }
        }
        self.send_ends(cx);
        self.tell_who_is_blocked();
    }

    /// Sends the bytes that a stream's user has just written, from the user's own task, while the
    /// driver sleeps. `false` if there is work left for the driver.
    ///
    /// This saves a task's turn, and costs a system call for each write. So it is only done for the
    /// first write after a read that has fed this stream alone: such a write is an answer, or the
    /// next question. The driver gathers the writes that follow. A stream with timeouts is left to
    /// the driver too, because a timer can only be set in a runtime, and users need not be in one.
    pub(in crate::link) fn send_at_once(
        &mut self,
        carrier: &Arc<LinkCarrier>,
        cx: &mut Context<'_>,
    ) -> bool {
        let key = carrier.key();
        if self.fed_alone != Some(key) || !self.takes_visits() {
            return false;
        }
        self.fed_alone = None;
        let entry = self.streams.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.carrier, carrier));
        let takes = |entry: &&mut Entry| {
            entry.quiet.is_none() && entry.stream.outbox.pending().0 <= A_MESSAGE
        };
        let Some(entry) = entry.filter(takes) else { return false };
        let (sent, _) = entry.send(cx, &mut self.session, A_MESSAGE);
        // The driver must be told of the end.
        let done = sent == Sent::All && entry.sends;
        self.flush_visit(key, cx);
        done
    }

    /// Sends bytes of a stream from their user's own task, without a copy, and returns how many. It
    /// sends none if other streams have their turns first, if the transport is full, or if the
    /// peer's windows are shut.
    pub(in crate::link) fn send_past_outbox(
        &mut self,
        carrier: &Arc<LinkCarrier>,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> usize {
        let key = carrier.key();
        if self.fed_alone != Some(key) || !self.takes_visits() {
            return 0;
        }
        self.fed_alone = None;
        let entry = self.streams.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.carrier, carrier));
        let entry = entry.filter(|entry| entry.quiet.is_none());
        let sent = entry.map_or(0, |entry| entry.send_past_outbox(cx, &mut self.session, bytes));
        if sent > 0 {
            self.flush_visit(key, cx);
        }
        sent
    }

    /// Whether a user's bytes could go to the transport at once.
    fn takes_visits(&mut self) -> bool {
        self.session.begin_turn();
        self.shared.info.any_task
            && self.end.is_none()
            && !self.sendable
            && self.session.waiting() == 0
            && self.session.may_send()
    }

    /// Writes the output that a visit has left in the session, and checks which bytes have left.
    fn flush_visit(&mut self, key: usize, cx: &mut Context<'_>) {
        self.flush_session(cx);
        self.look_for_life();
        if self.session.is_broken() {
            self.shared.ask();
        }
        let moved = self.moved();
        let Some(entry) = self.streams.get_mut(key) else { return };
        let more = entry.settle(&moved);
        entry.look_at_movement(false);
        if more && !std::mem::replace(&mut entry.send_state.unsettled, true) {
            self.unsettled.push(key);
        }
    }

    /// Tells the streams, once, that they wait for the link's own window.
    fn tell_who_is_blocked(&mut self) {
        let blocked = self.session.state().connection_capacity() == 0;
        if blocked && std::mem::take(&mut self.has_queued) {
            self.tell_who_cannot_send();
        }
    }

    /// Tells the streams that wait for their turn and whose windows are shut since. HTTP/2 brings them
    /// back when the windows open.
    pub(super) fn tell_who_cannot_send(&mut self) {
        for (_, entry) in &mut self.streams {
            let id = entry.id.filter(|_| entry.send_state.queued);
            if id.is_some_and(|id| self.session.state().send_capacity(id) == 0) {
                entry.send_state.queued = false;
                entry.note_stall(true);
            }
        }
    }

    /// Writes HTTP/2's output other than content, and output that has waited for the transport.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        self.flush_session(cx);
        self.look_for_life();
    }

    fn flush_session(&mut self, cx: &mut Context<'_>) {
        self.session.collect();
        self.session.flush(cx);
        let moved = self.moved();
        if self.config.stall_timeout.is_some() && moved.taken != self.taken {
            (self.taken, self.took) = (moved.taken, Instant::now());
        }
        self.shared.info.observed.moved(moved.flushed, moved.received);
    }
}

/// The number of bytes of heads that may still be added for the transport.
pub(super) fn heads_room(session: &Session) -> usize {
    HEADS_ROOM.saturating_sub(session.control_waiting())
}
