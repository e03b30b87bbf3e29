//! What a client has open, and what it has done.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::conn::Addr;
use crate::error::{Error, Result};
use crate::observe;
use crate::sync::{Mutex, lock};

/// What a client has open at one moment, and what it has done since it was made.
///
/// A snapshot: while it is taken things go on, so its numbers need not add up to the last one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ClientStats {
    /// The origins that the client has links to, that somebody waits for, or that have complained
    /// of too many PINGs.
    pub origins: Vec<OriginStats>,
    /// Links that were begun.
    pub dials: u64,
    /// Dials that made no link: they failed, their time was up, or their caller gave up.
    pub failed_dials: u64,
    /// Requests that were sent again because the server had certainly not looked at them.
    pub retries: u64,
    /// Requests of [`Client::connect`](crate::Client::connect) that a server has certainly not looked
    /// at, because it refused them or its link ended first; those included that were sent again.
    pub refused: u64,
}

/// The links to one origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OriginStats {
    /// Its scheme, host and port; for a client that was given its transport, a name for that.
    pub origin: String,
    /// Each link, those that go away included until they are gone.
    pub links: Vec<LinkStats>,
    /// Links that are being made.
    pub dialing: usize,
    /// Connections that wait for a place on a link, those that make one themselves not included.
    pub waiting: usize,
    /// How many connections the server takes on a link at once, as it has said last. `None` before
    /// it has said anything.
    pub limit: Option<usize>,
}

impl OriginStats {
    /// The connections that are open, over all links, or that have a place and are about to be.
    pub fn conns(&self) -> usize {
        self.links.iter().map(|link| link.conns).sum()
    }

    /// The links that take more connections, now or when some have ended.
    pub fn links_open(&self) -> usize {
        self.links.iter().filter(|link| link.is_open).count()
    }

    /// The links that take no more connections, and end with those that they have.
    pub fn links_going_away(&self) -> usize {
        self.links.iter().filter(|link| link.is_going_away).count()
    }
}

/// One link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkStats {
    /// This end's address, which tells links to one origin from each other.
    pub local_addr: Addr,
    /// The connections that are open on it. One is no longer counted when both sides have ended it,
    /// though what has come may still be read.
    pub conns: usize,
    /// How many the server takes at once. `None` before it has said so.
    pub limit: Option<usize>,
    /// How long it has been there, the time that it took to be made included.
    pub age: Duration,
    /// Whether it takes more connections. One that belongs to a single connection does not.
    pub is_open: bool,
    /// Whether one of its ends has said that it is going away.
    pub is_going_away: bool,
}

/// What is counted over all origins.
#[derive(Debug, Default)]
pub(super) struct Totals {
    dials: AtomicU64,
    failed_dials: AtomicU64,
    retries: AtomicU64,
    refused: AtomicU64,
    /// The first loss that nobody has been told of.
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
            dials: self.dials.load(Relaxed),
            failed_dials: self.failed_dials.load(Relaxed),
            retries: self.retries.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}
