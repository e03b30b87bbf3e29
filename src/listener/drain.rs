//! Ending a listener in good order.

use std::time::Duration;

use tokio::time::timeout;

use super::Listener;
use crate::error::Reason;
use crate::link::Link;
use crate::observe::{self, Side};

/// How long a drain waits for clients whose handshakes are under way: those who speak are through
/// by then, and those who say nothing have nothing to lose.
const HANDSHAKES: Duration = Duration::from_secs(1);

impl Listener {
    /// Stops accepting, tells every client to go elsewhere (GOAWAY, RFC 9113 §6.8), waits until the
    /// accepted connections have ended, those included that were dropped and still have something
    /// to send, and until the clients have acknowledged everything (PING, RFC 9113 §6.7), however slow
    /// their lines are. Resets with `CANCEL` what is left after `deadline`, and gives the resets half a
    /// second to leave.
    ///
    /// Returns whether all ended by themselves, and no byte may have been lost: `false` also when a
    /// client has vanished or hung up before it acknowledged every byte, and when it took nothing for 30
    /// seconds of what a dropped connection had still to send. Await it before the process ends. It waits for the
    /// connections, not for the tasks that handle them; keep those in a
    /// [`JoinSet`](tokio::task::JoinSet) to wait for them too. [`Conn::draining`](crate::Conn::draining)
    /// tells such a task, at either end, that it is time to finish.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connections as they are: they go on, and end by themselves.
    pub async fn drain(mut self, deadline: Duration) -> bool {
        self.shared.stop();
        observe::draining(Side::Server, &self.local, self.shared.links.list().len());
        if let Some(accepting) = self.accepting.take() {
            // The socket is closed when its task is gone, and a successor can bind its address.
            let _ = accepting.await;
        }
        self.incoming.close();
        self.incoming.refuse_all();
        let all = async {
            // Who is about to have a link gets one, and a GOAWAY on it.
            let _ = timeout(HANDSHAKES, self.shared.limits.no_handshakes()).await;
            ended(&self.shared.links.list()).await
        };
        if let Ok(delivered) = timeout(deadline, all).await {
            observe::drained(Side::Server, &self.local, delivered);
            return delivered;
        }
        let conns = self.shared.budget.conns();
        let links = self.shared.links.list();
        for link in &links {
            link.abort(Reason::CANCEL, "the server is shutting down, and its time is up");
        }
        // A link that was left because its client does not answer costs nobody anything, where nothing
        // was owed to it.
        let in_time = ended(&links).await && conns == 0;
        observe::drained(Side::Server, &self.local, in_time);
        in_time
    }
}

/// Waits until `links` are gone; whether their clients have got every byte.
async fn ended(links: &[Link]) -> bool {
    let mut delivered = true;
    for link in links {
        delivered &= link.delivered().await;
    }
    delivered
}
