//! The carriers of connections: a link of ours, another server, a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use http::response;
use tokio::sync::{oneshot, watch};

use crate::error::Result;
use crate::pipe::Mover;

/// The carrier of a connection, as the connection sees it. Each stream has its own.
///
/// Do not call it while a lock of the stream is held: it may act at once.
pub(crate) trait Carrier: Mover {
    /// The user's side wants something new from the stream: a reset, an end, an answer.
    fn changed(self: Arc<Self>);

    /// The head that is sent where the user accepts with this one.
    fn accepting(&self, head: response::Parts) -> response::Parts {
        head
    }

    /// Sends a PING, and gives the round trip's time. Gives nothing if the carrier ends first.
    ///
    /// # Errors
    ///
    /// Fails when the carrier has no pings.
    fn ping(&self) -> Result<oneshot::Receiver<Duration>>;

    /// Asks whether the peer has received everything that the stream has sent. `None` if the
    /// carrier cannot know.
    fn confirm(&self) -> Option<oneshot::Receiver<Result<()>>> {
        None
    }

    /// A WebSocket that rides on the stream holds these bytes of what it has read. `false` if the
    /// stream was reset to make room.
    #[cfg(feature = "websocket")]
    fn rides(self: Arc<Self>, bytes: usize) -> bool {
        let _ = bytes;
        true
    }

    /// Becomes true when one end has said in good order that it is going away, and never because the carrier has failed.
    fn draining(&self) -> watch::Receiver<bool>;

    /// The last measured round trip, if there is one.
    fn rtt(&self) -> Option<Duration> {
        None
    }
}
