//! The ways a connection ends.

use std::future::poll_fn;

use super::{Conn, ReadHalf, Stream, WriteHalf};
use crate::error::{Error, ErrorKind, Reason, Result};

/// What dropping a [`Conn`] without a shutdown does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// What was written is sent, then END_STREAM: to the peer it looks like a clean end, as with a
    /// `TcpStream`.
    #[default]
    Finish,
    /// The stream is reset with `CANCEL`, so that the peer sees an unfinished task for what it is.
    Reset,
}

impl Conn {
    /// Ends the connection in good order: everything written is sent, then END_STREAM, and the
    /// peer's END_STREAM is awaited. What still arrives is dropped. Reads and writes that wait in
    /// other tasks fail with [`ErrorKind::Aborted`].
    ///
    /// It takes as long as the peer takes bytes, and gives up after 30 seconds in which it took
    /// none. When all is sent, the peer has 1 second, or 1 MiB, to end its side; then the stream is
    /// reset with `CANCEL`, which is no error here.
    ///
    /// # Errors
    ///
    /// What ended the stream, if that came before everything was sent, or if the peer reset it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the end going on in the background.
    pub async fn close(&self) -> Result<()> {
        self.stream().end_in_order().await
    }

    /// Ends the connection at once, with this reason (RST_STREAM, RFC 9113 §6.4). What is queued,
    /// on either side, is lost; reads and writes here fail with [`ErrorKind::Aborted`].
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }

    /// Waits until the connection is over: both sides have ended it, or it was reset, or its link
    /// is gone. A peer that only shut down its writing side is not gone.
    ///
    /// # Errors
    ///
    /// What ended it, if that was not END_STREAM both ways.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> Result<()> {
        poll_fn(|cx| self.stream().poll_done(cx)).await
    }

    /// Waits until the link is going away: the server is draining, or the client was closed
    /// (GOAWAY, RFC 9113 §6.8), or the link has ended. The connection goes on; it is time to finish
    /// what it is for, and to make another elsewhere.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn draining(&self) {
        // An error means that the link is gone altogether.
        let _ = self.stream().control.draining().wait_for(|draining| *draining).await;
    }

    /// Sets what dropping the connection, or its write half, without a shutdown does.
    pub fn on_drop(&self, action: OnDrop) {
        self.stream().reset_on_drop(action == OnDrop::Reset);
    }
}

impl ReadHalf {
    /// As [`Conn::reset`], for both halves.
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }
}

impl WriteHalf {
    /// As [`Conn::reset`], for both halves.
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }

    /// As [`Conn::close`], for both halves.
    ///
    /// # Errors
    ///
    /// As [`Conn::close`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the end going on in the background.
    pub async fn close(&self) -> Result<()> {
        self.stream().end_in_order().await
    }
}

const RESET_HERE: &str = "the connection was reset on this side";

impl Stream {
    async fn end_in_order(&self) -> Result<()> {
        self.close();
        match poll_fn(|cx| self.poll_done(cx)).await {
            // The peer has all it wants, and we had no more to say: Go's servers end so.
            Err(error)
                if error.reason() == Some(Reason::NO_ERROR) && !self.outbox.has_unsent_bytes() =>
            {
                Ok(())
            }
            how => how,
        }
    }
}

/// What a user gets whose connection the runtime took down with it.
pub(crate) fn runtime_is_gone() -> Error {
    Error::new(
        ErrorKind::Aborted,
        "the task that drives the link is gone, because its runtime shut down or it panicked",
    )
}
