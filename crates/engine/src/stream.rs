//! One stream: two half machines (RFC 9113 §5.1), two windows, and what its head has promised.
//!
//! A stream that is in the store is open or half-closed. One that was never opened is above the
//! highest identifier of its end, and one that is over is at most remembered (`streams/closed.rs`).

mod length;
mod recv;
mod send;

pub(crate) use length::ContentLength;
pub(crate) use recv::{Came, RecvHalf, Refused};
pub(crate) use send::{Go, SendHalf};

use crate::window::{RecvWindow, SendWindow};

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// The peer is in the list of streams to which a WINDOW_UPDATE goes.
    pub(crate) update_listed: bool,
    /// A CONNECT, on which nothing but DATA may come once it stands (RFC 9113 §8.5).
    pub(crate) is_connect: bool,
    /// A HEAD request, whose answer has no content whatever its head says (RFC 9110 §9.3.2).
    pub(crate) is_head: bool,
    pub(crate) length: ContentLength,
    pub(crate) send_window: SendWindow,
    pub(crate) recv_window: RecvWindow,
}

impl Stream {
    /// Both halves have ended.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.send == SendHalf::Ended && self.recv == RecvHalf::Ended
    }
}
