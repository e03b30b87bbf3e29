//! Which WebSockets are accepted (feature `websocket`): over HTTP/1.1 (RFC 6455) and over HTTP/2
//! (RFC 8441).

mod handshake;

use std::sync::Arc;

use super::AcceptorBuilder;
use crate::config::is_token;
use crate::error::{Error, ErrorKind, Result};

pub(crate) use handshake::Handshake;

/// Which WebSockets become connections, and within which limits: the settings of
/// [`AcceptorBuilder::websockets`].
///
/// Binary messages are the bytes, both ways; how they are cut has no meaning. A close frame is the
/// end of that side, and pings are answered until there has been one. What a WebSocket cannot do:
///
/// * **Half-close.** After the client's close frame nothing more can be sent: what was written and
///   not yet sent then is lost, and writes fail with [`ErrorKind::Closed`]. After a shutdown on this
///   side the client's bytes are read on until its own close frame; a browser sends that at once.
/// * **Resets** travel as a close frame with the status 4000 + the [`Reason`](crate::Reason)'s
///   number (4008 for `CANCEL`), both ways, after what was already queued in the transport. 1000,
///   1001 and a close frame without a status are an end of file, all others are read as a reset.
///   Browsers send 1001 for a user who leaves: where it matters whether all has come, have the page
///   say so.
/// * **[`Conn::sent`](crate::Conn::sent)** says over HTTP/1.1 that the bytes are on the transport, over
///   HTTP/2 that the server has taken them.
/// * **Pongs and the client's end** wait, as all else that comes from it does, while nobody reads the
///   connection and its receive buffer is full.
/// * **A graceful shutdown** of the server does not wait for WebSockets over HTTP/1.1;
///   [`Acceptor::drain`](crate::Acceptor::drain) does.
/// * **Another response** in place of [`accept`](fn@crate::accept)'s fails the connection over HTTP/1.1. Over
///   HTTP/2 only one that is not 2xx does.
///
/// Memory per connection is that of [`accept`](fn@crate::accept) and the buffers of the frames, which are
/// kept until the end: 16 KiB, or the longest message that has come, and up to 192 KiB for sending
/// once so much has been sent in one go. Over HTTP/2 hyper holds up to 384 KiB more on their way.
#[derive(Clone, Debug)]
pub struct WebSockets {
    subprotocols: Vec<String>,
    pub(super) text_messages: bool,
    pub(super) max_message_size: usize,
}

/// 1 MiB: a message is held whole before any of it can be read.
const MAX_MESSAGE_SIZE: usize = 1 << 20;

/// 1 GiB: more in one piece is nothing that a client could want.
const LONGEST_MESSAGE: usize = 1 << 30;

impl Default for WebSockets {
    fn default() -> WebSockets {
        WebSockets {
            subprotocols: Vec::new(),
            text_messages: false,
            max_message_size: MAX_MESSAGE_SIZE,
        }
    }
}

impl WebSockets {
    /// Every setting at its default.
    pub fn new() -> WebSockets {
        WebSockets::default()
    }

    /// Subprotocols (RFC 6455 §1.9) that this server speaks. The first of them that the client
    /// offers is chosen; it stands in [`Conn::response`](crate::Conn::response). A client that offers none of
    /// them is accepted without; a browser then ends the connection. Default: none.
    pub fn subprotocols<S: Into<String>>(
        mut self,
        subprotocols: impl IntoIterator<Item = S>,
    ) -> Self {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Takes text messages too, their UTF-8 for bytes. What is sent is binary all the same.
    /// Default: a text message ends the connection with the status 1003.
    pub fn text_messages(mut self, taken: bool) -> Self {
        self.text_messages = taken;
        self
    }

    /// The longest message that is taken, in bytes; a longer one ends the connection with the
    /// status 1009. The memory for a message is set aside when it begins. Default: 1 MiB, at most
    /// 1 GiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<()> {
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

impl AcceptorBuilder {
    /// How WebSockets become connections, which they do by default: see [`WebSockets`]. The status
    /// and the methods of this builder are not for them; its header fields are.
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.settings.websockets = Some(Arc::new(websockets));
        self
    }

    /// Refuses WebSockets, as any other request over HTTP/1.1 or with the method CONNECT.
    pub fn no_websockets(mut self) -> Self {
        self.settings.websockets = None;
        self
    }
}
