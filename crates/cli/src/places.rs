//! Limits how much peers can have open: there is a fixed number of places, shared fairly among
//! peers.

mod peer;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub(crate) use peer::Peer;

/// All places of one kind. Each thing that a peer opens takes one first. Clones share the places.
///
/// A peer gets another place only while it has fewer than are free. A peer that wants all of them
/// gets half, and the next such peer half of the rest. The last free place always goes to a peer that
/// has none, so of two places one peer has one. Only [`Peer::LOCAL`] may have all, because no place
/// that was kept free would be of use to anybody. All places of a peer share one `T`.
#[derive(Debug)]
pub(crate) struct Places<T = ()>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    kind: Kind,
    /// Places are taken and given back under the lock of `shares`. Only [`Places::wait`] takes one
    /// before.
    free: Arc<Semaphore>,
    shares: Mutex<HashMap<Peer, Share<T>>>,
    /// Wakes those that wait in [`Places::turn`] when a place was given back.
    freed: Notify,
}

/// The words for places in messages, and their number.
#[derive(Clone, Copy, Debug)]
struct Kind {
    most: usize,
    /// The things that take places, in the plural.
    what: &'static str,
    /// The option that sets the number of places.
    knob: &'static str,
}

/// A peer's places, at least one.
#[derive(Debug)]
struct Share<T> {
    places: usize,
    common: T,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<T = ()> {
    shared: Arc<Shared<T>>,
    peer: Peer,
    common: T,
    /// It is `Some` until the place is given back.
    permit: Option<OwnedSemaphorePermit>,
}

/// A place that is reserved for the next peer, whichever peer that is.
#[derive(Debug)]
pub(crate) struct Waiting<T = ()> {
    shared: Arc<Shared<T>>,
    permit: OwnedSemaphorePermit,
}

/// No place is left for a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    kind: Kind,
    /// The number of places that the peer has, if others are free.
    share: Option<usize>,
}

/// The line in which those of one peer wait for their [`turn`](Places::turn), which all places of the
/// peer share.
#[derive(Clone, Debug)]
pub(crate) struct Line(Arc<Semaphore>);

impl Default for Line {
    fn default() -> Line {
        Line(Arc::new(Semaphore::new(1)))
    }
}

impl<T: Clone + Default> Places<T> {
    /// Makes `most` places for `what`, a plural, that the option `knob` sets.
    pub(crate) fn new(most: usize, what: &'static str, knob: &'static str) -> Places<T> {
        let most = most.min(Semaphore::MAX_PERMITS);
        let (kind, free) = (Kind { most, what, knob }, Arc::new(Semaphore::new(most)));
        Places(Arc::new(Shared { kind, free, shares: Mutex::default(), freed: Notify::new() }))
    }

    /// Takes a place for this peer.
    ///
    /// # Errors
    ///
    /// If no place is free, or the peer has its share.
    pub(crate) fn take(&self, peer: Peer) -> Result<Place<T>, Full> {
        let shares = self.0.lock();
        match Arc::clone(&self.0.free).try_acquire_owned() {
            Ok(permit) => self.0.give(permit, shares, peer),
            Err(_) => Err(Full { kind: self.0.kind, share: None }),
        }
    }

    /// Waits until a place is free, and reserves it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes no place.
    pub(crate) async fn wait(&self) -> Waiting<T> {
        let permit = Arc::clone(&self.0.free).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        Waiting { shared: Arc::clone(&self.0), permit }
    }

    /// Waits until the peer that has the place `held`, of another kind, can take a place of this kind.
    /// The tasks of a peer wait in line, and only the first of them competes with those of other peers:
    /// a place that is given back costs as much as there are peers, not tasks.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes no place, and leaves the line.
    pub(crate) async fn turn(&self, held: &Place<Line>) -> Place<T> {
        let _first = held.common().0.acquire().await.expect("the semaphore is never closed");
        loop {
            // From here on it hears of each place that is given back.
            let freed = self.0.freed.notified();
            match self.take(held.peer) {
                Ok(place) => return place,
                Err(_) => freed.await,
            }
        }
    }

    /// How many places are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.0.free.available_permits()
    }

    /// The error for every peer that asks now, if no place is free.
    pub(crate) fn is_full(&self) -> Option<Full> {
        let full = Full { kind: self.0.kind, share: None };
        (self.0.free.available_permits() == 0).then_some(full)
    }
}

