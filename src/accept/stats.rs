//! The figures of an acceptor.

use super::Acceptor;
use crate::hosted::Counts;

/// The counts of an acceptor and its clones, at one moment.
///
/// A WebSocket counts like any other connection, over HTTP/1.1 (where it is accepted with 101) and over HTTP/2 (200).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptorStats {
    /// Connections that are open, WebSockets included. So are connections that were dropped, until what was written to
    /// them is sent or the linger timeout has passed.
    pub conns: usize,
    /// The WebSockets among [`conns`](AcceptorStats::conns).
    pub websockets: usize,
    /// Connections accepted so far, WebSockets included.
    pub accepted: u64,
    /// WebSockets accepted so far.
    pub accepted_websockets: u64,
    /// Requests refused so far with an [`AcceptError`](crate::AcceptError), whatever form of connection they asked for.
    /// An answer that the program gives by itself is not known here.
    pub rejected: u64,
}

impl Acceptor {
    /// The counts of this acceptor and its clones. The call takes one short lock.
    pub fn stats(&self) -> AcceptorStats {
        let Counts { open, open_websockets, accepted, accepted_websockets, rejected } =
            self.accepted.counts();
        AcceptorStats {
            conns: open,
            websockets: open_websockets,
            accepted,
            accepted_websockets,
            rejected,
        }
    }
}
