//! The data that all connections of a link share.

use bytes::Bytes;
#[cfg(feature = "accept")]
use http::request;

use super::Addr;
#[cfg(feature = "accept")]
use super::Transport;
use crate::observe::{self, Side};

/// The data that all connections of a link share.
#[derive(Debug)]
pub(crate) struct LinkInfo {
    pub(crate) local: Addr,
    pub(crate) peer: Addr,
    /// The certificates that the peer showed, in DER, its own first.
    pub(crate) peer_certificates: Vec<Bytes>,
    /// Whether any task may use the transport. A transport that the program brings may need the
    /// runtime in which its link was made.
    pub(crate) any_task: bool,
    pub(crate) observed: observe::Link,
}

impl LinkInfo {
    pub(crate) fn new(side: Side, local: Addr, peer: Addr) -> LinkInfo {
        let any_task = !matches!(peer, Addr::Other);
        let (peer_certificates, observed) = (Vec::new(), observe::Link::new(side));
        LinkInfo { local, peer, peer_certificates, any_task, observed }
    }

    /// Of a connection on a server that is not ours, whose link nobody knows.
    #[cfg(feature = "accept")]
    pub(crate) fn of_request(form: &Transport, request: &request::Parts, peer: Addr) -> LinkInfo {
        let observed = observe::Link::of_request(form.name(), request, &peer);
        LinkInfo { observed, ..LinkInfo::new(Side::Accept, Addr::Other, peer) }
    }

    /// Reports that the link begins.
    pub(crate) fn opened(mut self) -> LinkInfo {
        let transport = match self.peer {
            Addr::Ip(_) => "tcp",
            Addr::Unix(_) => "unix",
            Addr::Other => "other",
        };
        self.observed.opened(transport, &self.local, &self.peer);
        self
    }
}
