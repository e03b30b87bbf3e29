//! A listener seen from outside of its accept loop.

use std::sync::Arc;

use super::Shared;

/// Watches and ends a [`Listener`](crate::Listener) while another task waits in
/// [`accept`](crate::Listener::accept). Cheap to clone; does not keep the listener from ending.
#[derive(Clone, Debug)]
pub struct ListenerHandle {
    pub(super) shared: Arc<Shared>,
}

impl ListenerHandle {
    /// What the listener has at this moment. It takes no lock that clients wait for long, and can be
    /// called often.
    pub fn stats(&self) -> ListenerStats {
        self.shared.stats()
    }

    /// Begins the listener's end: its socket is closed, every client is told to go elsewhere
    /// (GOAWAY, RFC 9113 §6.8), and [`Conn::draining`](crate::Conn::draining) fires on all
    /// connections. They go on.
    ///
    /// [`Listener::accept`](crate::Listener::accept) still gives the requests that had come before,
    /// and then `None`; later ones are refused, and their clients may try again.
    /// [`Listener::drain`](crate::Listener::drain), called then, waits for what is left.
    pub fn shut_down(&self) {
        self.shared.stop();
    }
}

/// What a listener has at a moment, and has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerStats {
    /// Links that are open: HTTP/2 connections, with any number of connections on each.
    pub links: usize,
    /// Sockets whose TLS and HTTP/2 handshakes are not through. They become links, or are closed
    /// after [`handshake_timeout`](crate::ListenerBuilder::handshake_timeout).
    pub handshaking: usize,
    /// Connections that are open on all links, with the requests that wait to be accepted and the
    /// connections that were dropped and are still being sent. Requests of links that have ended are not among them.
    pub conns: usize,
    /// Bytes that have come on all links and nobody has read yet.
    pub unread_bytes: usize,
    /// The memory of requests, in bytes: 5 KiB for each, and its header fields. Those count that wait, and those whose
    /// connections somebody holds, also after their end. With `unread_bytes` it is what [`max_memory`](crate::ListenerBuilder::max_memory) bounds.
    pub request_bytes: usize,
    /// Clients refused because of [`max_links`](crate::ListenerBuilder::max_links) so far.
    pub refused_by_max_links: u64,
    /// Clients refused because of
    /// [`max_links_per_addr`](crate::ListenerBuilder::max_links_per_addr) so far.
    pub refused_by_max_links_per_addr: u64,
    /// How often the system could not give a socket so far, for want of file descriptors most
    /// often. Accepting then rests for 100 ms.
    pub accept_errors: u64,
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
            refused_by_max_links: counts.refused_by_max_links,
            refused_by_max_links_per_addr: counts.refused_by_max_links_per_addr,
            accept_errors: counts.accept_errors,
        })
    }
}
