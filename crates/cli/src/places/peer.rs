//! Which clients count as one.

use std::net::{IpAddr, Ipv6Addr};

use h2conn::Addr;

/// The clients that count as one peer: those whose addresses cost nothing to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer(Option<IpAddr>);

impl Peer {
    /// The programs of this machine, where nobody else can come: at a listener on a loopback address
    /// or a Unix socket. They may have all places, because no other peer could use those that are
    /// kept free. Loopback has millions of addresses, and a proxy one, so that no address would tell
    /// these programs apart.
    pub(crate) const LOCAL: Peer = Peer(None);

    /// The peer at this address: a host, or an IPv6 network of 64 bits.
    pub(crate) fn at(addr: &Addr) -> Peer {
        let ip = addr.socket_addr().map(|addr| addr.ip().to_canonical());
        Peer(ip.map(|ip| match ip {
            // A host, or a customer, has all addresses of a network of 64 bits.
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
            ip => ip,
        }))
    }

    /// The peer at `addr`, as seen by a listener on `own`.
    pub(crate) fn of(own: IpAddr, addr: &Addr) -> Peer {
        match own.to_canonical().is_loopback() {
            true => Peer::LOCAL,
            false => Peer::at(addr),
        }
    }

    /// Whether places are kept free for other peers.
    pub(crate) fn has_others(self) -> bool {
        self != Peer::LOCAL
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::net::SocketAddr;

    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<SocketAddr>().unwrap().into()
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

    #[test]
    fn all_who_can_reach_a_loopback_address_or_a_unix_socket_are_local() {
        for own in ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"] {
            let own = own.parse().unwrap();
            assert_eq!(Peer::of(own, &addr("127.0.0.9:1")), Peer::LOCAL, "{own}");
        }
        for own in ["0.0.0.0", "::", "10.0.0.1"] {
            let own = own.parse().unwrap();
            // A proxy on this machine must not take the places of those who come directly.
            assert!(Peer::of(own, &addr("127.0.0.1:1")).has_others(), "{own}");
        }
        assert_eq!(Peer::at(&Addr::Unix(None)), Peer::LOCAL);
    }
}
