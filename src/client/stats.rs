//! The numbers that a client reports about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::conn::Addr;
use crate::error::{Error, Result};
use crate::observe;
use crate::sync::{Mutex, lock};

/// The open links and connections of a client at one moment, and counts since it was made.
///
/// This is a snapshot. Connections go on while it is taken, so its numbers may not add up exactly.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientStats {
    /// The origins that the client has links to, that a connection waits for, or that have
    /// complained of too many PINGs.
    pub origins: Vec<OriginStats>,
    /// The connections that are open over WebSockets. Those over HTTP/1.1 belong to no link, and those over HTTP/2 are
    /// also among the connections of theirs.
    #[cfg(feature = "websocket")]
    pub websockets: usize,
    /// Links that the client has begun to make.
    pub dials: u64,
    /// Dials that made no link: the dial failed, its time was up, or its caller gave up.
    pub failed_dials: u64,
    /// Requests that were sent again because the server had certainly not looked at them.
    pub retries: u64,
    /// Requests of [`Client::connect`](crate::Client::connect), and ordinary ones, that a server has
    /// certainly not looked at, because it refused them or its link ended first. Requests that were
    /// sent again count too.
    pub refused: u64,
}

/// The links to one origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OriginStats {
    /// Scheme, host and port, or a name for the transport if the client was given one.
    pub origin: String,
    /// Every link. A link that is going away is listed until it is gone.
    pub links: Vec<LinkStats>,
    /// Links that are being made.
    pub dialing: usize,
    /// Connections that wait for a place on a link. Connections that make a link themselves do not
    /// count.
    pub waiting: usize,
    /// The number of connections that the server takes on a link at once, from its latest SETTINGS.
    /// `None` before the first SETTINGS.
    pub limit: Option<usize>,
}

impl OriginStats {
    /// The open connections over all links, and those that have a place and are about to open.
    pub fn conns(&self) -> usize {
        self.links.iter().map(|link| link.conns).sum()
    }

    /// The links that take more connections, now or after some have ended.
    pub fn links_open(&self) -> usize {
        self.links.iter().filter(|link| link.is_open).count()
    }

    /// The links that take no more connections, and end after their present ones.
    pub fn links_going_away(&self) -> usize {
        self.links.iter().filter(|link| link.is_going_away).count()
    }
}

/// One link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStats {
    /// The local address, which tells links to one origin apart.
    pub local_addr: Addr,
    /// The open connections. A connection is no longer counted once both sides have ended it, even
    /// while received bytes can still be read.
    pub conns: usize,
    /// The number of connections that the server takes at once. `None` before it has said so.
    pub limit: Option<usize>,
    /// The link's age, including the time that it took to be made.
    pub age: Duration,
    /// Whether it takes more connections. A link that belongs to a single connection does not.
    pub is_open: bool,
    /// Whether one of its ends has said that it is going away.
    pub is_going_away: bool,
}

/// The counts over all origins.
#[derive(Debug, Default)]
pub(super) struct Totals {
    dials: AtomicU64,
    failed_dials: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    /// The first loss that no caller has been told of.
    loss: Mutex<Option<Error>>,
}

impl Totals {
    pub(super) fn lost(&self, error: Error) {
        lock(&self.loss).get_or_insert(error);
    }

    /// The first loss since the last call.
    pub(super) fn take_loss(&self) -> Result<()> {
        lock(&self.loss).take().map_or(Ok(()), Err)
    }

    pub(super) fn dial(&self) {
        observe::dialing();
        self.dials.fetch_add(1, Relaxed);
    }

    pub(super) fn failed_dial(&self) {
        observe::dial_failed();
        self.failed_dials.fetch_add(1, Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self, origins: Vec<OriginStats>) -> ClientStats {
        ClientStats {
            origins,
            #[cfg(feature = "websocket")]
            websockets: 0,
            dials: self.dials.load(Relaxed),
            failed_dials: self.failed_dials.load(Relaxed),
            retries: self.retries.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
