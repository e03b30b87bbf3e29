//! Places for transfers: how many there are, and how many of them one peer may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use h2conn::Addr;
use tokio::sync::Semaphore;

use super::digests;

/// All places. Each transfer takes one before it opens anything.
///
/// A peer gets another place only while it has fewer than are free, so that one that wants all of
/// them has half, the next one half of what is left, and a peer that has none finds one while there
/// is any.
#[derive(Clone, Debug)]
pub(crate) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// None is 0.
    of: HashMap<Peer, Share>,
}

#[derive(Debug)]
struct Share {
    places: usize,
    turns: Arc<Semaphore>,
}

/// A place, for as long as it is kept.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Arc<Shared>,
    peer: Peer,
    turns: Arc<Semaphore>,
}

/// Clients that cannot be told apart by an address which costs something to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Peer(Option<IpAddr>);

impl Places {
    pub(crate) fn new(most: usize) -> Places {
        Places(Arc::new(Shared { most, taken: Mutex::default() }))
    }

    pub(crate) fn most(&self) -> usize {
        self.0.most
    }

    /// A place for a transfer of the peer at this address, unless it has its share.
    pub(crate) fn take(&self, addr: &Addr) -> Option<Place> {
        let peer = Peer::at(addr);
        let mut taken = self.0.lock();
        let free = self.0.most - taken.all;
        let has = taken.of.get(&peer).map_or(0, |share| share.places);
        if has >= free {
            return None;
        }
        taken.all += 1;
        let share = taken.of.entry(peer);
        let share = share.or_insert_with(|| Share { places: 0, turns: digests::turns() });
        share.places += 1;
        let turns = Arc::clone(&share.turns);
        Some(Place { shared: Arc::clone(&self.0), peer, turns })
    }
}

impl Place {
    /// The turns of the peer, at digests.
    pub(super) fn turns(&self) -> &Arc<Semaphore> {
        &self.turns
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        taken.all -= 1;
        if let Some(share) = taken.of.get_mut(&self.peer) {
            share.places -= 1;
            if share.places == 0 {
                taken.of.remove(&self.peer);
            }
        }
    }
}

impl Peer {
    fn at(addr: &Addr) -> Peer {
        let ip = addr.socket_addr().map(|addr| addr.ip().to_canonical());
        Peer(ip.map(|ip| match ip {
            // A host, or a customer, has all addresses of a network of 64 bits.
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

    fn all(places: &Places, addr: &Addr) -> Vec<Place> {
        from_fn(|| places.take(addr)).collect()
    }

    #[test]
    fn each_peer_has_at_most_as_many_places_as_are_free() {
        let places = Places::new(1024);
        let mut kept = Vec::new();
        for (n, count) in [512, 256, 128, 64, 32, 16, 8, 4, 2, 1].into_iter().enumerate() {
            let got = all(&places, &addr(&format!("10.0.0.{n}:1")));
            assert_eq!(got.len(), count);
            kept.push(got);
        }
        let newcomer = addr("10.0.1.1:1");
        assert_eq!(all(&places, &newcomer).len(), 1);
        kept[0].truncate(500);
        assert!(places.take(&addr("10.0.0.0:2")).is_none(), "it has more than are free");
        assert!(places.take(&newcomer).is_some());
        drop(kept);
        assert_eq!(all(&places, &addr("10.0.0.0:1")).len(), 512);
        assert!(places.0.lock().of.is_empty(), "nothing is kept of peers that have gone");
    }

    #[test]
    fn few_places_are_given_too() {
        for (most, has) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
            assert_eq!(all(&Places::new(most), &addr("10.0.0.1:1")).len(), has, "{most}");
        }
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
