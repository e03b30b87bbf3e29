//! The links to one origin, and the queue of callers that wait for a place on them.
//!
//! A caller that finds no place waits in the queue. Every event that may change this serves the
//! queue from its front: a place was given back, a limit came, a link was made, or a link failed.
//! Each served waiter gets a place, or must make a link. So no waiter is woken in vain, and a place
//! that was given to a waiter that has left goes on to the next. Making a link takes time, so a
//! waiter with little time left is passed over for that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{closed, ended};
use crate::client::policy::{LinkPolicy, Rules};
use crate::client::stats::{LinkStats, OriginStats, Totals};
use crate::config::Pace;
use crate::error::{Error, Result};
use crate::link::{Lease, Link, Places, Watch, WeakLink};
use crate::sync::{Mutex, lock};

/// A link that has nothing left to do except wait for its server counts again after this time. The
/// server has not acknowledged everything by then, and may never do so.
const PARTING: Duration = Duration::from_secs(10);

pub(in crate::client) struct Slot {
    /// `None`: the program has given the only link.
    rules: Option<Rules>,
    state: Mutex<State>,
    /// How slowly the links of this slot send PINGs.
    pace: Arc<Pace>,
    totals: Arc<Totals>,
}

#[derive(Default)]
struct State {
    links: Vec<Link>,
    /// Links that take no more streams, but may still have some.
    leaving: Vec<WeakLink>,
    /// Links that are being made.
    dialing: usize,
    /// The number of streams that the peer takes on a link, from its latest SETTINGS.
    limit: Option<usize>,
    waiting: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    /// The client is closed.
    closed: bool,
}

struct Waiter {
    since: Instant,
    grant: oneshot::Sender<Grant>,
}

/// The data that a new link shares with the other links to its origin.
pub(in crate::client) struct Terms {
    pub(in crate::client) places: Places,
    pub(in crate::client) pace: Arc<Pace>,
}

/// The answer to a waiter.
pub(super) enum Grant {
    Place(Lease),
    /// The waiter must make the link, and gets a place on it.
    Dial(Dialing),
    Over(Error),
}

impl Slot {
    pub(in crate::client) fn new(rules: Rules, totals: Arc<Totals>) -> Arc<Slot> {
        Arc::new(Slot { rules: Some(rules), state: Mutex::default(), pace: Arc::default(), totals })
    }

    /// Makes a slot for one link, which `put` will add.
    pub(in crate::client) fn for_one_link() -> Arc<Slot> {
        Arc::new(Slot {
            rules: None,
            state: Mutex::default(),
            pace: Arc::default(),
            totals: Arc::default(),
        })
    }

    /// Connects a new link with its waiters. Until the peer has said how many streams it takes, the
    /// link gives as many places as the last link had, or one if there was none.
    pub(in crate::client) fn places(self: &Arc<Self>) -> Places {
        let limit = lock(&self.state).limit.unwrap_or(1).max(1);
        let watch: Weak<Slot> = Arc::downgrade(self);
        Places::new(limit, watch)
    }

    /// Gives a place as soon as there is one, or the right to make a link.
    pub(super) async fn place(self: &Arc<Self>) -> Grant {
        let (receiver, _waiting) = {
            let mut state = lock(&self.state);
            if state.waiting.is_empty()
                && let Some(grant) = self.grant(&mut state, 1)
            {
                return grant;
            }
            let (grant, receiver) = oneshot::channel();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.waiting.insert(ticket, Waiter { since: Instant::now(), grant });
            (receiver, Waiting { slot: self, ticket })
        };
        // A link may have ended just before this waiter was in the queue to be told so.
        self.serve();
        receiver.await.unwrap_or_else(|_| Grant::Over(closed()))
    }

    /// Gives a place that is free now.
    pub(super) fn try_place(self: &Arc<Self>) -> Option<Lease> {
        lock(&self.state).lease(|_| true)
    }

