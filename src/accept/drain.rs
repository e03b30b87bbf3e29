//! Ending what an acceptor has accepted, in good order.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, header};
use slab::Slab;
use tokio::sync::watch;
use tokio::time::timeout;

use super::ends::Server;
use super::{AcceptError, Acceptor};
use crate::conn::{Addr, Stream};
use crate::error::Reason;
use crate::observe::{self, Side};
use crate::sync::{Mutex, MutexGuard, lock};

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
        if lock(&self.accepted.all).stage == Stage::Open {
            return Ok(());
        }
        let text = "the server is shutting down, and takes no more connections; try again, by \
                    another HTTP/2 connection";
        let error = AcceptError::new(StatusCode::SERVICE_UNAVAILABLE, text)
            .with_field(header::RETRY_AFTER, "1");
        Err(error.for_method(method))
    }
}

/// The connections that an acceptor and its clones have made.
#[derive(Debug, Default)]
pub(super) struct Accepted {
    all: Mutex<All>,
    open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct All {
    stage: Stage,
    conns: Slab<(Arc<Stream>, Arc<Server>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    Draining,
    /// The deadline is past.
    Cut,
}

impl Accepted {
    /// Keeps a new connection until its place is dropped.
    pub(super) fn enter(self: &Arc<Self>, stream: &Arc<Stream>, server: &Arc<Server>) -> Place {
        let mut all = lock(&self.all);
        let key = all.conns.insert((Arc::clone(stream), Arc::clone(server)));
        self.open.send_replace(all.conns.len());
        let stage = all.stage;
        drop(all);
        // A drain may have begun after the request was looked at.
        if stage != Stage::Open {
            server.set_going_away();
        }
        if stage == Stage::Cut {
            cut(stream, server);
        }
        Place { accepted: Arc::clone(self), key }
    }

    /// Tells those that there are, and gives how many.
    fn begin(&self) -> usize {
        let mut all = lock(&self.all);
        if all.stage == Stage::Open {
            all.stage = Stage::Draining;
        }
        let open = Accepted::list(all);
        for (_, server) in &open {
            server.set_going_away();
        }
        open.len()
    }

    /// Resets those that are left, and gives how many.
    fn cut(&self) -> usize {
        let mut all = lock(&self.all);
        all.stage = Stage::Cut;
        let left = Accepted::list(all);
        for (stream, server) in &left {
            cut(stream, server);
        }
        left.len()
    }

    /// A copy: who is woken must not find the list locked.
    fn list(all: MutexGuard<'_, All>) -> Vec<(Arc<Stream>, Arc<Server>)> {
        all.conns.iter().map(|(_, conn)| conn.clone()).collect()
    }

    /// Waits until there are none.
    async fn none(&self) {
        // It fails only when the sender is gone, which is `self`.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

fn cut(stream: &Stream, server: &Server) {
    stream.reset(Reason::CANCEL, "the server is shutting down, and its time is up");
    server.set_cut();
}

/// The place of one connection among those of its acceptor.
#[derive(Debug)]
pub(super) struct Place {
    accepted: Arc<Accepted>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.accepted.all);
        let conn = all.conns.try_remove(self.key);
        self.accepted.open.send_replace(all.conns.len());
        drop((all, conn));
    }
}
