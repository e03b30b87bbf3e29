//! The settings for WebSockets, of both sides.

use super::lines::Line;
use super::messages::{LONGEST_MARKED, Messages};
use crate::config::is_token;
use crate::error::{Error, ErrorKind, Result};

/// Which WebSockets become connections, and within which limits: the settings of
/// [`AcceptorBuilder::websockets`](crate::AcceptorBuilder::websockets) and
/// [`ListenerBuilder::websockets`](crate::ListenerBuilder::websockets) at a server, and of
/// [`ClientBuilder::websockets`](crate::ClientBuilder::websockets) at a client.
///
/// The bytes travel in binary messages in both directions. The boundaries of the messages mean
/// nothing. For pages that talk in JSON, [`json_lines`](WebSockets::json_lines) sends and receives
/// text messages instead, with a value in each. A close frame ends its sender's side. Pings are answered until the peer's close
/// frame.
///
/// Two ends of this library agree on the subprotocol `h2conn.v1`, whatever else is set here. It marks each message, so
/// that a connection has its half-close, its resets with every [`Reason`](crate::Reason), and
/// [`Conn::draining`](crate::Conn::draining), as over HTTP/2; there [`Conn::close`](crate::Conn::close) is `Ok` once
/// both ends have received everything. With other ends, such as browsers, a WebSocket has these limits:
///
/// * **No half-close.** After the client's close frame nothing more can be sent: bytes that were
///   written but not yet sent are lost, and writes fail with [`ErrorKind::Closed`]. After a
///   shutdown on this side, the client's bytes can be read until its own close frame. A browser
///   sends that at once.
/// * **Resets** travel in both directions as a close frame with the status 4000 + the
///   [`Reason`](crate::Reason)'s number (4008 for `CANCEL`), after the bytes that were already
///   queued in the transport. The status 1000, 1001, or no status is an end of file. Every other
///   status is read as a reset. Browsers send 1001 when the user leaves the page, and over HTTP/2
///   Chromium resets the stream. If you must know that all has come, let the page say so.
/// * **[`Conn::sent`](crate::Conn::sent)** says over HTTP/1.1 that the bytes are on the transport,
///   and over HTTP/2 that the server has taken them.
/// * **Pongs and the client's end** wait behind the client's other bytes while no task reads the
///   connection and its receive buffer is full.
/// * **A graceful shutdown** of the server does not wait for WebSockets over HTTP/1.1.
///   [`Acceptor::drain`](crate::Acceptor::drain) does, and so do [`Listener::drain`](crate::Listener::drain) and
///   `serve`.
/// * **Another response** in place of the one from [`accept`](fn@crate::accept) fails the
///   connection over HTTP/1.1. Over HTTP/2 only a response that is not 2xx does.
///
/// A connection takes the memory named at [`accept`](fn@crate::accept) and the frame buffers: 16 KiB or the longest message
/// received lately, and up to 192 KiB for sending once so much has been sent in one go. Both are freed 5 seconds after
/// the last message over 64 KiB has come. Over HTTP/2 hyper holds up to 384 KiB more in
/// transit, and a stream of this library its own queues: see
/// [`ListenerBuilder::websockets`](crate::ListenerBuilder::websockets).
#[derive(Clone, Debug)]
pub struct WebSockets {
    pub(crate) subprotocols: Vec<String>,
    text_messages: bool,
    lines: Option<Line>,
    pub(crate) max_message_size: usize,
}

/// 1 MiB. A message is held whole before any of it can be read.
const MAX_MESSAGE_SIZE: usize = 1 << 20;

/// 1 GiB. No client could want a longer message.
const LONGEST_MESSAGE: usize = 1 << 30;

impl Default for WebSockets {
    fn default() -> WebSockets {
        WebSockets {
            subprotocols: Vec::new(),
            text_messages: false,
            lines: None,
            max_message_size: MAX_MESSAGE_SIZE,
        }
    }
}

impl WebSockets {
    /// Makes the settings, each at its default.
    pub fn new() -> WebSockets {
        WebSockets::default()
    }