    /// The answer for the first of `waiting`, if there is one to give.
    fn grant(self: &Arc<Self>, state: &mut State, waiting: usize) -> Option<Grant> {
        if state.closed {
            return Some(Grant::Over(closed()));
        }
        let Some(rules) = &self.rules else {
            return match state.links.is_empty() {
                true => Some(Grant::Over(ended())),
                false => state.lease(|_| true).map(Grant::Place),
            };
        };
        let links = state.links.len() + state.dialing;
        let lease = match rules.policy {
            LinkPolicy::Exclusive => None,
            LinkPolicy::Spread(wanted) if links < wanted => None,
            LinkPolicy::Shared | LinkPolicy::Spread(_) => state.lease(|link| !link.is_refusing()),
        };
        if let Some(lease) = lease {
            return Some(Grant::Place(lease));
        }
        if state.may_dial(rules, links, waiting) {
            state.dialing += 1;
            self.totals.dial();
            return Some(Grant::Dial(Dialing { slot: Arc::clone(self), is_done: false }));
        }
        state.lease(|_| true).map(Grant::Place)
    }

    /// Gives the waiters everything that is free.
    fn serve(self: &Arc<Self>) {
        let mut grants = Vec::new();
        let mut state = lock(&self.state);
        state.tidy(self.rules.is_some());
        while !state.waiting.is_empty() {
            let waiting = state.waiting.len();
            let Some(grant) = self.grant(&mut state, waiting) else { break };
            let waiter = match (&grant, &self.rules) {
                (Grant::Dial(_), Some(rules)) => state.take_dialer(rules.patience),
                _ => state.waiting.pop_first().map(|(_, waiter)| waiter),
            };
            grants.push((waiter, grant));
        }
        drop(state);
        for (waiter, grant) in grants {
            // A grant whose waiter has left is dropped, so its place goes on to the next waiter.
            let _ = waiter.map(|waiter| waiter.grant.send(grant));
        }
    }

    /// Adds the link that was given.
    pub(in crate::client) fn put(self: &Arc<Self>, link: Link) {
        lock(&self.state).links.push(link);
        self.serve();
    }

    /// Whether one of the links that take more streams offers extended CONNECT.
    #[cfg(feature = "websocket")]
    pub(super) fn offers_connect(&self) -> bool {
        lock(&self.state).links.iter().any(|link| link.is_open() && link.offers_connect())
    }

    pub(super) fn is_used(&self) -> bool {
        let mut state = lock(&self.state);
        state.leaving.retain(WeakLink::is_alive);
        let links = state.links.len() + state.leaving.len() + state.dialing;
        links + state.waiting.len() > 0 || self.pace.is_slowed()
    }

    /// Takes out the links, and tells the waiters.
    pub(super) fn close(self: &Arc<Self>) -> Vec<Link> {
        let mut state = lock(&self.state);
        state.closed = true;
        let mut links = std::mem::take(&mut state.links);
        links.extend(state.leaving.iter().filter_map(WeakLink::upgrade));
        drop(state);
        self.serve();
        links
    }

    pub(super) fn take_loss(&self) -> Result<()> {
        self.totals.take_loss()
    }

    pub(super) fn stats(&self, origin: String) -> OriginStats {
        let state = lock(&self.state);
        let leaving = state.leaving.iter().filter_map(WeakLink::upgrade);
        let links = leaving
            .map(|link| (link, false))
            .chain(state.links.iter().map(|link| (link.clone(), link.is_open())))
            .map(|(link, is_open)| LinkStats {
                local_addr: link.info().local.clone(),
                conns: link.active(),
                limit: link.limit(),
                age: link.age(),
                is_open,
                is_going_away: link.is_going_away(),
            });
        OriginStats {
            origin,
            links: links.collect(),
            dialing: state.dialing,
            waiting: state.waiting.len(),
            limit: state.limit,
        }
    }
}

impl State {
    /// A place on the wanted link that has the fewest streams.
    fn lease(&self, wanted: impl Fn(&Link) -> bool) -> Option<Lease> {
        loop {
            let links = self.links.iter().filter(|link| link.has_room() && wanted(link));
            let link = links.min_by_key(|link| link.active())?;
            // A link gives no place only if it has just lost its room.
            if let Some(lease) = link.try_lease() {
                return Some(lease);
            }
        }
    }

