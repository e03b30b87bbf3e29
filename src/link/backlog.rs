//! The requests that wait to be accepted: a line for each link, and the links take turns.
//!
//! A link may have as many waiting requests as there are places left, and always one. So a single
//! link fills at most half of the places, two links fill a third each, and so on. A newcomer's
//! request always finds a place, and is accepted after at most one request of each other link.
//!
//! A complete request can be accepted even after its link has ended. All such requests share one
//! line, which has its own bound in requests and in bytes. Otherwise links that come and go would
//! fill the memory and take all turns.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use h2conn_engine::StreamId;
use slab::Slab;
use tokio::sync::watch;

use crate::conn::{Offer, Transport};
use crate::pipe::WakerSet;
use crate::sync::{AtomicBool, Mutex, lock};

/// Makes the way in and the way out. There are this many places, and the requests of ended links
/// take at most this many bytes.
pub(crate) fn backlog(places: usize, left_bytes: usize) -> (Entrance, Backlog) {
    let state = State {
        lines: Slab::new(),
        left: VecDeque::new(),
        left_bytes: 0,
        left_has_turn: false,
        turns: VecDeque::new(),
        waiting: 0,
        entrances: 0,
        acceptors: WakerSet::default(),
    };
    let (state, closed) = (Mutex::new(state), watch::Sender::new(false));
    let is_closed = AtomicBool::new(false);
    let shared = Shared { places, left_bytes, state, is_closed, closed, server: OnceLock::new() };
    let shared = Arc::new(shared);
    (Entrance::new(Arc::clone(&shared)), Backlog(shared))
}

struct Shared {
    places: usize,
    left_bytes: usize,
    state: Mutex<State>,
    /// No more requests are accepted. Set only while `state` is locked.
    is_closed: AtomicBool,
    closed: watch::Sender<bool>,
    /// Takes each request at once. Set only while `state` is locked.
    server: OnceLock<Taker>,
}

/// Takes requests as they come. It is called in the task of their link.
pub(crate) type Taker = Box<dyn Fn(Offer) + Send + Sync>;

struct State {
    lines: Slab<Requests>,
    /// The complete requests of links that have ended, the oldest first, and the bytes of each.
    left: VecDeque<(Offer, usize)>,
    left_bytes: usize,
    /// Whether [`LEFT`] is among `turns`.
    left_has_turn: bool,
    /// The lines with waiting requests, in the order of their turns.
    turns: VecDeque<usize>,
    waiting: usize,
    entrances: usize,
    acceptors: WakerSet,
}

/// The turn of the requests from ended links.
const LEFT: usize = usize::MAX;

impl Shared {
    fn is_closed(&self) -> bool {
        self.is_closed.load(SeqCst)
    }
}

/// A link's requests, the oldest first, and the bytes of the header fields of each.
#[derive(Default)]
struct Requests {
    waiting: BTreeMap<StreamId, (Offer, usize)>,
    /// Whether the line is among `turns`.
    has_turn: bool,
}

impl State {
    /// The request whose turn it is.
    fn next(&mut self) -> Option<Offer> {
        while let Some(key) = self.turns.pop_front() {
            if key == LEFT {
                self.left_has_turn = false;
                let first = self.left.pop_front();
                self.give_left_a_turn();
                if let Some((offer, bytes)) = first {
                    self.left_bytes -= bytes;
                    return Some(offer);
                }
                continue;
            }
            let line = &mut self.lines[key];
            line.has_turn = false;
            let first = line.waiting.pop_first();
            self.give_a_turn(key);
            if let Some((_, (offer, _))) = first {
                self.waiting -= 1;
                return Some(offer);
            }
        }
        None
    }

    /// Gives a line a turn if a request waits in it.
    fn give_a_turn(&mut self, key: usize) {
        let line = &mut self.lines[key];
        if !line.has_turn && !line.waiting.is_empty() {
            line.has_turn = true;
            self.turns.push_back(key);
        }
    }

    fn give_left_a_turn(&mut self) {
        if !self.left_has_turn && !self.left.is_empty() {
            self.left_has_turn = true;
            self.turns.push_back(LEFT);
        }
    }
}

/// The place where links get a line. While an entrance or a line exists, more requests may come.
pub(crate) struct Entrance(Arc<Shared>);

impl Entrance {
    fn new(shared: Arc<Shared>) -> Entrance {
        lock(&shared.state).entrances += 1;
        Entrance(shared)
    }

    /// Makes a new link's line.
    pub(super) fn line(&self) -> Line {
        let key = lock(&self.0.state).lines.insert(Requests::default());
        Line { entrance: Entrance::new(Arc::clone(&self.0)), key }
    }

