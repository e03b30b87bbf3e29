//! The carriers of connections: a link of ours, a server that is not ours, a WebSocket.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::error::Result;
use crate::pipe::Mover;

/// All that a connection knows of what it rides on. There is one for each stream.
///
/// It must not be called with a lock of the stream held: it may do at once what it is told.
pub(crate) trait Carrier: Mover {
    /// The user's side wants something else of the stream: a reset, an end, an answer.
    fn changed(self: Arc<Self>);

    /// Sends a PING and gives the round trip's time; gives nothing when the carrier ends first.
    ///
    /// # Errors
    ///
    /// When the carrier has no pings.
    fn ping(&self) -> Result<oneshot::Receiver<Duration>>;

    /// Asks whether the peer has got all that was sent of the stream; `None` when the carrier cannot
    /// know.
    fn confirm(&self) -> Option<oneshot::Receiver<Result<()>>> {
        None
    }

    /// Becomes true when one end has said that it is going away.
    fn draining(&self) -> watch::Receiver<bool>;

    /// The last round trip that was measured, if any is.
    fn rtt(&self) -> Option<Duration> {
        None
    }
}
