//! The two bounded queues of a connection. They know neither HTTP/2 nor sockets. The user's tasks
//! are at one end. The mover of the bytes (the link's driver) is at the other end.
//!
//! ```text
//! user write ─► Outbox ─► take ─► (HTTP/2) ─► push ─► Inbox ─► user read
//! ```
//!
//! Every method takes a short lock and never waits. A queue tells its [`Mover`] after it has
//! released the lock.

mod buffers;
mod inbox;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
mod outbox;
mod send_memory;
mod wakers;

use std::fmt;
use std::sync::Arc;

pub(crate) use buffers::Buffers;
pub(crate) use inbox::Inbox;
pub(crate) use outbox::{A_MESSAGE, Outbox, Taken};
pub(crate) use send_memory::SendMemory;
pub(crate) use wakers::WakerSet;

/// The other end of a connection's queues. It is called with no lock held, so it may work at once.
/// It is called as an `Arc`, because most movers put themselves on a list.
pub(crate) trait Mover: fmt::Debug + Send + Sync {
    /// An empty outbox got bytes, or its end was requested.
    fn written(self: Arc<Self>);

    /// Puts the first of these bytes on the transport at once, as many as the outbox lets
    /// [pass](Outbox::pass), and returns the number. The rest must be queued.
    fn write_through(self: Arc<Self>, bytes: &[u8]) -> usize {
        let _ = bytes;
        0
    }

    /// Bytes have left an inbox or are not wanted any more, and their window is worth giving back.
    fn read(self: Arc<Self>);
}
