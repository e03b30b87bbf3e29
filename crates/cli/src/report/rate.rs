//! Limits how often a peer can cause the same kind of line.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use h2conn::Addr;

/// Messages of one kind about one peer that are printed at once. A message is a line, or the lines of
/// `-v` about one event.
const BURST: u32 = 10;

/// After the burst, one message is printed in each period.
const PERIOD: Duration = Duration::from_secs(1);

/// Messages about all hosts together that are printed at once. An attacker can have any number of
/// addresses.
const BURST_OF_ALL: u32 = 100;

/// After that burst, one message about any host is printed in each period.
const PERIOD_OF_ALL: Duration = Duration::from_millis(100);

/// Pairs of a peer and a kind that are counted separately. All further peers share one entry for
/// each kind, or clients with many addresses could fill the memory.
const ROOM: usize = 1024;

/// How long a kind of line must have stopped before the number of dropped lines is printed.
const QUIET: Duration = Duration::from_secs(10);

/// The subject of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum About {
    /// A host. All addresses of a /64 are one host, because an IPv6 host has that many.
    Host(IpAddr),
    /// No particular host, for example this program, or the peers of a Unix socket.
    All,
}

impl From<IpAddr> for About {
    fn from(ip: IpAddr) -> About {
        About::Host(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
            ip => ip,
        })
    }
}

impl From<SocketAddr> for About {
    fn from(addr: SocketAddr) -> About {
        addr.ip().into()
    }
}

impl From<&Addr> for About {
    fn from(addr: &Addr) -> About {
        addr.socket_addr().map_or(About::All, About::from)
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            About::Host(ip) => write!(f, "{ip}"),
            About::All => f.write_str("h2conn"),
        }
    }
}

/// Recent lines, counted in a bounded table.
///
/// The crate `governor` does not count the lines that it refuses, and its table has no bound.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    lately: HashMap<(About, &'static str), Lately>,
    /// Like [`Lately::even_at`], of the messages about all hosts together.
    even_at: Option<Instant>,
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Lately {
    /// The time at which all lines so far would have been printed at one per period (the generic
    /// cell rate algorithm).
    even_at: Instant,
    left_out: u64,
}

impl Limiter {
    /// Whether a line of this `kind` is printed now. If so, returns how many such lines were
    /// dropped before it.
    pub(super) fn admit(&mut self, about: About, kind: &'static str, now: Instant) -> Option<u64> {
        let mut key = (about, kind);
        if self.lately.len() >= ROOM && !self.lately.contains_key(&key) {
            self.forget(now);
            if self.lately.len() >= ROOM {
                key.0 = About::All;
            }
        }
        let fresh = Lately { even_at: now, left_out: 0 };
        let of_all = self.even_at.unwrap_or(now).max(now);
        let lately = self.lately.entry(key).or_insert(fresh);
        let even_at = lately.even_at.max(now);
        if even_at - now > PERIOD * (BURST - 1) {
            lately.left_out += 1;
            return None;
        }
        if about != About::All {
            if of_all - now > PERIOD_OF_ALL * (BURST_OF_ALL - 1) {
                // Counted together: a count for each of many hosts would be many lines again.
                let together = self.lately.entry((About::All, kind)).or_insert(fresh);
                together.left_out += 1;
                // The kind has not stopped.
                together.even_at = together.even_at.max(now);
                return None;
            }
            self.even_at = Some(of_all + PERIOD_OF_ALL);
        }
        lately.even_at = even_at + PERIOD;
        Some(std::mem::take(&mut lately.left_out))
    }

    /// Removes old entries, at most once per period: the table can be full of entries that are
    /// still limited.
    fn forget(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now - swept < PERIOD) {
            return;
        }
        self.swept = Some(now);
        self.lately.retain(|_, lately| lately.even_at > now || lately.left_out > 0);
    }

    /// The counts of dropped lines that have stopped since, or `at_the_end` of all.
    pub(super) fn counts(&mut self, now: Instant, at_the_end: bool) -> Vec<String> {
        let mut counts = Vec::new();
        for ((about, kind), lately) in &mut self.lately {
            // `even_at` of a limited kind lies in the future.
            let has_stopped = now.saturating_duration_since(lately.even_at) >= QUIET;
            if lately.left_out > 0 && (has_stopped || at_the_end) {
                let left_out = std::mem::take(&mut lately.left_out);
                counts.push(self::left_out(*about, left_out, kind));
            }
        }
        counts
    }

    /// Whether there is a count that was not printed yet.
    pub(super) fn owes_counts(&self) -> bool {
        self.lately.values().any(|lately| lately.left_out > 0)
    }
}

