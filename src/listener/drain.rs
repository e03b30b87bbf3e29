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
    /// to send, and resets with `CANCEL` what is left after `deadline`.
    ///
    /// Returns whether all ended by themselves. Await it before the process ends. It waits for the
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
        while self.incoming.recv().await.is_some() {}
        let all = async {
            // Who is about to have a link gets one, and a GOAWAY on it.
            let _ = timeout(HANDSHAKES, self.shared.limits.no_handshakes()).await;
            ended(&self.shared.links.list()).await;
        };
        if timeout(deadline, all).await.is_ok() {
            observe::drained(Side::Server, &self.local, true);
            return true;
        }
        // A link can be left because its client does not answer; that costs nobody anything.
        let in_time = self.shared.budget.conns() == 0;
        let links = self.shared.links.list();
        for link in &links {
            link.abort(Reason::CANCEL, "the server is shutting down, and its time is up");
        }
        ended(&links).await;
        observe::drained(Side::Server, &self.local, in_time);
        in_time
    }
}

/// Waits until `links` are gone.
async fn ended(links: &[Link]) {
    for link in links {
        link.ended().await;
    }
}
