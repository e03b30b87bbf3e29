//! Credit that goes back to the peer (RFC 9113 §6.9).
//!
//! A window is given back in few frames. Below a quarter of the window nothing is sent. From a
//! quarter on the credit goes with the next output, and from half on it goes at once. Held-back
//! credit makes the window smaller: a peer that waits for it sends three quarters of the window in
//! a round trip. If halves were held back, a peer whose window is only as large as a round trip's
//! bytes would send half as fast as the line.

use super::{Connection, Inner};
use crate::StreamId;
use crate::frame::window_update;
use crate::stream::RecvHalf;
use crate::window::Due;

/// Windows that wait for a WINDOW_UPDATE.
#[derive(Debug)]
pub(super) struct Updates {
    /// The slots of streams. A stream that is over leaves its slot in the list until the next
    /// output.
    streams: Vec<u32>,
    /// Whether the connection's window waits.
    connection: bool,
    /// The urgency of the list.
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
    /// The caller is done with this many bytes of a stream's content, and the stream's window goes
    /// back to the peer. It has no effect on a stream that is over.
    pub fn release_stream(&mut self, id: StreamId, bytes: usize) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.release_stream(slot, bytes);
        }
    }

    /// The caller is done with this many bytes of content of any streams, including those that are
    /// over. The connection's window goes back to the peer. All content must be released here once.
    pub fn release_connection(&mut self, bytes: usize) {
        self.inner.release_connection(bytes);
    }

    /// Sets the window of a stream: the bytes that the peer may have sent and that are not
    /// released. A smaller window takes nothing back, but gives no credit until it is reached. From
    /// then on [`set_initial_window`](Connection::set_initial_window) does not change this stream's
    /// window. It has no effect on a stream that is over.
    pub fn set_stream_window(&mut self, id: StreamId, bytes: u32) {
        let Some(slot) = self.inner.slot(id) else { return };
        let Some(stream) = self.inner.streams.at(slot) else { return };
        let old = stream.recv_window.target();
        stream.recv_window.set_target(bytes);
        if bytes > old && stream.recv_window.owes() {
            self.inner.list_update(slot, Due::CanWait);
        }
    }

    /// Sets the connection's window: the bytes that the peer may have sent on all streams and that
    /// are not released. A smaller window takes nothing back, but gives no credit until it is
    /// reached.
    pub fn set_connection_window(&mut self, bytes: u32) {
        let Inner { recv_window, updates, .. } = &mut self.inner;
        let old = recv_window.target();
        recv_window.set_target(bytes);
        if bytes > old && recv_window.owes() {
            updates.connection = true;
            updates.raise(Due::CanWait);
        }
    }

    /// The bytes that the peer may still send on a stream. Negative if SETTINGS have taken back
    /// more than was left, and 0 for a stream that is over.
    pub fn stream_credit(&self, id: StreamId) -> i64 {
        self.inner.peek(id).map_or(0, |stream| stream.recv_window.available())
    }

    /// The bytes that the peer may still send on all streams together.
    pub fn connection_credit(&self) -> i64 {
        self.inner.recv_window.available()
    }

    /// Received bytes of all streams that are not released.
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

    /// Lists the stream in this slot for a WINDOW_UPDATE.
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

    /// Removes the slots of streams that are over, which pile up while there is no output.
    #[cold]
    fn forget_stale_updates(&mut self) {
        let streams = &self.streams;
        let is_listed = |slot: &u32| streams.peek(*slot).is_some_and(|s| s.update_listed);
        self.updates.streams.retain(is_listed);
        self.updates.streams.sort_unstable();
        self.updates.streams.dedup();
    }

    /// Writes all WINDOW_UPDATEs that are due.
    pub(super) fn write_updates(&mut self, into: &mut Vec<u8>) {
        if std::mem::take(&mut self.updates.connection)
            && let Some(credit) = self.recv_window.update()
        {
            window_update::write(None, credit, into);
        }
        for slot in self.updates.streams.drain(..) {
            let Some(stream) = self.streams.at(slot) else { continue };
            if std::mem::take(&mut stream.update_listed) && stream.recv != RecvHalf::Ended {
                // The loop runs more than once only if the window was far below 0.
                while let Some(credit) = stream.recv_window.update() {
                    window_update::write(StreamId::new(stream.id), credit, into);
                }
            }
        }
        self.updates.due = Due::Nothing;
    }
}
