//! Ending a listener in good order.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Listener;
use crate::link::Link;
use crate::observe::{self, Side};

/// How long a drain waits for clients in their handshakes. Clients that speak are finished by then,
/// and silent clients have nothing to lose.
pub(super) const HANDSHAKES: Duration = Duration::from_secs(1);

/// A loss that came this long before the drain, or later, is one of the drain: the task that dropped
/// the connection may have begun the drain right after that.
const RECENTLY: Duration = Duration::from_secs(30);

/// The reason for those whose connections are reset at the end.
pub(super) const TIME_IS_UP: &str = "the server is shutting down, and its time is up";

impl Listener {
    /// Stops accepting, and ends all links in good order. Every client is told to go elsewhere
    /// (GOAWAY, RFC 9113 §6.8). This then waits until the accepted connections have ended,
    /// including dropped connections that still have bytes to send, and until the clients have
    /// acknowledged everything (PING, RFC 9113 §6.7), however slow their lines are. Connections
    /// that are left after `deadline` are reset, and the resets have half a second to leave: with
    /// `NO_ERROR` where the answer is complete, so that the client keeps it, otherwise with `CANCEL`.
    ///
    /// Returns whether all connections ended by themselves and no byte may have been lost. It is
    /// also `false` when a client has vanished or hung up before it acknowledged every byte, or
    /// took nothing for 30 seconds although a dropped connection still had bytes to send. The same
    /// counts for dropped connections that have lost bytes in the 30 seconds before this call. Await
    /// this before the process ends.
    ///
    /// This waits for the connections, not for the tasks that handle them. Keep those in a
    /// [`JoinSet`](tokio::task::JoinSet) to wait for them too.
    /// [`Conn::draining`](crate::Conn::draining) tells such a task, at either end, that it is time
    /// to finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connections as they are: they go on, and end by themselves.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        let began = Instant::now();
        self.shared.stop();
        observe::draining(Side::Server, &self.local, self.shared.links.list().len());
        if let Some(accepting) = self.accepting.take() {
            // The task closes the socket when it ends. After that another process can bind the
            // address.
            let _ = accepting.await;
        }
        self.incoming.close();
        self.incoming.refuse_all();
        let all = async {
            // A client whose handshake is nearly complete gets a link, and a GOAWAY on it.
            let _ = timeout(HANDSHAKES, self.shared.limits.no_handshakes()).await;
            let delivered = ended(&self.shared.links.list()).await;
            #[cfg(feature = "websocket")]
            self.shared.links.no_riders().await;
            #[cfg(any(feature = "serve", feature = "websocket"))]
            self.shared.http1.none().await;
            delivered
        };
        if let Ok(delivered) = timeout(deadline, all).await {
            let delivered = delivered && !self.has_lost_bytes(began);
            observe::drained(Side::Server, &self.local, delivered);
            return delivered;
        }
        let conns = self.shared.budget.conns();
        let links = self.shared.links.list();
        for link in &links {
            link.abort(TIME_IS_UP);
        }
        #[cfg(any(feature = "serve", feature = "websocket"))]
        self.cut_http1().await;
        // A link that was abandoned because its client does not answer is no loss if nothing was
        // owed to that client.
        let in_time = ended(&links).await && conns == 0 && !self.has_lost_bytes(began);
        observe::drained(Side::Server, &self.local, in_time);
        in_time
    }

    /// Ends the clients that speak HTTP/1. The resets of their WebSockets have a moment to leave.
    #[cfg(any(feature = "serve", feature = "websocket"))]
    pub(super) async fn cut_http1(&self) {
        self.shared.http1.cut();
        let _ = timeout(HANDSHAKES, self.shared.http1.none()).await;
    }

    /// Whether a dropped connection may have lost bytes shortly before a drain, or during it.
    fn has_lost_bytes(&self, began: Instant) -> bool {
        self.shared.links.lost_bytes().is_some_and(|lost| lost + RECENTLY >= began)
    }
}

/// Waits until `links` are gone, and returns whether their clients have got every byte.
pub(super) async fn ended(links: &[Link]) -> bool {
    let mut delivered = true;
    for link in links {
        delivered &= link.delivered().await;
    }
    delivered
}
