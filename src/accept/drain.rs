//! Ending what an acceptor has accepted, in good order.

use std::time::Duration;

use http::{Method, StatusCode, header};
use tokio::time::timeout;

use super::{AcceptError, Acceptor};
use crate::conn::Addr;
use crate::observe::{self, Side};

impl Acceptor {
    /// Ends what this acceptor and its clones have accepted: [`Conn::draining`](crate::Conn::draining)
    /// fires on all of their connections, and further requests are refused with 503. Waits until the
    /// connections have ended, and resets with `CANCEL` what is left after `deadline`.
    ///
    /// Returns whether all ended by themselves. It waits for the connections, not for the tasks that
    /// handle them, and not for the server to have sent the last bytes: that is the server's own
    /// graceful shutdown, which waits for the connections in its turn (but not for WebSockets over
    /// HTTP/1.1, which are waited for here). So begin both at once, and await both before the process
    /// ends. A WebSocket that ends in order is closed with the status 1001 from then on.
    ///
    /// An acceptor stays drained. What the function [`accept`](fn@crate::accept) has accepted, or an
    /// `axum::Accept` without an `Extension`, has no acceptor by which to drain it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connections as they are, draining: they go on, and end by
    /// themselves.
    ///
    /// # Examples
    ///
    /// With axum; `stop` becomes true when the process is told to end. A server on hyper calls
    /// `graceful_shutdown` on each of its connections in the same place.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use axum::{Extension, Router};
    /// use h2conn::Acceptor;
    /// use tokio::{net::TcpListener, sync::watch};
    ///
    /// async fn serve(socket: TcpListener, app: Router, mut stop: watch::Receiver<bool>) {
    ///     let acceptor = Acceptor::default();
    ///     let app = app.layer(Extension(acceptor.clone()));
    ///     let mut stopped = stop.clone();
    ///     let server = axum::serve(socket, app).with_graceful_shutdown(async move {
    ///         let _ = stopped.wait_for(|stop| *stop).await;
    ///     });
    ///     let drain = async {
    ///         let _ = stop.wait_for(|stop| *stop).await;
    ///         acceptor.drain(Duration::from_secs(30)).await
    ///     };
    ///     let (served, all_ended) = tokio::join!(server.into_future(), drain);
    ///     println!("served: {served:?}; all have ended by themselves: {all_ended}");
    /// }
    /// ```
    pub async fn drain(&self, deadline: Duration) -> bool {
        let open = self.accepted.begin();
        observe::draining(Side::Accept, &Addr::Other, open);
        if timeout(deadline, self.accepted.none()).await.is_ok() {
            observe::drained(Side::Accept, &Addr::Other, true);
            return true;
        }
        let ended = self.accepted.cut() == 0;
        // What was reset is gone at once, a WebSocket when its client has heard it, or in seconds.
        self.accepted.none().await;
        observe::drained(Side::Accept, &Addr::Other, ended);
        ended
    }

    /// Refuses a request that comes too late.
    pub(super) fn check_open(&self, method: &Method) -> Result<(), AcceptError> {
        if self.accepted.is_open() {
            return Ok(());
        }
        let text = "the server is shutting down, and takes no more connections; try again, by \
                    another HTTP/2 connection";
        let error = AcceptError::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .with_field(header::RETRY_AFTER, "1");
        Err(error.for_method(method))
    }
}
