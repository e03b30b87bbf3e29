//! The ways in which a connection ends.

use std::future::poll_fn;

use super::{Conn, ReadHalf, Stream, WriteHalf};
use crate::error::{Error, ErrorKind, Reason, Result};

/// The effect of dropping a [`Conn`] without a shutdown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDrop {
    /// The written bytes are sent, then END_STREAM. The peer sees a clean end, as with a
    /// `TcpStream`.
    #[default]
    Finish,
    /// The stream is reset with `CANCEL`, so that the peer can tell unfinished work from a clean
    /// end.
    Reset,
}

impl Conn {
    /// Ends the connection in good order, and returns whether the peer has received everything.
    /// Everything written is sent, then END_STREAM. The peer's HTTP/2 must acknowledge it (through
    /// a PING, RFC 9113 §6.7), and the peer must end its side. Bytes that still arrive are dropped.
    /// Reads and writes that wait in other tasks fail with [`ErrorKind::Aborted`].
    ///
    /// This takes as long as the line needs while the peer shows life in the sense of
    /// [`keep_alive_interval`](crate::ClientBuilder::keep_alive_interval). It gives up when the
    /// peer takes nothing for 30 seconds. Once the peer has everything, it has the
    /// [`linger_timeout`](crate::ClientBuilder::linger_timeout) (30 seconds) to end its side, and
    /// may send 1 MiB meanwhile. Then the stream is reset. For a limit on the whole, wrap this in a
    /// [`tokio::time::timeout`].
    ///
    /// `Ok` means that the peer's HTTP/2 has acknowledged every byte and END_STREAM, and that the
    /// peer has ended its side or has said that it wants no more (`NO_ERROR`). It is also `Ok` when
    /// the peer has ended its side, has acknowledged every byte, and then ends the transport. It is
    /// an error when the peer exits before its HTTP/2 has sent the acknowledgement, even if the
    /// peer has read everything. A proxy on the way acknowledges in place of the peer.
    ///
    /// A connection that [`accept`](fn@crate::accept) made cannot know what the peer has
    /// acknowledged. There `Ok` means that the server has taken everything, and that the client has
    /// ended its side. Over a WebSocket it means that the client has answered the close frame.
    ///
    /// # Errors
    ///
    /// - The error that ended the stream early, including [`ErrorKind::TimedOut`] when the peer has
    ///   vanished.
    /// - [`ErrorKind::Closed`] when the transport ended before everything was acknowledged, so the
    ///   last bytes may be lost.
    /// - [`ErrorKind::TimedOut`] or [`ErrorKind::Aborted`], with this side's
    ///   [`reason`](crate::Error::reason), when everything was acknowledged but the peer did not
    ///   end its side. The text names the limit.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the end going on in the background.
    pub async fn close(&self) -> Result<()> {
        self.stream().end_in_order().await
    }

    /// Ends the connection at once, with this reason (RST_STREAM, RFC 9113 §6.4). Queued bytes on
    /// both sides are lost. Reads and writes here fail with [`ErrorKind::Aborted`].
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }

    /// Waits until the connection is over: both sides have ended it, or it was reset, or its link
    /// is gone. A peer that has only shut down its writing side is still there.
    ///
    /// # Errors
    ///
    /// The error that ended the connection, unless both sides ended it with END_STREAM.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn closed(&self) -> Result<()> {
        poll_fn(|cx| self.stream().poll_done(cx)).await
    }

    /// Waits until the link is going away: the server is draining, or the client was closed
    /// (GOAWAY, RFC 9113 §6.8), or the link has ended. The connection goes on. Finish its work, and
    /// make another connection elsewhere.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn draining(&self) {
        // An error means that the link has already ended.
        let _ = self.stream().carrier.draining().wait_for(|draining| *draining).await;
    }

    /// Sets the effect of dropping the connection, or its write half, without a shutdown.
    pub fn on_drop(&self, action: OnDrop) {
        self.stream().reset_on_drop(action == OnDrop::Reset);
    }
}

impl ReadHalf {
    /// The same as [`Conn::reset`], for both halves.
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }
}

impl WriteHalf {
    /// The same as [`Conn::reset`], for both halves.
    pub fn reset(&self, reason: Reason) {
        self.stream().reset(reason, RESET_HERE);
    }

    /// The same as [`Conn::close`], for both halves.
    ///
    /// # Errors
    ///
    /// The same as for [`Conn::close`].
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
            // The peer wants no more, and this side had no more to send. Go's servers end in this
            // way.
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

/// The error of a connection whose runtime has ended.
pub(crate) fn runtime_is_gone() -> Error {
    Error::new(
        ErrorKind::Aborted,
        "the task that drives the link is gone, because its runtime shut down or it panicked",
    )
}
