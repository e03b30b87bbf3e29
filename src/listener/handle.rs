//! A handle to a listener for tasks outside of its accept loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Shared;

/// Watches and ends a [`Listener`](crate::Listener) while another task waits in
/// [`accept`](crate::Listener::accept). It is cheap to clone, and does not keep the listener from
/// ending.
#[derive(Clone, Debug)]
pub struct ListenerHandle {
    pub(super) shared: Arc<Shared>,
}

impl ListenerHandle {
    /// The listener's current numbers. This holds no lock for long that clients wait for, so it may
    /// be called often.
    pub fn stats(&self) -> ListenerStats {
        self.shared.stats()
    }

    /// Begins the listener's end. Its socket is closed, every client is told to go elsewhere
    /// (GOAWAY, RFC 9113 §6.8), and [`Conn::draining`](crate::Conn::draining) fires on all
    /// connections. The connections go on.
    ///
    /// [`Listener::accept`](crate::Listener::accept) still returns the requests that had come
    /// before, and then `None`. Later requests are refused, and their clients may try again. A call
    /// of [`Listener::drain`](crate::Listener::drain) then waits for the remaining connections.
    ///
    /// A link ends when its client has acknowledged everything. A client that acknowledges nothing
    /// and goes on sending keeps its link until the deadline of `drain`.
    pub fn shut_down(&self) {
        self.shared.stop();
    }
}

/// The current numbers of a listener, and its counts since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Links that are open: HTTP/2 connections, each with any number of connections on it. A client
    /// that speaks HTTP/1, where such clients are taken, counts as one, also as a WebSocket.
    pub links: usize,
    /// Sockets whose TLS and HTTP/2 handshakes are not complete. They become links, or are closed
    /// after the [`handshake_timeout`](crate::ListenerBuilder::handshake_timeout).
    pub handshaking: usize,
    /// Connections that are open on all links, including requests that wait to be accepted and
    /// dropped connections that are still being sent. Requests of links that have ended do not
    /// count.
    pub conns: usize,
    /// Bytes that have come on all links and are not yet read.
    pub unread_bytes: usize,
    /// The memory of requests, in bytes: 5 KiB for each, and its header fields. Waiting requests
    /// count, and requests whose connections the program holds, even after their end. So do the bytes
    /// that WebSockets over HTTP/2 hold.
    /// [`max_memory`](crate::ListenerBuilder::max_memory) bounds this together with `unread_bytes`.
    pub request_bytes: usize,
    /// Requests accepted since the start. Under `serve` (feature `serve`) these are all requests over
    /// HTTP/2.
    pub accepted: u64,
    /// Requests answered since the start with a status that refuses them: by the program
    /// ([`Incoming::reject`](crate::Incoming::reject)), or by the listener because of their method,
    /// protocol, origin or invalid handshake. A request that is dropped, or finds no place, is not answered and does
    /// not count.
    pub rejected: u64,
    /// Clients refused because of [`max_links`](crate::ListenerBuilder::max_links) since the start.
    pub refused_by_max_links: u64,
    /// Clients refused because of
    /// [`max_links_per_addr`](crate::ListenerBuilder::max_links_per_addr) since the start.
    pub refused_by_max_links_per_addr: u64,
    /// How often since the start the system could not give a socket, mostly for lack of file
    /// descriptors. Accepting then rests for 100 ms.
    pub accept_errors: u64,
}

/// How requests were answered.
#[derive(Debug, Default)]
pub(super) struct Decided {
    accepted: AtomicU64,
    rejected: AtomicU64,
}

impl Decided {
    pub(super) fn accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }
}

impl Shared {
    pub(super) fn stats(&self) -> ListenerStats {
        let handshaking = self.limits.handshaking();
        self.limits.read(|counts| ListenerStats {
            links: counts.sockets.saturating_sub(handshaking),
            handshaking,
            conns: self.budget.conns(),
            unread_bytes: self.budget.unread(),
            request_bytes: self.budget.fields(),
            accepted: self.decided.accepted.load(Relaxed),
            rejected: self.decided.rejected.load(Relaxed),
            refused_by_max_links: counts.refused_by_max_links,
            refused_by_max_links_per_addr: counts.refused_by_max_links_per_addr,
            accept_errors: counts.accept_errors,
        })
    }
}
