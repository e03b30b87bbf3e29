//! Ending an acceptor's connections in good order.

use std::time::Duration;

use http::{Method, StatusCode, header};
use tokio::time::timeout;

use super::{AcceptError, Acceptor};
use crate::conn::Addr;
use crate::hosted::SHUTTING_DOWN;
use crate::observe::{self, Side};

impl Acceptor {
    /// Ends the connections that this acceptor and its clones have accepted.
    /// [`Conn::draining`](crate::Conn::draining) fires on all of them, and further requests are
    /// refused with 503. This waits until the connections have ended, and resets with `CANCEL`
    /// those that are left after `deadline`.
    ///
    /// Returns whether all connections ended by themselves. This waits for the connections, not for
    /// the tasks that handle them, and not until the server has sent the last bytes. For that the
    /// server has its own graceful shutdown, which also waits for the connections, except for
    /// WebSockets over HTTP/1.1 (this waits for those too). So begin both at once, and await both
    /// before the process ends. From the start of the drain, a WebSocket that ends in order is
    /// closed with the status 1001.
    ///
    /// An acceptor stays drained. Connections accepted by the function
    /// [`accept`](fn@crate::accept), or by an `axum::Accept` without an `Extension`, cannot be
    /// drained, because they have no shared acceptor.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the connections draining: they go on, and end by themselves.
    ///
    /// # Examples
    ///
    /// With axum. `stop` becomes true when the process is told to end. A server on hyper calls
    /// `graceful_shutdown` on each of its connections at the same place.
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
        let ended = self.accepted.cut(SHUTTING_DOWN) == 0;
        // A reset stream is gone at once. A WebSocket goes when its client has the close frame, or
        // in seconds.
        self.accepted.none().await;
        observe::drained(Side::Accept, &Addr::Other, ended);
        ended
    }

    /// Refuses a request that comes after the drain has begun.
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
