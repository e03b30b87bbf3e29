//! HTTP/2 (RFC 9113) without I/O. Bytes, calls and the time go in; frames to send and calls of a
//! [`Visitor`] come out. Nothing in here waits, locks, wakes or reads a clock.

mod reason;

pub use reason::Reason;