impl<T> Clone for Places<T> {
    fn clone(&self) -> Places<T> {
        Places(Arc::clone(&self.0))
    }
}

impl<T: Clone + Default> Waiting<T> {
    /// Gives the place to this peer.
    ///
    /// # Errors
    ///
    /// If the peer has its share.
    pub(crate) fn give(self, peer: Peer) -> Result<Place<T>, Full> {
        self.shared.give(self.permit, self.shared.lock(), peer)
    }
}

impl<T: Clone + Default> Place<T> {
    /// Takes another place of the same kind for the same peer, as [`Places::take`] does.
    pub(crate) fn another(&self) -> Result<Place<T>, Full> {
        Places(Arc::clone(&self.shared)).take(self.peer)
    }
}

impl<T> Place<T> {
    /// The value that all places of the peer share.
    pub(crate) fn common(&self) -> &T {
        &self.common
    }
}

impl<T: Clone + Default> Shared<T> {
    fn give(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        mut shares: MutexGuard<'_, HashMap<Peer, Share<T>>>,
        peer: Peer,
    ) -> Result<Place<T>, Full> {
        let has = shares.get(&peer).map_or(0, |share| share.places);
        // The place of this permit was free, too.
        if peer.has_others() && has > self.free.available_permits() {
            // Drop it under the lock: the place may be the last one, and another peer may be about
            // to ask for it.
            drop(permit);
            return Err(Full { kind: self.kind, share: Some(has) });
        }
        let share = shares.entry(peer).or_insert_with(|| Share { places: 0, common: T::default() });
        share.places += 1;
        let common = share.common.clone();
        Ok(Place { shared: Arc::clone(self), peer, common, permit: Some(permit) })
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, Share<T>>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let mut shares = self.shared.lock();
        if let Some(share) = shares.get_mut(&self.peer) {
            share.places -= 1;
            if share.places == 0 {
                shares.remove(&self.peer);
            }
        }
        // Release it under the lock: no task may see a place as free that still counts in the
        // share.
        self.permit = None;
        drop(shares);
        self.shared.freed.notify_waiters();
    }
}

impl Full {
    pub(crate) fn knob(self) -> &'static str {
        self.kind.knob
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind { most, what, knob } = self.kind;
        match self.share {
            None => write!(f, "there are {most} {what}, as many as {knob} allows at once"),
            Some(has) => write!(
                f,
                "this peer has {has} of the {most} {what} that {knob} allows at once, and one peer \
                 has at most as many as are free"
            ),
        }
    }
}

impl Error for Full {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::iter::from_fn;
    use std::net::SocketAddr;

    use futures_util::FutureExt;

    use super::*;

    fn addr(text: &str) -> Peer {
        Peer::at(&text.parse::<SocketAddr>().unwrap().into())
    }

    fn places(most: usize) -> Places {
        Places::new(most, "tunnels", "--max-tunnels")
    }

    fn all(places: &Places, peer: Peer) -> Vec<Place> {
        from_fn(|| places.take(peer).ok()).collect()
    }

