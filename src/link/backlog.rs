//! The requests that wait to be accepted: a line for each link, and the links take turns.
//!
//! A link may have as many requests waiting as there are places left, and one in any case. So one link alone fills at
//! most half of the places, two fill a third each, and so on: a newcomer's request always finds a place, and is taken
//! after at most one request of each other link.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use h2conn_engine::StreamId;
use slab::Slab;
use tokio::sync::watch;

use crate::conn::Offer;
use crate::pipe::WakerSet;
use crate::sync::{Mutex, lock};

/// The way in, and the way out. There are so many places.
pub(crate) fn backlog(places: usize) -> (Entrance, Backlog) {
    let state = State {
        lines: Slab::new(),
        turns: VecDeque::new(),
        waiting: 0,
        entrances: 0,
        is_closed: false,
        acceptors: WakerSet::default(),
    };
    let shared = Shared { places, state: Mutex::new(state), closed: watch::Sender::new(false) };
    let shared = Arc::new(shared);
    (Entrance::new(Arc::clone(&shared)), Backlog(shared))
}

struct Shared {
    places: usize,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

struct State {
    lines: Slab<Requests>,
    /// The lines in which somebody waits, in the order of their turns.
    turns: VecDeque<usize>,
    waiting: usize,
    entrances: usize,
    is_closed: bool,
    acceptors: WakerSet,
}

/// A link's requests, the oldest first.
#[derive(Default)]
struct Requests {
    waiting: BTreeMap<StreamId, Offer>,
    /// The line is among `turns`.
    has_turn: bool,
    /// The link has ended: the line goes with its last request.
    is_left: bool,
}

impl State {
    /// The request whose turn it is.
    fn next(&mut self) -> Option<Offer> {
        while let Some(key) = self.turns.pop_front() {
            let line = &mut self.lines[key];
            line.has_turn = false;
            let first = line.waiting.pop_first();
            self.look_after(key);
            if let Some((_, offer)) = first {
                self.waiting -= 1;
                return Some(offer);
            }
        }
        None
    }

    /// Gives a line another turn if somebody waits in it, and takes it away if nobody will.
    fn look_after(&mut self, key: usize) {
        let line = &mut self.lines[key];
        if line.has_turn {
            return;
        }
        if !line.waiting.is_empty() {
            line.has_turn = true;
            self.turns.push_back(key);
        } else if line.is_left {
            self.lines.remove(key);
        }
    }
}

/// Where links get a line. While there is one, or a line, more requests may come.
pub(crate) struct Entrance(Arc<Shared>);

impl Entrance {
    fn new(shared: Arc<Shared>) -> Entrance {
        lock(&shared.state).entrances += 1;
        Entrance(shared)
    }

    /// A new link's line.
    pub(super) fn line(&self) -> Line {
        let key = lock(&self.0.state).lines.insert(Requests::default());
        Line { entrance: Entrance::new(Arc::clone(&self.0)), key }
    }

    /// Waits until nothing is accepted any more.
    pub(crate) async fn closed(&self) {
        // It fails only when the sender is gone, which is `self`.
        let _ = self.0.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.entrances -= 1;
        if state.entrances == 0 {
            let mut acceptors = state.acceptors.take();
            drop(state);
            acceptors.wake_all();
        }
    }
}

/// The reason for which a request finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The link has its share.
    Full,
    /// Nothing is accepted any more.
    Closed,
}

/// The requests of one link that wait. Those that are complete can be accepted after the link has ended.
pub(super) struct Line {
    entrance: Entrance,
    key: usize,
}

impl Line {
    /// Looks whether there is a place for one more.
    pub(super) fn look(&self) -> Result<(), NoPlace> {
        let Shared { places, state, .. } = &*self.entrance.0;
        let state = lock(state);
        let own = state.lines[self.key].waiting.len();
        match state.is_closed {
            true => Err(NoPlace::Closed),
            false if own > 0 && own >= places.saturating_sub(state.waiting) => Err(NoPlace::Full),
            false => Ok(()),
        }
    }

    /// Adds a request. Streams must come in the order of their numbers.
    pub(super) fn push(&self, id: StreamId, offer: Offer) {
        let mut state = lock(&self.entrance.0.state);
        if state.is_closed {
            drop(state);
            // The request is refused.
            return drop(offer);
        }
        state.lines[self.key].waiting.insert(id, offer);
        state.waiting += 1;
        state.look_after(self.key);
        let mut acceptors = state.acceptors.take();
        drop(state);
        acceptors.wake_all();
    }

    /// Takes a request back that nobody has accepted, and that nobody should; `false` if somebody has.
    pub(super) fn withdraw(&self, id: StreamId) -> bool {
        let mut state = lock(&self.entrance.0.state);
        let offer = state.lines[self.key].waiting.remove(&id);
        state.waiting -= usize::from(offer.is_some());
        drop(state);
        offer.map(Offer::take).is_some()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = lock(&self.entrance.0.state);
        let line = &mut state.lines[self.key];
        line.is_left = true;
        let (complete, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut line.waiting)
            .into_iter()
            .partition(|(_, offer)| offer.stream().inbox.is_complete());
        line.waiting = complete;
        let is_empty = line.waiting.is_empty();
        state.waiting -= gone.len();
        if is_empty {
            // Or links that come and go would have turns without number.
            state.turns.retain(|key| *key != self.key);
            state.lines[self.key].has_turn = false;
        }
        state.look_after(self.key);
        drop(state);
        for offer in gone.into_values() {
            offer.take();
        }
    }
}

/// The requests that wait, for those who accept. Dropping it refuses them.
pub(crate) struct Backlog(Arc<Shared>);

impl Backlog {
    /// Waits for the next request; `None` when no more can come. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> Option<Offer> {
        poll_fn(|cx| {
            let mut state = lock(&self.0.state);
            if let Some(offer) = state.next() {
                return Poll::Ready(Some(offer));
            }
            if state.is_closed || state.entrances == 0 {
                return Poll::Ready(None);
            }
            state.acceptors.add(cx);
            Poll::Pending
        })
        .await
    }

    /// Takes no more requests; those that wait can still be accepted.
    pub(crate) fn close(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_closed = true;
        let mut acceptors = state.acceptors.take();
        drop(state);
        self.0.closed.send_replace(true);
        acceptors.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.0.state).is_closed
    }

    /// Refuses those that wait.
    pub(crate) fn refuse_all(&mut self) {
        loop {
            let next = lock(&self.0.state).next();
            if next.is_none() {
                return;
            }
        }
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.close();
        self.refuse_all();
    }
}

impl fmt::Debug for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrance").finish_non_exhaustive()
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = lock(&self.0.state).waiting;
        f.debug_struct("Backlog").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(h2conn_loom)))]
mod tests;
