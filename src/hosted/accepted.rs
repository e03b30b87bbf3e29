//! The connections of one acceptor, or the WebSockets of one client, and their end in good order.

use std::sync::Arc;

use slab::Slab;
use tokio::sync::watch;

use super::carrier::Server;
use crate::conn::Stream;
#[cfg(feature = "websocket")]
use crate::conn::Transport;
use crate::error::Reason;
#[cfg(feature = "websocket")]
use crate::error::{Error, ErrorKind};
use crate::sync::{Mutex, MutexGuard, lock};

/// The connections that an acceptor and its clones have made, or a client's WebSockets.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    all: Mutex<All>,
    open: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct All {
    stage: Stage,
    conns: Slab<(Arc<Stream>, Arc<Server>)>,
    counts: Counts,
}

/// The figures of an acceptor, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Those that are open, WebSockets included.
    pub(crate) open: usize,
    pub(crate) open_websockets: usize,
    /// All so far, WebSockets included.
    pub(crate) accepted: u64,
    pub(crate) accepted_websockets: u64,
    /// Requests that were refused so far.
    pub(crate) rejected: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Open,
    Draining,
    /// The deadline has passed.
    Cut,
}

impl Accepted {
    /// Whether no drain has begun.
    pub(crate) fn is_open(&self) -> bool {
        lock(&self.all).stage == Stage::Open
    }

    /// Keeps a new connection until its place is dropped.
    pub(crate) fn enter(self: &Arc<Self>, stream: &Arc<Stream>, server: &Arc<Server>) -> Place {
        let mut all = lock(&self.all);
        let key = all.conns.insert((Arc::clone(stream), Arc::clone(server)));
        all.counts.accepted += 1;
        if stream.transport.is_websocket() {
            all.counts.accepted_websockets += 1;
            all.counts.open_websockets += 1;
        }
        self.open.send_replace(all.conns.len());
        let stage = all.stage;
        drop(all);
        // A drain may have begun after the request was checked.
        if stage != Stage::Open {
            server.set_draining();
        }
        if stage == Stage::Cut {
            cut(stream, server, SHUTTING_DOWN);
        }
        Place { accepted: Arc::clone(self), key }
    }

    /// Counts a request that was refused.
    pub(crate) fn count_rejected(&self) {
        lock(&self.all).counts.rejected += 1;
    }

    pub(crate) fn counts(&self) -> Counts {
        let all = lock(&self.all);
        Counts { open: all.conns.len(), ..all.counts }
    }

    /// Tells the present connections to drain, and returns their number.
    pub(crate) fn begin(&self) -> usize {
        let mut all = lock(&self.all);
        if all.stage == Stage::Open {
            all.stage = Stage::Draining;
        }
        let open = Accepted::list(all);
        for (_, server) in &open {
            server.set_draining();
        }
        open.len()
    }

    /// Resets the remaining connections, and returns their number. `why` is for their users.
    pub(crate) fn cut(&self, why: &'static str) -> usize {
        let mut all = lock(&self.all);
        all.stage = Stage::Cut;
        let left = Accepted::list(all);
        for (stream, server) in &left {
            cut(stream, server, why);
        }
        left.len()
    }

    /// Ends the use of the connections that are left, and returns the number of those that it has reset: those that were
    /// let go are sent to their end. `why` is for the users of the others.
    #[cfg(feature = "websocket")]
    pub(crate) fn end_use(&self, why: &'static str) -> usize {
        let mut reset = 0;
        for (stream, server) in Accepted::list(lock(&self.all)) {
            if stream.is_done() {
                // Its end is known, but may lie behind bytes that nobody reads.
                stream.inbox.abort(Error::new(ErrorKind::Aborted, why));
                server.wake_task();
            } else if stream.outbox.is_finishing() {
                stream.close_because(Error::new(ErrorKind::Aborted, why));
            } else {
                stream.reset(Reason::CANCEL, why);
                reset += 1;
            }
        }
        reset
    }

    /// Resets the connections that are left, and returns the number of those that ride on no link.
    #[cfg(feature = "websocket")]
    pub(crate) fn reset(&self, why: &'static str) -> usize {
        let left = Accepted::list(lock(&self.all));
        let left = left.iter().filter(|(stream, _)| !stream.is_done());
        left.inspect(|(stream, _)| stream.reset(Reason::CANCEL, why))
            .filter(|(stream, _)| stream.transport != Transport::WebSocketHttp2)
            .count()
    }

    /// Copies the list, because a woken task must not find it locked.
    fn list(all: MutexGuard<'_, All>) -> Vec<(Arc<Stream>, Arc<Server>)> {
        all.conns.iter().map(|(_, conn)| conn.clone()).collect()
    }

    /// Waits until no connection is left.
    pub(crate) async fn none(&self) {
        // Waiting fails only when the sender is gone, and `self` is the sender.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// Why a server resets its last connections.
pub(crate) const SHUTTING_DOWN: &str = "the server is shutting down, and its time is up";

/// Resets a connection because the time of its server, or of its client, is up.
fn cut(stream: &Stream, server: &Server, why: &'static str) {
    stream.reset(Reason::CANCEL, why);
    server.set_cut();
}

/// The place of one connection among those of its acceptor.
#[derive(Debug)]
pub(crate) struct Place {
    accepted: Arc<Accepted>,
    key: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.accepted.all);
        let conn = all.conns.try_remove(self.key);
        if conn.as_ref().is_some_and(|(stream, _)| stream.transport.is_websocket()) {
            all.counts.open_websockets -= 1;
        }
        self.accepted.open.send_replace(all.conns.len());
        drop((all, conn));
    }
}