    /// Waits until no more requests are accepted.
    pub(crate) async fn closed(&self) {
        // Waiting fails only when the sender is gone, and `self` is the sender.
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

/// The reason why a request finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// The link has its share.
    Full,
    /// No more requests are accepted.
    Closed,
}

/// A WebSocket that waits to be accepted is no ordinary request.
fn is_websocket(offer: &Offer) -> bool {
    matches!(offer.stream().transport, Transport::WebSocketHttp1)
}

/// The waiting requests of one link. Complete ones can be accepted after the link has ended, within
/// a bound.
pub(super) struct Line {
    entrance: Entrance,
    key: usize,
}

impl Line {
    /// Checks whether there is a place for one more request.
    pub(super) fn look(&self) -> Result<(), NoPlace> {
        let shared = &*self.entrance.0;
        if shared.is_closed() {
            return Err(NoPlace::Closed);
        }
        if self.is_served() {
            // None waits, so all links would only compete for the lock.
            return Ok(());
        }
        let state = lock(&shared.state);
        let own = state.lines[self.key].waiting.len();
        match own > 0 && own >= shared.places.saturating_sub(state.waiting) {
            true => Err(NoPlace::Full),
            false => Ok(()),
        }
    }

    /// Adds a request, whose header fields take this many bytes. Streams must come in the order of
    /// their numbers.
    pub(super) fn push(&self, id: StreamId, offer: Offer, fields: usize) {
        let shared = &*self.entrance.0;
        if let Some(take) = shared.server.get() {
            return self.serve(take, offer);
        }
        let mut state = lock(&shared.state);
        if shared.is_closed() {
            drop(state);
            // Dropping the offer refuses the request.
            return drop(offer);
        }
        if let Some(take) = shared.server.get() {
            drop(state);
            return self.serve(take, offer);
        }
        state.lines[self.key].waiting.insert(id, (offer, fields));
        state.waiting += 1;
        state.give_a_turn(self.key);
        let mut acceptors = state.acceptors.take();
        drop(state);
        acceptors.wake_all();
    }

    fn serve(&self, take: &Taker, offer: Offer) {
        if self.entrance.0.is_closed() || is_websocket(&offer) {
            // Dropping the offer refuses the request.
            return drop(offer);
        }
        // The driver may have looked before it began to be served.
        offer.stream().serve();
        take(offer);
    }

    /// Whether requests are taken at once.
    pub(super) fn is_served(&self) -> bool {
        self.entrance.0.server.get().is_some()
    }

    /// Takes back a request that is not accepted, and must not be any more. `false` if it was
    /// accepted already.
    pub(super) fn withdraw(&self, id: StreamId) -> bool {
        let mut state = lock(&self.entrance.0.state);
        let offer = state.lines[self.key].waiting.remove(&id);
        state.waiting -= usize::from(offer.is_some());
        drop(state);
        offer.map(|(offer, _)| offer.take()).is_some()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Shared { places, left_bytes, state, .. } = &*self.entrance.0;
        let mut state = lock(state);
        let Requests { waiting, has_turn } = state.lines.remove(self.key);
        state.waiting -= waiting.len();
        if has_turn {
            state.turns.retain(|key| *key != self.key);
        }
        let mut gone = Vec::new();
        for (offer, fields) in waiting.into_values() {
            let inbox = &offer.stream().inbox;
            let bytes = fields + inbox.len();
            let has_room = state.left.len() < places / 4 && state.left_bytes + bytes <= *left_bytes;
            if inbox.is_complete() && has_room {
                state.left_bytes += bytes;
                state.left.push_back((offer, bytes));
            } else {
                gone.push(offer);
            }
        }
        state.give_left_a_turn();
        let mut acceptors = state.acceptors.take();
        drop(state);
        acceptors.wake_all();
        for offer in gone {
            offer.take();
        }
    }
}

/// The waiting requests, for the task that accepts them. Dropping this refuses them.
pub(crate) struct Backlog(Arc<Shared>);

impl Backlog {
    /// Waits for the next request. `None` when no more can come. Dropping the future loses no
    /// request.
    pub(crate) async fn next(&mut self) -> Option<Offer> {
        poll_fn(|cx| {
            let mut state = lock(&self.0.state);
            if let Some(offer) = state.next() {
                return Poll::Ready(Some(offer));
            }
            if self.0.is_closed() || state.entrances == 0 {
                return Poll::Ready(None);
            }
            state.acceptors.add(cx);
            Poll::Pending
        })
        .await
    }

    /// Gives `take` the requests that wait, and then each new one as it comes, so that none waits
    /// any more. The first call counts.
    #[cfg(feature = "serve")]
    pub(crate) fn serve(&mut self, take: Taker) {
        let state = lock(&self.0.state);
        let _ = self.0.server.set(take);
        drop(state);
        while let (Some(offer), Some(take)) = (self.take(), self.0.server.get()) {
            if is_websocket(&offer) {
                // Its client may try again, and then it comes to the server.
                continue;
            }
            offer.stream().serve();
            take(offer);
        }
    }

    #[cfg(feature = "serve")]
    fn take(&mut self) -> Option<Offer> {
        lock(&self.0.state).next()
    }

    /// Takes no more requests. Waiting requests can still be accepted.
    pub(crate) fn close(&mut self) {
        let mut state = lock(&self.0.state);
        self.0.is_closed.store(true, SeqCst);
        let mut acceptors = state.acceptors.take();
        drop(state);
        self.0.closed.send_replace(true);
        acceptors.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Refuses the waiting requests.
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
        let state = lock(&self.0.state);
        let waiting = state.waiting + state.left.len();
        f.debug_struct("Backlog").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(h2conn_loom)))]
mod tests;
