//! The ways in which a connection ends.

use std::future::poll_fn;

use super::{Conn, Exchange, ReadHalf, Stream, WriteHalf};
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
    /// ended its side. Over a WebSocket it means that the peer has answered the close frame; between
    /// two ends of this library, after both sides have ended and everything was received.
    ///
    /// # Errors
    ///
    /// - The error that ended the stream early, including [`ErrorKind::TimedOut`] when the peer has
    ///   vanished.
    /// - [`ErrorKind::Closed`] when the transport ended before everything was acknowledged, so the
    ///   last bytes may be lost. If the peer has said before that it wants no more, this error and
    ///   others have the reason `NO_ERROR`.
    /// - [`ErrorKind::TimedOut`] or [`ErrorKind::Aborted`], with this side's
    ///   [`reason`](crate::Error::reason), when everything was acknowledged but the peer did not
    ///   end its side. [`Error::was_delivered`] is true then, and the text names the limit.
    /// - [`ErrorKind::Aborted`], when this side has reset the connection meanwhile, or its client or
    ///   listener has ended before everything was acknowledged.
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

    /// Waits until the connection is over: both sides have ended it, it was reset, or the peer or the
    /// network is gone. A peer that has only shut down its writing side is still there.
    ///
    /// A read tells of the end too: it gives the bytes that came before the end, and then the end.
    /// `closed` is for a task that does not read at the moment, because it works or waits for
    /// something else.
    ///
    /// **Beside a read in `select!`, `closed` can win while bytes are unread that came before the
    /// end.** Put the read first, under `biased`, and read on to the end after `closed`. The order
    /// alone is not enough: bytes and end can both come after the read was polled and before
    /// `closed` is. A read after `closed` does not wait for the peer any more.
    ///
    /// # Errors
    ///
    /// The error that ended the connection, unless both sides ended it with END_STREAM.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// A server that gives up the work on a question when the client is gone:
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::Conn;
    /// use h2conn::tokio_util::codec::{Framed, LinesCodec};
    ///
    /// # async fn work_out(question: String) -> String { question }
    /// # type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
    /// async fn answer_questions(conn: Conn) -> Result {
    ///     let mut lines = Framed::new(&conn, LinesCodec::new_with_max_length(64 << 10));
    ///     while let Some(question) = lines.next().await {
    ///         let answer = tokio::select! {
    ///             answer = work_out(question?) => answer,
    ///             // Nothing is read meanwhile, so no read would tell.
    ///             how = conn.closed() => return Ok(how?),
    ///         };
    ///         lines.send(answer).await?;
    ///     }
    ///     conn.close().await?;
    ///     Ok(())
    /// }
    /// ```
    pub async fn closed(&self) -> Result<()> {
        poll_fn(|cx| self.stream().poll_done(cx)).await
    }

    /// Waits until one end says in good order that it takes no more connections. A server says so by
    /// [`Listener::drain`](crate::Listener::drain),
    /// [`ListenerHandle::shut_down`](crate::ListenerHandle::shut_down) or `Acceptor::drain`, or when a
    /// link reaches the server's [`max_link_age`](crate::ListenerBuilder::max_link_age). The client
    /// hears of it by a GOAWAY with `NO_ERROR` (RFC 9113 §6.8), which other servers send too; under
    /// `accept`, the server's own graceful shutdown sends it. A client says so by
    /// [`Client::close`](crate::Client::close) or its own
    /// [`max_link_age`](crate::ClientBuilder::max_link_age), and then only its own end hears of it.
    /// The connection goes on. Finish its work, and open another connection if there is more to do.
    ///
    /// **Without a drain it stays pending for ever**, even when the connection ends, is reset, or
    /// loses its network: [`closed`](Conn::closed) and reads tell of that. A GOAWAY with an error is a
    /// failure, and no drain. A drain that begins after the connection is over is not told. So use
    /// `draining` in a `select!` beside a read or `closed`, and not alone. Once ready, it stays ready.
    ///
    /// **In a `select!` with a read, put `draining` first, under `biased`, and read on afterwards.**
    /// With the read first, a peer that never pauses puts the drain off for ever. Without `biased`,
    /// chance decides. No message is lost, because the second loop reads what has come. Keep the
    /// codec for it, because the codec may hold part of a message. Await a write in an arm of the
    /// `select!`, as in the example, and not as one of its branches, where the drain would cut the
    /// write off.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::Conn;
    /// use h2conn::tokio_util::codec::{Framed, LinesCodec};
    ///
    /// # fn answer(question: &str) -> String { question.to_uppercase() }
    /// # type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
    /// async fn talk(conn: Conn) -> Result {
    ///     let mut lines = Framed::new(&conn, LinesCodec::new_with_max_length(64 << 10));
    ///     loop {
    ///         tokio::select! {
    ///             biased;
    ///             () = conn.draining() => break,
    ///             line = lines.next() => match line {
    ///                 Some(line) => lines.send(answer(&line?)).await?,
    ///                 // The client has said everything.
    ///                 None => return Ok(conn.close().await?),
    ///             },
    ///         }
    ///     }
    ///     // In the protocol of your own: the client hears it, finishes and shuts down its side.
    ///     lines.send("goodbye").await?;
    ///     // Lines that it has sent before it heard are still answered.
    ///     while let Some(line) = lines.next().await {
    ///         lines.send(answer(&line?)).await?;
    ///     }
    ///     Ok(conn.close().await?)
    /// }
    /// ```
    pub async fn draining(&self) {
        let stream = self.stream();
        let mut told = stream.carrier.draining();
        // A sender goes away only when the stream is over.
        let by_acceptor = async {
            if let Some(mut told) = stream.exchange().and_then(Exchange::draining) {
                let _ = told.wait_for(|draining| *draining).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = told.wait_for(|draining| *draining) => {}
            () = by_acceptor => {}
            _ = self.closed() => {}
        }
        // Both can have come, and the first of them counts.
        if !stream.was_drained() {
            std::future::pending::<()>().await;
        }
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
        // The peer wants no more, and this side had no more to send. Go's servers end in this way.
        let wants_no_more = match poll_fn(|cx| self.poll_done(cx)).await {
            Err(error)
                if error.is_by_peer()
                    && error.reason() == Some(Reason::NO_ERROR)
                    && !self.outbox.has_unsent_bytes() =>
            {
                true
            }
            how => {
                how?;
                false
            }
        };
        // The peer's end, or its reset, is the answer to a request that had nothing but its head.
        if self.outbox.progress().0 == 0 && (wants_no_more || self.ends_with_head()) {
            return Ok(());
        }
        let confirmed = match self.carrier.confirm() {
            Some(outcome) => outcome.await.unwrap_or_else(|_| Err(runtime_is_gone())),
            None => Ok(()),
        };
        match wants_no_more {
            true => confirmed.map_err(|error| error.with_reason(Reason::NO_ERROR).by_the_peer()),
            false => confirmed,
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
