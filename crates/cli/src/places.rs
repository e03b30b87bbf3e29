//! Limits how much peers can have open: there is a fixed number of places, shared fairly among
//! peers.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use h2conn::Addr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// All places of one kind. Each thing that a peer opens takes one first. Clones share the places.
///
/// A peer gets another place only while it has fewer than are free. A peer that wants all of them
/// gets half, and the next such peer half of the rest, so a peer without a place finds one while
/// any is free. All places of a peer share one `T`.
#[derive(Debug)]
pub(crate) struct Places<T = ()>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    kind: Kind,
    /// Places are taken and given back under the lock of `shares`. Only [`Places::wait`] takes one
    /// before.
    free: Arc<Semaphore>,
    shares: Mutex<HashMap<Peer, Share<T>>>,
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

/// The clients that count as one peer: those whose addresses cost nothing to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer(Option<IpAddr>);

impl<T: Clone + Default> Places<T> {
    /// Makes `most` places for `what`, a plural, that the option `knob` sets.
    pub(crate) fn new(most: usize, what: &'static str, knob: &'static str) -> Places<T> {
        let most = most.min(Semaphore::MAX_PERMITS);
        let (kind, free) = (Kind { most, what, knob }, Arc::new(Semaphore::new(most)));
        Places(Arc::new(Shared { kind, free, shares: Mutex::default() }))
    }

    /// Takes a place for the peer at this address.
    ///
    /// # Errors
    ///
    /// If no place is free, or the peer has its share.
    pub(crate) fn take(&self, addr: &Addr) -> Result<Place<T>, Full> {
        let shares = self.0.lock();
        match Arc::clone(&self.0.free).try_acquire_owned() {
            Ok(permit) => self.0.give(permit, shares, addr),
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
    /// Gives the place to the peer at this address.
    ///
    /// # Errors
    ///
    /// If the peer has its share.
    pub(crate) fn give(self, addr: &Addr) -> Result<Place<T>, Full> {
        self.shared.give(self.permit, self.shared.lock(), addr)
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
        addr: &Addr,
    ) -> Result<Place<T>, Full> {
        let peer = Peer::at(addr);
        let has = shares.get(&peer).map_or(0, |share| share.places);
        // The place of this permit was free, too.
        if has > self.free.available_permits() {
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

impl Peer {
    fn at(addr: &Addr) -> Peer {
        let ip = addr.socket_addr().map(|addr| addr.ip().to_canonical());
        Peer(ip.map(|ip| match ip {
            // A host or a customer usually has all addresses of a /64 network.
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
            ip => ip,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::iter::from_fn;
    use std::net::SocketAddr;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<SocketAddr>().unwrap().into()
    }

    fn places(most: usize) -> Places {
        Places::new(most, "tunnels", "--max-tunnels")
    }

    fn all(places: &Places, addr: &Addr) -> Vec<Place> {
        from_fn(|| places.take(addr).ok()).collect()
    }

    #[test]
    fn each_peer_has_at_most_as_many_places_as_are_free() {
        let places = places(1024);
        let mut kept = Vec::new();
        for (n, count) in [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().enumerate() {
            let got = all(&places, &addr(&format!("10.0.0.{n}:1")));
            assert_eq!(got.len(), count);
            kept.push(got);
        }
        let newcomer = addr("10.0.1.1:1");
        assert_eq!(all(&places, &newcomer).len(), 1);
        kept[0].truncate(500);
        assert!(places.take(&addr("10.0.0.0:2")).is_err(), "it has more than are free");
        assert!(places.take(&newcomer).is_ok());
        drop(kept);
        assert_eq!(all(&places, &addr("10.0.0.0:1")).len(), 512);
        assert!(places.0.lock().is_empty(), "nothing is kept of peers that have gone");
    }

    #[test]
    fn few_places_are_given_too() {
        for (most, has) in [(1, 1), (2, 1), (3, 2), (4, 2), (100, 50)] {
            assert_eq!(all(&places(most), &addr("10.0.0.1:1")).len(), has, "{most}");
        }
    }

    #[tokio::test]
    async fn an_error_tells_a_full_house_from_a_share_that_is_used_up() {
        let (places, one, two) = (places(2), addr("10.0.0.1:1"), addr("10.0.0.2:1"));
        let first = places.wait().await.give(&one).unwrap();
        let share = "this peer has 1 of the 2 tunnels that --max-tunnels allows at once, and one peer has \
                     at most as many as are free";
        assert_eq!(places.take(&one).unwrap_err().to_string(), share);
        assert_eq!(places.wait().await.give(&one).unwrap_err().to_string(), share);
        assert!(places.is_full().is_none(), "a refusal keeps no place");
        let _second = places.wait().await.give(&two).unwrap();
        let full = "there are 2 tunnels, as many as --max-tunnels allows at once";
        assert_eq!(places.take(&one).unwrap_err().to_string(), full);
        assert_eq!(places.is_full().unwrap().to_string(), full);
        drop(first);
        let _clone = places.clone().take(&one).unwrap();
        self::places(usize::MAX).take(&one).unwrap();
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_of_64_bits_or_all_that_have_neither() {
        let same = |one: &Addr, other: &Addr| Peer::at(one) == Peer::at(other);
        assert!(same(&addr("10.0.0.1:1"), &addr("10.0.0.1:2")));
        assert!(same(&addr("10.0.0.1:1"), &addr("[::ffff:10.0.0.1]:1")));
        assert!(!same(&addr("10.0.0.1:1"), &addr("10.0.0.2:1")));
        assert!(same(&addr("[2001:db8::1]:1"), &addr("[2001:db8::ffff:0:0:2]:2")));
        assert!(!same(&addr("[2001:db8::1]:1"), &addr("[2001:db8:0:1::1]:1")));
        assert!(same(&Addr::Unix(None), &Addr::Other));
    }
}
