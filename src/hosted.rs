//! Connections on another server: hyper, and everything that is built on it.
//!
//! ```text
//! user write ─► outbox ─► Body ─► the server's HTTP/2
//! inbox ◄─ Pump ◄─ the request's body ◄─ the server's HTTP/2
//! ```

mod accepted;
mod body;
mod carrier;
mod linger;
mod pump;
mod reason;

use std::time::Duration;

pub(crate) use accepted::{Accepted, Counts, SHUTTING_DOWN};
pub use body::Body;
pub(crate) use body::plain;
pub(crate) use carrier::{BodyCarrier, Server};
#[cfg(feature = "websocket")]
pub(crate) use linger::{Linger, Lingering};
pub(crate) use pump::Pump;
#[cfg(feature = "serve")]
pub(crate) use reason::asked_for;

/// The bounds of a connection on another server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes that may wait in the inbox.
    pub(crate) room: usize,
    /// How long the client has to end its side of a connection that the user has let go.
    pub(crate) linger: Duration,
}
