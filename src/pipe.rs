//! The two bounded queues of a connection. They know neither HTTP/2 nor sockets: the user's tasks
//! are at one end, whoever moves the bytes (the link's driver) is at the other.
//!
//! ```text
//! user write ─► Outbox ─► take ─► (HTTP/2) ─► push ─► Inbox ─► user read
//! ```
//!
//! Every method takes a short lock and never waits. A queue wakes its mover through the
//! [`Waker`](std::task::Waker) that it was made with.

mod buffers;
mod inbox;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
mod outbox;
mod wakers;

pub(crate) use buffers::{Batch, Buffers};
pub(crate) use inbox::Inbox;
pub(crate) use outbox::Outbox;
pub(crate) use wakers::WakerSet;