    /// Subprotocols (RFC 6455 §1.9) that this server speaks. The server chooses the first of them
    /// that the client offers, and [`Conn::response`](crate::Conn::response) shows it; between two ends of this library it is
    /// always `h2conn.v1`. A client
    /// that offers none of them is accepted without a subprotocol, and a browser then ends the
    /// connection. Default: none.
    ///
    /// A page that shows a token among its subprotocols must get another one back:
    /// [`bearer_token`](crate::bearer_token) says how.
    pub fn subprotocols<S: Into<String>>(
        mut self,
        subprotocols: impl IntoIterator<Item = S>,
    ) -> Self {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Also accepts text messages, and gives their UTF-8 as bytes. This side still sends binary
    /// messages. Default: a text message ends the connection with the status 1003.
    pub fn text_messages(mut self, taken: bool) -> Self {
        self.text_messages = taken;
        self
    }

    /// Makes each line of the connection a text message, in both directions, so that a page can use
    /// `JSON.parse(event.data)` and `socket.send(JSON.stringify(value))` where the server uses
    /// [`codec::Json`](crate::codec::Json). Takes the place of
    /// [`text_messages`](WebSockets::text_messages). Default: off.
    ///
    /// * **Sent.** Each line that the server writes becomes one message, without its line feed, however
    ///   the writes cut it. `codec::Json` writes one line for each value. A blank line becomes no
    ///   message. At the end of the stream, bytes without a line feed become the last message.
    /// * **Received.** The server reads each text message as one line, with a line feed at its end. Line
    ///   feeds within the message, which JSON allows between the tokens of a value, become carriage returns, which
    ///   it allows in the same places. A
    ///   blank message is ignored. Whether a message is JSON, the codec checks.
    /// * **Binary messages** are refused: the connection ends with the status 1003, because their
    ///   boundaries would have to mean something else.
    /// * **Limits.** A line may have [`max_message_size`](WebSockets::max_message_size) bytes in both
    ///   directions: 1 MiB, the same as the limit of `codec::Json`. If the server writes a longer
    ///   line, or one that is not UTF-8, the client gets the status 1011, and reads and writes fail with
    ///   [`ErrorKind::InvalidInput`].
    /// * **Frames.** A line over 64 KiB is one message in several frames, so that no memory is needed for
    ///   the whole line. Pages do not see them. White space of 64 KiB and more before a value may be left
    ///   out.
    /// * **[`Conn::sent`](crate::Conn::sent)** waits for the line feed of the line that was begun. Up to
    ///   128 KiB of such a line are held beside the send queue.
    ///
    /// Connections that are no WebSockets are not changed: the same handler with `codec::Json` serves
    /// programs and pages.
    pub fn json_lines(mut self) -> Self {
        self.lines = Some(Line::Json);
        self
    }

    /// Makes each line of the connection a text message, in both directions, whatever text it is. Takes the place of
    /// [`json_lines`](WebSockets::json_lines) and [`text_messages`](WebSockets::text_messages). Default: off.
    ///
    /// It differs from `json_lines` in that empty lines are empty messages, line feeds within a received message stay, so
    /// that it is read as several lines, and binary messages are accepted: their bytes are given as they are, without a
    /// line feed.
    pub fn text_lines(mut self) -> Self {
        self.lines = Some(Line::Text);
        self
    }

    /// The longest message that is accepted, in bytes. A longer message ends the connection with
    /// the status 1009. The memory for a message is reserved when it begins. Default: 1 MiB. At
    /// most 1 GiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// The messages that carry the bytes.
    pub(crate) fn messages(&self) -> Messages {
        match self.lines {
            Some(line) => Messages::Lines { line, most: self.max_message_size },
            None => Messages::Bytes { text: self.text_messages },
        }
    }

    /// The longest message of this kind that is accepted.
    pub(crate) fn longest(&self, messages: Messages) -> usize {
        if messages.are_marked() { LONGEST_MARKED } else { self.max_message_size }
    }

    /// Refuses settings that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        if !(1..=LONGEST_MESSAGE).contains(&self.max_message_size) {
            let message = format!(
                "max_message_size is {}, and must be 1 to {LONGEST_MESSAGE}",
                self.max_message_size
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if let Some(wrong) = self.subprotocols.iter().find(|name| !is_token(name)) {
            let message = format!(
                "the subprotocol {wrong:?} is no token (RFC 9110 §5.6.2): letters, digits and \
                 !#$%&'*+-.^_`|~ only"
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }
}
