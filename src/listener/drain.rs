//! Ending a listener in good order.

use std::time::Duration;

use tokio::time::timeout;

use super::Listener;
use crate::error::Reason;

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
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
            // The socket is closed when its task is gone, and a successor can bind its address.
            let _ = accepting.await;
        }
        // First GOAWAY, so that those who are refused try again elsewhere.
        let links = self.links.close();
        for link in &links {
            link.shut_down();
        }
        self.incoming.close();
        while self.incoming.recv().await.is_some() {}
        if timeout(deadline, Listener::ended(&links)).await.is_ok() {
            return true;
        }
        for link in &links {
            link.abort(Reason::CANCEL, "the server is shutting down, and its time is up");
        }
        Listener::ended(&links).await;
        false
    }
}
