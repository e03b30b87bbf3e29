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
    /// Ends the connection in good order, and tells whether the peer has got everything. Everything
    /// written is sent, then END_STREAM; the peer's HTTP/2 must acknowledge it (by a PING, RFC 9113
    /// §6.7), and the peer must end its side. What still arrives is dropped. Reads and writes that wait
    /// in other tasks fail with [`ErrorKind::Aborted`].
    ///
    /// It takes as long as the line needs, as long as the peer shows life in the sense of
    /// [`keep_alive_interval`](crate::ClientBuilder::keep_alive_interval), and gives up when the peer takes
    /// nothing for 30 seconds. A peer that has everything has the
    /// [`linger_timeout`](crate::ClientBuilder::linger_timeout) (30 seconds) to end its side, and may send 1 MiB
    /// meanwhile; then the stream is reset. For a limit on all of it put a [`tokio::time::timeout`]
    /// around it.
    ///
    /// `Ok` means: the peer's HTTP/2 has acknowledged every byte and END_STREAM, and the peer has ended its
    /// side, or has said that it wants no more (`NO_ERROR`). A peer that has ended its side, has acknowledged every
    /// byte, and ends the transport has ended well, too. One that exits before its HTTP/2 has written the
    /// acknowledgement is an error here, though it may have read everything. Where there is a proxy on the way, it is the proxy that
    /// acknowledges. A connection that [`accept`](fn@crate::accept) made cannot know what has been
    /// acknowledged: there `Ok` means that the server was handed everything, and that the client has ended its
    /// side; over a WebSocket, that the client has answered the close frame.
    ///
    /// # Errors
    ///
    /// What ended the stream before that, [`ErrorKind::TimedOut`] when the peer has vanished included;
    /// [`ErrorKind::Closed`] when the transport ended before everything was acknowledged, so that the last of it
    /// may be lost; [`ErrorKind::TimedOut`] or [`ErrorKind::Aborted`], with this side's
    /// [`reason`](crate::Error::reason), when everything was acknowledged and the peer did not end its side:
    /// which limit it was, the text says.
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
        let _ = self.stream().carrier.draining().wait_for(|draining| *draining).await;
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
        let _confirming = self.close_confirmed();
        match poll_fn(|cx| self.poll_done(cx)).await {
            // The peer wants no more, and we had no more to say: Go's servers end so.
            Err(error)
                if error.is_by_peer()
                    && error.reason() == Some(Reason::NO_ERROR)
                    && !self.outbox.has_unsent_bytes() => {}
            how => how?,
        }
        match self.carrier.confirm() {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(runtime_is_gone())),
            None => Ok(()),
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