    #[test]
    fn each_peer_has_at_most_as_many_places_as_are_free() {
        let places = places(1024);
        let mut kept = Vec::new();
        for (n, count) in [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().enumerate() {
            let got = all(&places, addr(&format!("10.0.0.{n}:1")));
            assert_eq!(got.len(), count);
            kept.push(got);
        }
        let newcomer = addr("10.0.1.1:1");
        assert_eq!(all(&places, newcomer).len(), 1);
        kept[0].truncate(500);
        assert!(places.take(addr("10.0.0.0:2")).is_err(), "it has more than are free");
        assert!(places.take(newcomer).is_ok());
        drop(kept);
        assert_eq!(all(&places, addr("10.0.0.0:1")).len(), 512);
        assert!(places.0.lock().is_empty(), "nothing is kept of peers that have gone");
    }

    #[test]
    fn few_places_are_given_too() {
        for (most, has) in [(1, 1), (2, 1), (3, 2), (4, 2), (100, 50)] {
            assert_eq!(all(&places(most), addr("10.0.0.1:1")).len(), has, "{most}");
        }
    }

    #[test]
    fn the_last_place_is_for_a_peer_that_has_none() {
        for most in 1..40 {
            let places = places(most);
            let peers = [1, 2, 3].map(|n| addr(&format!("10.0.0.{n}:1")));
            let mut kept: Vec<Place> = Vec::new();
            // They take in turn until no one of them can.
            while let Some(place) = peers.iter().find_map(|peer| {
                let has = kept.iter().filter(|place| place.peer == *peer).count();
                let free = most - kept.len();
                let place = places.take(*peer).ok()?;
                assert!(free > 1 || has == 0, "{most}: the last for a peer that has {has}");
                Some(place)
            }) {
                kept.push(place);
            }
            assert!(most < 8 || kept.len() < most, "{most}: a fourth peer finds none");
        }
    }

    #[test]
    fn the_programs_of_this_machine_have_all_places_where_nobody_else_can_come() {
        for most in [1, 2, 3, 100] {
            let places = places(most);
            let kept = all(&places, Peer::LOCAL);
            assert_eq!(kept.len(), most);
            let full = places.take(Peer::LOCAL).unwrap_err();
            assert!(full.to_string().starts_with("there are "), "{full}");
        }
    }

    #[test]
    fn a_turn_is_a_peers_share_in_line_and_another_peer_does_not_wait_for_it() {
        let tunnels: Places<Line> = Places::new(100, "tunnels", "--max-tunnels");
        let lookups = places(4);
        let [one, two] = ["10.0.0.1:1", "10.0.0.2:1"].map(addr);
        let ones: Vec<_> = (0..5).map(|_| tunnels.take(one).unwrap()).collect();
        let mut turns: Vec<_> = ones.iter().map(|one| Box::pin(lookups.turn(one))).collect();
        let mut ready: Vec<Option<Place>> =
            turns.iter_mut().map(|turn| turn.now_or_never()).collect();
        assert_eq!(ready.iter().flatten().count(), 2, "half of 4");
        let two = tunnels.take(two).unwrap();
        let other = lookups.turn(&two).now_or_never().expect("a newcomer has its turn");
        assert!(turns[3].as_mut().now_or_never().is_none());
        // The first in line is served when a place is free, and the one behind it comes next.
        drop(other);
        drop(ready.remove(0));
        assert!(turns[3].as_mut().now_or_never().is_none(), "it is the second in line");
        let third = turns[2].as_mut().now_or_never().expect("the first in line");
        drop(third);
        let fourth = turns[3].as_mut().now_or_never().expect("it is the first now");
        drop(fourth);
    }

    #[tokio::test]
    async fn a_turn_comes_when_a_place_is_given_back_and_one_that_gives_up_holds_nobody_up() {
        let tunnels: Places<Line> = Places::new(100, "tunnels", "--max-tunnels");
        let lookups = places(1);
        let held = tunnels.take(addr("10.0.0.1:1")).unwrap();
        let taken = lookups.turn(&held).await;
        let given_up = Box::pin(lookups.turn(&held)).now_or_never();
        assert!(given_up.is_none());
        let (waiting, tunnels) = (lookups.clone(), tunnels.clone());
        let waits = tokio::spawn(async move {
            let held = tunnels.take(addr("10.0.0.1:1")).unwrap();
            waiting.turn(&held).await
        });
        tokio::task::yield_now().await;
        drop(taken);
        let _place = waits.await.unwrap();
        assert!(lookups.is_full().is_some());
    }

    #[tokio::test]
    async fn an_error_tells_a_full_house_from_a_share_that_is_used_up() {
        let (places, one, two) = (places(2), addr("10.0.0.1:1"), addr("10.0.0.2:1"));
        let first = places.wait().await.give(one).unwrap();
        let share = "this peer has 1 of the 2 tunnels that --max-tunnels allows at once, and one peer has \
                     at most as many as are free";
        assert_eq!(places.take(one).unwrap_err().to_string(), share);
        assert_eq!(places.wait().await.give(one).unwrap_err().to_string(), share);
        assert!(places.is_full().is_none(), "a refusal keeps no place");
        let _second = places.wait().await.give(two).unwrap();
        let full = "there are 2 tunnels, as many as --max-tunnels allows at once";
        assert_eq!(places.take(one).unwrap_err().to_string(), full);
        assert_eq!(places.is_full().unwrap().to_string(), full);
        drop(first);
        let _clone = places.clone().take(one).unwrap();
        self::places(usize::MAX).take(one).unwrap();
    }
}
