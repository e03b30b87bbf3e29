//! The clients of a listener that speak HTTP/1, and the server that they get: that of the program
//! ([`serve`](fn@crate::serve)), or the one that takes their WebSockets.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

#[cfg(all(feature = "serve", feature = "websocket"))]
use crate::conn::Accounts;
use crate::conn::{LinkInfo, Quiet, Shutdown};
#[cfg(all(feature = "serve", feature = "websocket"))]
use crate::link::Seat;
use crate::link::Socket;
use crate::listener::Shared;
use crate::listener::limits::{MAX_LINKS, Slot};
use crate::observe;

/// How long a client that speaks HTTP/1 waits for a listener of which it is not known yet whether
/// it serves. A program decides on it right after it has made the listener.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Serves the clients of a listener that speak HTTP/1.
pub(crate) trait Http1Server: Send + Sync {
    /// Serves one client, to its end.
    fn serve(&self, client: Http1Client) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A client that speaks HTTP/1.
pub(crate) struct Http1Client {
    pub(crate) io: Box<dyn Socket>,
    /// Bytes that were read from it already.
    pub(crate) seen: Bytes,
    pub(crate) info: Arc<LinkInfo>,
    /// The time for the head of a request.
    pub(crate) head_timeout: Duration,
    /// The most bytes of a request's head.
    pub(crate) max_head: usize,
    /// The time for the client's end.
    pub(crate) linger: Duration,
    /// The timeouts for a client on which nothing moves, if there are any.
    pub(crate) quiet: Option<Box<Quiet>>,
    /// To be told when a request of the client has been answered.
    pub(crate) answered: Arc<Notify>,
    /// For WebSockets that the program accepts by itself.
    #[cfg(all(feature = "serve", feature = "websocket"))]
    pub(crate) accounts: Accounts,
    pub(crate) shutdown: Shutdown,
    /// To be dropped with `io`, perhaps long after the client's last request.
    pub(crate) open: oneshot::Sender<()>,
}

/// A client that speaks HTTP/1, and has just come.
pub(in crate::listener) struct NewClient {
    pub(in crate::listener) io: Box<dyn Socket>,
    pub(in crate::listener) seen: Bytes,
    pub(in crate::listener) info: Arc<LinkInfo>,
    pub(in crate::listener) head_timeout: Duration,
    pub(in crate::listener) max_head: usize,
    pub(in crate::listener) linger: Duration,
    pub(in crate::listener) quiet: Option<Box<Quiet>>,
}

/// The listener's clients that speak HTTP/1.
pub(in crate::listener) struct Http1 {
    server: watch::Sender<Decision>,
    /// Becomes true when the clients that are left are dropped.
    cut: watch::Sender<bool>,
    /// The number of clients that are being served.
    clients: Arc<watch::Sender<usize>>,
}

#[derive(Clone)]
enum Decision {
    Open,
    /// The program takes connections, and serves nothing.
    Refused,
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "only `serve` decides so"))]
    Served(Arc<dyn Http1Server>),
}

impl Default for Http1 {
    fn default() -> Http1 {
        Http1 {
            server: watch::Sender::new(Decision::Open),
            cut: watch::Sender::new(false),
            clients: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Http1 {
    /// The listener serves nothing, unless it was decided otherwise.
    pub(in crate::listener) fn refuse(&self) {
        self.server.send_if_modified(|decision| {
            let is_open = matches!(decision, Decision::Open);
            if is_open {
                *decision = Decision::Refused;
            }
            is_open
        });
    }

    /// Whether the program serves, or has not decided yet.
    #[cfg(feature = "serve")]
    pub(in crate::listener) fn may_serve(&self) -> bool {
        !matches!(*self.server.borrow(), Decision::Refused)
    }

    /// The listener serves.
    #[cfg(feature = "serve")]
    pub(in crate::listener) fn serve(&self, server: Arc<dyn Http1Server>) {
        self.server.send_replace(Decision::Served(server));
    }

    /// Forgets the server, which may hold a handle of the listener.
    #[cfg(feature = "serve")]
    pub(in crate::listener) fn forget_server(&self) {
        self.server.send_replace(Decision::Refused);
    }

    /// The number of clients, WebSockets included.
    #[cfg(feature = "serve")]
    pub(in crate::listener) fn count(&self) -> usize {
        *self.clients.borrow()
    }

    /// Waits until there are no clients.
    pub(in crate::listener) async fn none(&self) {
        // Waiting fails only when the sender is gone, and `self` has it.
        let _ = self.clients.subscribe().wait_for(|clients| *clients == 0).await;
    }

    /// Ends the clients that are left, and those that still come.
    pub(in crate::listener) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// The server for a client that has just come, if there is one.
    pub(in crate::listener) async fn server(&self) -> Option<Arc<dyn Http1Server>> {
        let mut decision = self.server.subscribe();
        let decided = decision.wait_for(|decision| !matches!(decision, Decision::Open));
        match timeout(UNDECIDED, decided).await {
            Ok(Ok(decision)) => match &*decision {
                Decision::Served(server) => Some(Arc::clone(server)),
                Decision::Open | Decision::Refused => None,
            },
            _ => None,
        }
    }
}

impl Shared {
    #[cfg(all(feature = "serve", feature = "websocket"))]
    fn accounts(&self) -> Accounts {
        let budget = Arc::clone(&self.budget);
        Accounts::new(budget.guest_buffers(), move |task| Box::new(Seat::new(&budget, task)))
    }

    /// Serves a client that speaks HTTP/1, in its place among the listener's links.
    pub(in crate::listener) async fn serve_http1(
        &self,
        server: &dyn Http1Server,
        client: NewClient,
        mut slot: Slot,
    ) {
        let NewClient { io, seen, info, head_timeout, max_head, linger, quiet } = client;
        let (answered, peer) = (Arc::<Notify>::default(), info.peer.clone());
        let mut cut = self.http1.cut.subscribe();
        let counted: Arc<dyn Any + Send + Sync> = Arc::new(Counted::new(&self.http1.clients));
        let waits = Arc::downgrade(&counted);
        let shutdown = Shutdown::new(self.links.stopping(), Some(cut.clone()), waits);
        // Only now that it is counted: a drain that sees no handshakes must see it.
        slot.establish();
        let (open, mut closed) = oneshot::channel();
        let served = server.serve(Http1Client {
            io,
            seen,
            info,
            head_timeout,
            max_head,
            linger,
            quiet,
            answered: Arc::clone(&answered),
            #[cfg(all(feature = "serve", feature = "websocket"))]
            accounts: self.accounts(),
            shutdown,
            open,
        });
        let stranger = async {
            tokio::select! {
                biased;
                () = answered.notified() => slot.is_known(),
                () = slot.must_leave() => return observe::refused(MAX_LINKS, &peer),
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            // A client that is being answered keeps its place.
            biased;
            () = served => {}
            () = stranger => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
        drop(counted);
        if matches!(closed.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            // The transport of an upgrade, which is not HTTP any more, still has its place.
            slot.is_known();
            tokio::spawn(async move {
                let _ = closed.await;
                drop(slot);
            });
        }
    }
}

/// A client that is being served.
#[derive(Debug)]
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(clients: &Arc<watch::Sender<usize>>) -> Counted {
        clients.send_modify(|clients| *clients += 1);
        Counted(Arc::clone(clients))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|clients| *clients -= 1);
    }
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").field("clients", &*self.clients.borrow()).finish_non_exhaustive()
    }
}
