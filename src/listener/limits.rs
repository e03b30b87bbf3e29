//! The caps on a listener's clients, and the counts behind them.
//!
//! A client is a stranger until something on its link was accepted. When all places are taken, the
//! oldest stranger of the network that has most strangers must go. So an address that opens links
//! without end takes only its own places, and not those of other addresses.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::conn::Addr;
use crate::sync::{Mutex, lock};

/// The most clients over a cap that are told so at once. The sockets of further clients are closed
/// without a word, so refusing costs no more than this many handshakes.
const REFUSALS: usize = 64;

/// Before this time, clients of one network do not push each other out. Otherwise a crowd that
/// comes at once would never complete its handshakes.
const STAY: Duration = Duration::from_secs(1);

/// The name of the knob that strangers are sent away for.
pub(super) const MAX_LINKS: &str = "max_links";

/// The caps, and how much of each is used.
#[derive(Debug)]
pub(super) struct Limits {
    links: usize,
    links_per_addr: Option<usize>,
    counts: Mutex<Counts>,
    handshaking: watch::Sender<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Links, and sockets that will become links.
    pub(super) sockets: usize,
    refusing: usize,
    /// Kept only if addresses have a cap.
    by_addr: HashMap<IpAddr, usize>,
    /// The strangers of each network, by age. Strangers without a network share one entry.
    strangers: HashMap<Option<IpAddr>, BTreeMap<u64, Stranger>>,
    /// The number of the next stranger.
    next: u64,
    pub(super) refused_by_max_links: u64,
    pub(super) refused_by_max_links_per_addr: u64,
    pub(super) accept_errors: u64,
}

/// A client without an accepted request.
#[derive(Debug)]
struct Stranger {
    came: Instant,
    leave: Arc<Notify>,
}

/// The decision on a socket that was accepted.
pub(super) enum Admission {
    Welcome(Slot),
    /// The client is told which cap it is over.
    Refused(Refusal),
    /// The socket is closed, because too many clients are being told so already.
    Ignored(Cap),
}

/// A cap that a client has exceeded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cap {
    Links(usize),
    LinksPerAddr(usize),
}

impl Cap {
    /// The name of the knob.
    pub(super) fn name(self) -> &'static str {
        match self {
            Cap::Links(_) => MAX_LINKS,
            Cap::LinksPerAddr(_) => "max_links_per_addr",
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cap::Links(most) => {
                write!(f, "the server has all the links that it takes (max_links is {most})")
            }
            Cap::LinksPerAddr(most) => write!(
                f,
                "the server has all the links that it takes from one address \
                 (max_links_per_addr is {most})"
            ),
        }
    }
}

impl Limits {
    pub(super) fn new(links: usize, links_per_addr: Option<usize>) -> Arc<Limits> {
        let handshaking = watch::Sender::new(0);
        Arc::new(Limits { links, links_per_addr, counts: Mutex::default(), handshaking })
    }

    /// Decides on a socket that was just accepted.
    pub(super) fn admit(self: &Arc<Self>, peer: &Addr) -> Admission {
        let mut counts = lock(&self.counts);
        let home = match peer {
            Addr::Ip(addr) => Some(network(addr.ip())),
            _ => None,
        };
        let network = self.links_per_addr.and(home);
        let of_network = network.and_then(|network| counts.by_addr.get(&network)).copied();
        let cap = match self.links_per_addr {
            Some(most) if of_network.unwrap_or(0) >= most => {
                counts.refused_by_max_links_per_addr += 1;
                Some(Cap::LinksPerAddr(most))
            }
            _ if counts.sockets >= self.links => {
                counts.refused_by_max_links += 1;
                // A stranger that was sent away keeps its place a moment longer.
                let is_crowded = counts.sockets >= self.links + REFUSALS;
                (is_crowded || !counts.send_a_stranger_away(home)).then_some(Cap::Links(self.links))
            }
            _ => None,
        };
        match cap {
            Some(cap) if counts.refusing >= REFUSALS => Admission::Ignored(cap),
            Some(cap) => {
                counts.refusing += 1;
                Admission::Refused(Refusal { limits: Arc::clone(self), cap })
            }
            None => {
                counts.sockets += 1;
                self.handshaking.send_modify(|handshaking| *handshaking += 1);
                if let Some(network) = network {
                    *counts.by_addr.entry(network).or_default() += 1;
                }
                let (number, leave) = (counts.next, Arc::new(Notify::new()));
                counts.next += 1;
                let stranger = Stranger { came: Instant::now(), leave: Arc::clone(&leave) };
                counts.strangers.entry(home).or_default().insert(number, stranger);
                let (limits, handshaking) = (Arc::clone(self), true);
                Admission::Welcome(Slot { limits, network, home, number, leave, handshaking })
            }
        }
    }

    pub(super) fn note_accept_error(&self) {
        lock(&self.counts).accept_errors += 1;
    }

