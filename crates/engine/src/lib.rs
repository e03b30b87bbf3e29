//! HTTP/2 (RFC 9113) without I/O. Bytes, calls and the time go in; frames to send and calls of a
//! [`Visitor`] come out. Nothing in here waits, locks, wakes or reads a clock.

mod config;
mod limits;
mod reason;
mod schedule;
mod stream;
mod streams;
mod window;

pub use config::Config;
pub use reason::Reason;