/// The line with a count.
pub(super) fn left_out(about: About, lines: u64, kind: &str) -> String {
    format!("{about}: {lines} more lines were left out ({kind})")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "refused";

    fn host(n: u32) -> About {
        IpAddr::from(n.to_be_bytes()).into()
    }

    #[test]
    fn a_peer_has_ten_lines_of_a_kind_at_once_and_then_one_a_second() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let said = (0..1000).filter(|_| limiter.admit(host(1), KIND, now).is_some()).count();
        assert_eq!(said, 10);
        // Another peer, and another kind, have limits of their own.
        assert_eq!(limiter.admit(host(2), KIND, now), Some(0));
        assert_eq!(limiter.admit(host(1), "failed", now), Some(0));
        let later = now + PERIOD;
        assert_eq!(limiter.admit(host(1), KIND, later), Some(990));
        assert_eq!(limiter.admit(host(1), KIND, later), None);
        assert_eq!(limiter.admit(host(1), KIND, later + PERIOD * 20), Some(1));
    }

    #[test]
    fn lines_left_out_are_counted_once_they_have_stopped_or_at_the_end() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for _ in 0..15 {
            limiter.admit(host(0x7f00_0001), KIND, now);
        }
        assert!(limiter.counts(now + PERIOD * 2, false).is_empty() && limiter.owes_counts());
        let later = now + PERIOD * BURST + QUIET;
        let counts = limiter.counts(later, false);
        assert_eq!(counts, ["127.0.0.1: 5 more lines were left out (refused)"]);
        assert!(limiter.counts(later, true).is_empty() && !limiter.owes_counts());
    }

    #[test]
    fn peers_beyond_the_table_share_a_place_until_others_have_been_quiet() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        for n in 0..100_000 {
            limiter.admit(host(n), KIND, now);
        }
        assert!(limiter.lately.len() <= ROOM + 1, "{}", limiter.lately.len());
        assert_eq!(limiter.admit(host(200_000), KIND, now), None);
        assert!(limiter.admit(host(200_000), KIND, now + PERIOD * 2).is_some());
        assert!(limiter.lately.contains_key(&(host(200_000), KIND)));
    }

    #[test]
    fn all_hosts_together_have_a_hundred_lines_at_once_and_then_ten_a_second() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let mut printed = |hosts: std::ops::Range<u32>, at| {
            hosts.filter(|n| limiter.admit(host(*n), KIND, at).is_some()).count()
        };
        assert_eq!(printed(0..1000, now), 100);
        assert_eq!(printed(1000..2000, now + PERIOD), 10);
        // This program's own messages have their own limit.
        assert_eq!(limiter.admit(About::All, "accept", now + PERIOD), Some(0));
        // There is one count, and not one for each host.
        let counts = limiter.counts(now, true);
        assert_eq!(counts, ["h2conn: 1890 more lines were left out (refused)"]);
    }

    #[test]
    fn counts_of_all_hosts_wait_until_the_kind_has_stopped() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let (mut printed, mut counts) = (0, Vec::new());
        for n in 0..6000 {
            let at = now + Duration::from_millis(10) * n;
            printed += usize::from(limiter.admit(host(n), KIND, at).is_some());
            counts.extend(limiter.counts(at, false));
        }
        // 100 at once, and 10 a second for a minute.
        assert!((690..=710).contains(&printed), "{printed}");
        assert_eq!(counts, [""; 0]);
        let counts = limiter.counts(now + PERIOD * 60 + QUIET, false);
        let left_out = 6000 - printed;
        assert_eq!(counts, [format!("h2conn: {left_out} more lines were left out (refused)")]);
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_are_one() {
        let about = |text: &str| text.parse::<IpAddr>().map(About::from);
        assert_eq!(about("2001:db8::1"), about("2001:db8::ffff:1"));
        assert_ne!(about("2001:db8::1"), about("2001:db8:0:1::1"));
        assert_eq!(about("::ffff:10.0.0.1"), about("10.0.0.1"));
        assert_ne!(about("10.0.0.1"), about("10.0.0.2"));
    }
}