    /// Sockets that are not links yet.
    pub(super) fn handshaking(&self) -> usize {
        *self.handshaking.borrow()
    }

    /// Waits until all sockets are links, or closed.
    pub(super) async fn no_handshakes(&self) {
        // Waiting fails only when the sender is gone, and `self` is the sender.
        let _ = self.handshaking.subscribe().wait_for(|handshaking| *handshaking == 0).await;
    }

    /// Reads the counts under their lock.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Counts) -> T) -> T {
        look(&lock(&self.counts))
    }
}

impl Counts {
    /// Sends away the oldest stranger of the network that has most strangers, for a client of
    /// `home`. If it would have no more than `home` then, the oldest stranger of all such networks
    /// goes, once it has had its time: one customer can have as many networks as there are places.
    /// Returns `false` if no stranger should go.
    fn send_a_stranger_away(&mut self, home: Option<IpAddr>) -> bool {
        let own = self.strangers.get(&home).map_or(0, BTreeMap::len);
        let largest = self.strangers.iter().max_by_key(|(_, strangers)| strangers.len());
        let Some((largest, most)) = largest.map(|(network, all)| (*network, all.len())) else {
            return false;
        };
        let (network, has_time) = if largest == home {
            (home, true)
        } else if most > own + 1 {
            (largest, false)
        } else {
            let alike = self.strangers.iter().filter(|(_, strangers)| strangers.len() == most);
            // Strangers are numbered as they come.
            let first = |strangers: &BTreeMap<u64, Stranger>| Some(*strangers.first_key_value()?.0);
            let oldest = alike.min_by_key(|(_, strangers)| first(strangers).unwrap_or(u64::MAX));
            (oldest.map_or(largest, |(network, _)| *network), true)
        };
        let strangers = self.strangers.get_mut(&network);
        let Some(oldest) = strangers.and_then(BTreeMap::first_entry) else { return false };
        if has_time && oldest.get().came.elapsed() < STAY {
            return false;
        }
        oldest.remove().leave.notify_one();
        true
    }

    fn remove_stranger(&mut self, home: Option<IpAddr>, number: u64) {
        if let Some(strangers) = self.strangers.get_mut(&home) {
            strangers.remove(&number);
            if strangers.is_empty() {
                self.strangers.remove(&home);
            }
        }
    }
}

/// The place of one client's socket, from its acceptance until it is closed.
#[derive(Debug)]
pub(super) struct Slot {
    limits: Arc<Limits>,
    network: Option<IpAddr>,
    home: Option<IpAddr>,
    /// Its number among the strangers.
    number: u64,
    leave: Arc<Notify>,
    handshaking: bool,
}

impl Slot {
    /// Marks the client as known, because something of it was accepted.
    pub(super) fn is_known(&self) {
        lock(&self.limits.counts).remove_stranger(self.home, self.number);
    }

    /// Waits until another client needs the place of this stranger.
    pub(super) async fn must_leave(&self) {
        self.leave.notified().await;
    }

