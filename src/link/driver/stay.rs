//! How long a link stays: while it is used, until it is old, or until its stream identifiers are
//! used up. Also how many streams it takes meanwhile.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use h2conn_engine::StreamId;
use tokio::time::Instant;

use super::{Driver, Timer};
use crate::observe::Cause;

/// Since when the link is unused, and whether a timer runs for this.
#[derive(Debug, Default)]
pub(super) struct Idle {
    since: Option<Instant>,
    armed: bool,
}

impl Idle {
    /// The link is used, though perhaps for less than a turn.
    pub(super) fn is_over(&mut self) {
        self.since = None;
    }
}

/// Whether the peer of a server has opened a connection that was accepted.
#[derive(Debug, Default)]
pub(super) struct First {
    pub(super) was_accepted: bool,
    /// The peer's time is up.
    is_late: bool,
}

/// `time`, give or take a tenth. Links of the same age then do not end together, and their clients
/// do not all come back at once.
pub(super) fn about(time: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() as u32;
    time.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

/// A client has 2³⁰ stream identifiers on a link (RFC 9113 §5.1.1). These are kept for requests
/// that already have a place when the driver sees the end.
const SPARE_IDS: u32 = 1 << 16;

pub(super) fn is_nearly_last(id: StreamId, last: u32) -> bool {
    id.get() >= last.saturating_sub(2 * SPARE_IDS)
}

impl Driver {
    /// Whether there is no stream and no lease here.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.shared.places.active() == 0
    }

    /// Whether every lease has opened its stream.
    pub(super) fn has_all_leases(&self) -> bool {
        if !self.is_client() || self.is_over {
            return true;
        }
        let here = self.streams.iter().filter(|(_, entry)| entry.lease.is_some()).count();
        self.shared.places.active() <= here
    }

    /// The time is up in which a server's peer must have opened something.
    pub(super) fn first_time_is_up(&mut self) {
        self.first.is_late = true;
        self.look_whether_late();
    }

    /// Ends the link of a peer for which nothing was accepted in its time. A request that waits for
    /// its answer keeps the link, because the program decides on it, and the peer cannot hurry it.
    fn look_whether_late(&mut self) {
        let First { is_late, was_accepted } = self.first;
        // Streams that are refused may take their time, but do not count as a use of the link.
        let is_unused = || self.streams.iter().all(|(_, entry)| entry.stream.is_refused());
        if is_late && !was_accepted && !self.closing && is_unused() {
            self.shared.info.observed.retired(Cause::Idle);
            self.shut_down();
        }
    }

    pub(super) fn look_whether_idle(&mut self) {
        self.look_whether_late();
        let Some(timeout) = self.config.link_idle_timeout.filter(|_| !self.closing) else { return };
        if !self.is_empty() {
            self.idle.since = None;
        } else if self.idle.since.is_none() {
            self.idle.since = Some(Instant::now());
            if !std::mem::replace(&mut self.idle.armed, true) {
                self.timers.insert(Timer::Idle, timeout);
            }
        }
    }

    /// Ends the link if it was idle for the whole time. A timer that was set before the last stream
    /// goes on with the rest of the time.
    pub(super) fn idle_time_is_up(&mut self) {
        self.idle.armed = false;
        let (Some(timeout), Some(since)) = (self.config.link_idle_timeout, self.idle.since) else {
            return;
        };
        let left = timeout.saturating_sub(since.elapsed());
        if !left.is_zero() {
            self.timers.insert(Timer::Idle, left);
            self.idle.armed = true;
        } else if self.shared.places.close_if_unused() {
            self.shared.info.observed.retired(Cause::Idle);
            self.shared.places.tell();
            self.shut_down();
        } else {
            self.idle.since = None;
        }
    }
}
