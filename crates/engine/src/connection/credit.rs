//! Credit that goes back to the peer (RFC 9113 §6.9).
//!
//! A window is given back in few frames: nothing below a quarter of it, from a quarter on with whatever
//! goes out next, and from half on at once. What is held back makes the window smaller: a peer that
//! waits for it sends three quarters of it in a round trip. With halves, one that may have no more
//! than a round trip holds would send half as fast as the line.

use super::{Connection, Inner};
use crate::StreamId;
use crate::frame::window_update;
use crate::stream::RecvHalf;
use crate::window::Due;

/// Windows that wait for a WINDOW_UPDATE.
#[derive(Debug)]
pub(super) struct Updates {
    /// The slots of streams. A stream that is over leaves its own behind, until the next look.
    streams: Vec<u32>,
    /// The connection's.
    connection: bool,
    /// How urgent they are.
    due: Due,
}

impl Default for Updates {
    fn default() -> Updates {
        Updates { streams: Vec::new(), connection: false, due: Due::Nothing }
    }
}

impl Updates {
    #[inline]
    pub(super) fn due(&self) -> Due {
        self.due
    }

    fn raise(&mut self, due: Due) {
        self.due = self.due.max(due);
    }
}

impl Connection {
    /// The caller is done with so many bytes of a stream's content, and its window goes back to the
    /// peer. For a stream that is over this does nothing.
    pub fn release_stream(&mut self, id: StreamId, bytes: usize) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.release_stream(slot, bytes);
        }
    }

    /// The caller is done with so many bytes of content of any streams, also of those that are over,
    /// and the connection's window goes back to the peer. All content must be released here once.
    pub fn release_connection(&mut self, bytes: usize) {
        self.inner.release_connection(bytes);
    }

    /// Sets the window of a stream: how many bytes the peer may have sent that are not released. A
    /// smaller one takes back nothing, but gives no more until it is reached. From then on
    /// [`set_initial_window`](Connection::set_initial_window) leaves it alone. For a stream that is
    /// over this does nothing.
    pub fn set_stream_window(&mut self, id: StreamId, bytes: u32) {
        let Some(slot) = self.inner.slot(id) else { return };
        let Some(stream) = self.inner.streams.at(slot) else { return };
        let old = stream.recv_window.target();
        stream.recv_window.set_target(bytes);
        if bytes > old && stream.recv_window.owes() {
            self.inner.list_update(slot, Due::CanWait);
        }
    }

    /// Sets the connection's window: how many bytes the peer may have sent on all streams that are
    /// not released. A smaller one takes back nothing, but gives no more until it is reached.
    pub fn set_connection_window(&mut self, bytes: u32) {
        let Inner { recv_window, updates, .. } = &mut self.inner;
        let old = recv_window.target();
        recv_window.set_target(bytes);
        if bytes > old && recv_window.owes() {
            updates.connection = true;
            updates.raise(Due::CanWait);
        }
    }

    /// How much the peer may still send on a stream, in bytes; negative where SETTINGS have taken back more than it
    /// had left, 0 for a stream that is over.
    pub fn stream_credit(&self, id: StreamId) -> i64 {
        self.inner.peek(id).map_or(0, |stream| stream.recv_window.available())
    }

    /// How much the peer may still send on all streams together, in bytes.
    pub fn connection_credit(&self) -> i64 {
        self.inner.recv_window.available()
    }

    /// Bytes that were received, of all streams, and are not released.
    pub fn unreleased(&self) -> usize {
        self.inner.recv_window.held()
    }
}

impl Inner {
    #[inline]
    pub(super) fn release_stream(&mut self, slot: u32, bytes: usize) {
        let Some(stream) = self.streams.at(slot) else { return };
        stream.recv_window.release(bytes);
        let due = stream.recv_window.due();
        if due != Due::Nothing && stream.recv != RecvHalf::Ended {
            self.list_update(slot, due);
        }
    }

    /// A WINDOW_UPDATE goes out for the stream of this slot.
    #[inline]
    pub(super) fn list_update(&mut self, slot: u32, due: Due) {
        self.updates.raise(due);
        let Some(stream) = self.streams.at(slot) else { return };
        if std::mem::replace(&mut stream.update_listed, true) {
            return;
        }
        self.updates.streams.push(slot);
        if self.updates.streams.len() > 2 * self.streams.open() + 64 {
            self.forget_stale_updates();
        }
    }

    #[inline]
    pub(super) fn release_connection(&mut self, bytes: usize) {
        self.recv_window.release(bytes);
        let due = self.connection_due();
        if due != Due::Nothing {
            self.updates.connection = true;
            self.updates.raise(due);
        }
    }

    /// Slots of streams that are over pile up while nothing is handed out.
    #[cold]
    fn forget_stale_updates(&mut self) {
        let streams = &self.streams;
        let is_listed = |slot: &u32| streams.peek(*slot).is_some_and(|s| s.update_listed);
        self.updates.streams.retain(is_listed);
        self.updates.streams.sort_unstable();
        self.updates.streams.dedup();
    }

    /// Writes all that are due.
    pub(super) fn write_updates(&mut self, into: &mut Vec<u8>) {
        if std::mem::take(&mut self.updates.connection)
            && let Some(credit) = self.recv_window.update()
        {
            window_update::write(None, credit, into);
        }
        for slot in self.updates.streams.drain(..) {
            let Some(stream) = self.streams.at(slot) else { continue };
            if std::mem::take(&mut stream.update_listed) && stream.recv != RecvHalf::Ended {
                // More than one only if the window was far below 0.
                while let Some(credit) = stream.recv_window.update() {
                    window_update::write(StreamId::new(stream.id), credit, into);
                }
            }
        }
        self.updates.due = Due::Nothing;
    }
}