    /// Takes out the first waiter that has not waited for long, or else the last.
    fn take_dialer(&mut self, patience: Duration) -> Option<Waiter> {
        let now = Instant::now();
        let fresh = self.waiting.iter().find(|(_, waiter)| now - waiter.since <= patience);
        let (&ticket, _) = fresh.or_else(|| self.waiting.last_key_value())?;
        self.waiting.remove(&ticket)
    }

    /// Whether the first of `waiting` may make another link beside `links`.
    fn may_dial(&self, rules: &Rules, links: usize, waiting: usize) -> bool {
        match rules.policy {
            LinkPolicy::Exclusive => return !self.are_stuck(rules.max_links),
            LinkPolicy::Spread(wanted) if links < wanted => {
                return !self.are_stuck(rules.max_links);
            }
            LinkPolicy::Shared | LinkPolicy::Spread(_)
                if self.are_stuck(rules.max_links.saturating_sub(links)) =>
            {
                return false;
            }
            LinkPolicy::Shared | LinkPolicy::Spread(_) => {}
        }
        match self.limit {
            // The first link shows how many are needed. Another link to a peer that takes no
            // streams now would take none either.
            None | Some(0) => links == 0,
            Some(limit) => self.dialing.saturating_mul(limit) < self.dialing + waiting,
        }
    }

    /// Whether so many links have nothing to do except wait for their server, and have done so for
    /// long.
    fn are_stuck(&self, count: usize) -> bool {
        let stuck = self.leaving.iter().filter(|link| link.has_waited(PARTING));
        self.leaving.len() >= count && stuck.take(count).count() == count
    }

    /// Lets go of links that take no more streams, and of unused links that refused their last
    /// stream. Each of them ends after its present streams.
    fn tidy(&mut self, may_end: bool) {
        let leaving = |link: &mut Link| {
            !link.is_open() || (may_end && link.is_refusing() && link.end_if_unused())
        };
        let gone: Vec<Link> = self.links.extract_if(.., leaving).collect();
        for link in gone {
            self.remember(&link);
        }
    }

    /// Keeps a weak link, enough to wait for the link's end.
    fn remember(&mut self, link: &Link) {
        if self.leaving.len() == self.leaving.capacity() {
            self.leaving.retain(WeakLink::is_alive);
        }
        self.leaving.push(link.downgrade());
    }
}

impl Watch for Slot {
    fn limit_is(&self, limit: usize) {
        lock(&self.state).limit = Some(limit);
    }

    fn changed(self: Arc<Self>) {
        self.serve();
    }

    fn lost(&self, error: Error) {
        self.totals.lost(error);
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("links", &lock(&self.state).links).finish_non_exhaustive()
    }
}

/// A waiter in the queue. Dropping it leaves the queue.
struct Waiting<'a> {
    slot: &'a Slot,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let waiter = lock(&self.slot.state).waiting.remove(&self.ticket);
        drop(waiter);
    }
}

/// A link that is being made. The queue is served when the link is there, or when this is dropped.
pub(super) struct Dialing {
    slot: Arc<Slot>,
    is_done: bool,
}

impl Dialing {
    pub(super) fn terms(&self) -> Terms {
        Terms { places: self.slot.places(), pace: Arc::clone(&self.slot.pace) }
    }

    /// Adds the link that was made, and returns its first place.
    pub(super) fn done(mut self, link: Link, lease: Lease) -> Result<Lease> {
        self.is_done = true;
        let mut state = lock(&self.slot.state);
        state.dialing -= 1;
        if state.closed {
            drop(state);
            link.shut_down();
            return Err(closed());
        }
        if self.slot.rules.is_some_and(|rules| rules.policy == LinkPolicy::Exclusive) {
            // Only its stream keeps such a link alive.
            state.remember(&link);
        } else {
            state.links.push(link);
        }
        drop(state);
        self.slot.serve();
        Ok(lease)
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if !self.is_done {
            self.slot.totals.failed_dial();
            lock(&self.slot.state).dialing -= 1;
            self.slot.serve();
        }
    }
}