    /// Counts the handshakes as complete.
    pub(super) fn establish(&mut self) {
        if std::mem::replace(&mut self.handshaking, false) {
            self.limits.handshaking.send_modify(|handshaking| *handshaking -= 1);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.establish();
        let mut counts = lock(&self.limits.counts);
        counts.sockets -= 1;
        counts.remove_stranger(self.home, self.number);
        if let Some(network) = self.network
            && let Entry::Occupied(mut entry) = counts.by_addr.entry(network)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// A place for a client that is being told that it is over a cap.
#[derive(Debug)]
pub(super) struct Refusal {
    limits: Arc<Limits>,
    pub(super) cap: Cap,
}

impl Drop for Refusal {
    fn drop(&mut self) {
        lock(&self.limits.counts).refusing -= 1;
    }
}

/// The network that an address counts for. The owner of an IPv6 address has the /64 around it.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> Addr {
        Addr::Ip((ip.parse::<IpAddr>().expect(ip), 1000).into())
    }

    #[track_caller]
    fn welcome(limits: &Arc<Limits>, ip: &str) -> Slot {
        match limits.admit(&from(ip)) {
            Admission::Welcome(slot) => slot,
            _ => panic!("{ip} is refused: {limits:?}"),
        }
    }

    #[test]
    fn sockets_are_counted_until_they_are_closed() {
        let limits = Limits::new(2, None);
        let mut first = welcome(&limits, "10.0.0.1");
        let second = welcome(&limits, "10.0.0.1");
        first.is_known();
        second.is_known();
        assert!(matches!(limits.admit(&Addr::Other), Admission::Refused(_)));
        first.establish();
        first.establish();
        assert_eq!((limits.read(|counts| counts.sockets), limits.handshaking()), (2, 1));
        drop(second);
        assert_eq!((limits.read(|counts| counts.sockets), limits.handshaking()), (1, 0));
        drop(welcome(&limits, "10.0.0.2"));
        drop(first);
        assert_eq!(limits.read(|counts| counts.sockets), 0);
        assert_eq!(limits.read(|counts| counts.refused_by_max_links), 1);
    }

    /// Whether the stranger was told to go.
    fn leaves(slot: &Slot) -> bool {
        let mut leaving = std::pin::pin!(slot.must_leave());
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        leaving.as_mut().poll(cx).is_ready()
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_stranger_of_the_network_with_most_makes_room_and_no_known_client_does() {
        let limits = Limits::new(6, None);
        let known = welcome(&limits, "10.0.0.1");
        known.is_known();
        let hogs = [(); 4].map(|()| welcome(&limits, "10.0.0.1"));
        let other = welcome(&limits, "10.0.0.2");
        // For a newcomer of another network, and then for one of the same network.
        let newcomer = welcome(&limits, "10.0.0.3");
        assert!(leaves(&hogs[0]) && !leaves(&hogs[1]));
        assert!(matches!(limits.admit(&from("10.0.0.1")), Admission::Refused(_)), "not so soon");
        tokio::time::advance(STAY).await;
        let again = welcome(&limits, "10.0.0.1");
        assert!(leaves(&hogs[1]) && !leaves(&hogs[2]));
        assert_eq!(limits.read(|counts| counts.sockets), 8, "those who leave are still there");
        for slot in [&known, &other, &newcomer, &again] {
            assert!(!leaves(slot));
        }
        let [first, second, third, fourth] = hogs;
        drop((first, second));
        assert_eq!(limits.read(|counts| counts.sockets), 6);
        drop((third, fourth, again));
        let full = [(); 3].map(|()| welcome(&limits, "10.0.0.2"));
        assert!(!full.iter().any(leaves));
        for slot in full.iter().chain([&other, &newcomer]) {
            slot.is_known();
        }
        assert!(matches!(limits.admit(&from("10.0.0.9")), Admission::Refused(_)), "all are known");
        drop((known, other, newcomer, full));
        assert!(lock(&limits.counts).strangers.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn networks_with_as_many_strangers_push_out_the_oldest_once_it_has_had_its_time() {
        let limits = Limits::new(2, None);
        let slots = [welcome(&limits, "10.0.0.1"), welcome(&limits, "10.0.0.2")];
        assert!(matches!(limits.admit(&from("10.0.0.3")), Admission::Refused(_)));
        assert!(!slots.iter().any(leaves));
        tokio::time::advance(STAY).await;
        let third = welcome(&limits, "10.0.0.3");
        assert!(leaves(&slots[0]) && !leaves(&slots[1]) && !leaves(&third));
        // A network that has most pushes out its own, and nobody else's.
        let limits = Limits::new(3, None);
        let alone = welcome(&limits, "10.0.0.2");
        let crowd = [welcome(&limits, "10.0.0.1"), welcome(&limits, "10.0.0.1")];
        tokio::time::advance(STAY).await;
        let _more = welcome(&limits, "10.0.0.1");
        assert!(leaves(&crowd[0]) && !leaves(&crowd[1]) && !leaves(&alone));
    }

    #[test]
    fn an_ipv4_address_and_the_64_of_an_ipv6_address_count_as_one() {
        let limits = Limits::new(100, Some(1));
        let refused = |ip: &str| matches!(limits.admit(&from(ip)), Admission::Refused(_));
        let _v4 = welcome(&limits, "10.0.0.1");
        let _v6 = welcome(&limits, "2001:db8:0:1::1");
        assert!(refused("10.0.0.1"));
        assert!(refused("::ffff:10.0.0.1"), "the same address, as an IPv6 socket has it");
        assert!(refused("2001:db8:0:1:ffff::2"));
        let _others = [welcome(&limits, "10.0.0.2"), welcome(&limits, "2001:db8:0:2::1")];
        drop(welcome(&limits, "10.0.0.3"));
        assert_eq!(lock(&limits.counts).by_addr.len(), 4, "addresses that are gone leave nothing");
        assert_eq!(limits.read(|counts| counts.refused_by_max_links_per_addr), 3);
    }

    #[test]
    fn so_many_are_told_that_they_are_refused_and_no_more() {
        let limits = Limits::new(1, None);
        let slot = welcome(&limits, "10.0.0.1");
        slot.is_known();
        let mut told = Vec::new();
        for _ in 0..REFUSALS {
            match limits.admit(&Addr::Other) {
                Admission::Refused(refusal) => told.push(refusal),
                _ => panic!("{} are told so far", told.len()),
            }
        }
        assert!(matches!(limits.admit(&Addr::Other), Admission::Ignored(_)));
        told.pop();
        assert!(matches!(limits.admit(&Addr::Other), Admission::Refused(_)));
        assert_eq!(limits.read(|counts| counts.refused_by_max_links), 66);
    }
}
