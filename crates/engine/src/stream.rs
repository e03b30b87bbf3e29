//! One stream: two half machines (RFC 9113 §5.1), two windows, and its head's promise.
//!
//! A stream in the store is open or half-closed. A stream that was never opened is above the
//! highest identifier of its end. A stream that is over is at most remembered
//! (`streams/closed.rs`).

mod length;
mod recv;
mod send;

pub(crate) use length::ContentLength;
pub(crate) use recv::{Came, RecvHalf, Refused};
pub(crate) use send::{Go, SendHalf};

use crate::head::Asked;
use crate::window::{RecvWindow, SendWindow};

/// A stream that is open or half-closed.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    pub(crate) send: SendHalf,
    pub(crate) recv: RecvHalf,
    /// Whether it is in the list of streams that get a WINDOW_UPDATE.
    pub(crate) update_listed: bool,
    /// The kind of its request, as far as the response's content depends on that.
    pub(crate) asked: Asked,
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
