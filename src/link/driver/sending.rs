//! The writing of a turn: content first, then all else.

use std::task::Context;

use tokio::time::Instant;

use super::{DATA_ROOM, Driver, HEADS_ROOM};
use crate::link::events::Place;
use crate::link::send::Sent;

impl Driver {
    /// Writes content while the transport takes it, a frame of one stream after the other.
    pub(super) fn send_data(&mut self) {
        if self.end.is_some() {
            return;
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if self.session.waiting() > 0 {
            self.session.flush(&mut cx);
        }
        // Content that the transport does not take at once is copied, so nothing is added to it.
        let mut room = if self.session.waiting() == 0 { DATA_ROOM } else { 0 };
        self.sendable = self.session.state().has_turns();
        while room > 0 && self.session.may_send() {
            let Some(id) = self.session.http2().next_to_send() else {
                self.sendable = false;
                break;
            };
            let Some(&Place::Entry(key)) = self.ids.get(&id) else { continue };
            let Some(entry) = self.streams.get_mut(key) else { continue };
            let (sent, len) = entry.send(&mut cx, &mut self.session, room);
            room = room.saturating_sub(len);
            entry.note_stall(sent == Sent::Blocked);
            entry.send_state.queued = sent == Sent::More;
            match sent {
                Sent::All => {}
                Sent::AllButTheEnd => self.ends.push(key),
                // It comes back by itself when its windows open.
                Sent::Blocked if self.session.state().send_capacity(id) > 0 => {}
                Sent::More | Sent::Blocked => self.session.http2().want_send(id),
            }
            if !entry.send_state.unsettled {
                entry.send_state.unsettled = true;
                self.unsettled.push(key);
            }
        }
        self.send_ends();
        self.tell_who_is_blocked();
    }

    /// Takes note, once, of the streams that wait for the link's own window.
    fn tell_who_is_blocked(&mut self) {
        let blocked = self.session.state().connection_capacity() == 0;
        if blocked == std::mem::replace(&mut self.link_blocked, blocked) || !blocked {
            return;
        }
        for (_, entry) in &mut self.streams {
            if entry.send_state.queued {
                entry.send_state.queued = false;
                entry.note_stall(true);
            }
        }
    }

    /// How much more of heads may wait for the transport.
    pub(super) fn heads_room(&self) -> usize {
        HEADS_ROOM.saturating_sub(self.session.control_waiting())
    }

    /// Writes what HTTP/2 has to say besides content, and what has waited for the transport.
    pub(super) fn flush(&mut self) {
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        self.poll_ping(&mut cx);
        let before = self.moved();
        self.session.collect();
        self.session.flush(&mut cx);
        let moved = self.moved();
        if self.config.stall_timeout.is_some() && moved.taken != before.taken {
            self.took = Instant::now();
        }
        self.shared.info.observed.moved(moved.flushed, moved.received);
        self.look_for_life();
    }
}
