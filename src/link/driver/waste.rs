//! Wasted requests of a server's peer: refused for lack of a place or of memory, or taken back
//! before they were accepted.

use std::time::Duration;

use h2conn_engine::Reason;
use tokio::time::Instant;

use super::{Driver, Timer};
use crate::error::Ending;
use crate::link::entry::Head;

/// A peer with this many wasted requests, beyond its answered ones, is read more slowly. A client
/// that is closed with as many requests in transit as it may have is still read at full speed.
const SLOW: u32 = 8_192;

/// A peer with this many is cut off, unless one of its streams is accepted and open. HTTP/2 also
/// counts the requests that the peer resets or makes this side reset, and its limits are met first.
const MOST: u32 = 24_576;

/// Both limits, for the document that states them.
#[cfg(test)]
pub(crate) const WASTE: (u32, u32) = (SLOW, MOST);

/// This many a second are forgiven.
const FORGIVEN: f64 = 1_000.0;

/// How long a slowed link rests after each read.
const REST: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Waste {
    level: u32,
    /// The time up to which requests were forgiven.
    since: Option<Instant>,
    /// Reading goes on at this time.
    pub(super) rests_until: Option<Instant>,
}

impl Waste {
    /// Counts one more wasted request, and returns the present count.
    fn add(&mut self, now: Instant) -> u32 {
        let since = *self.since.get_or_insert(now);
        let forgiven = ((now - since).as_secs_f64() * FORGIVEN) as u32;
        if forgiven > 0 {
            self.level = self.level.saturating_sub(forgiven);
            self.since = Some(now);
        }
        self.level += 1;
        self.level
    }

    /// An answered request makes up for a wasted one.
    pub(super) fn make_up(&mut self) {
        self.level = self.level.saturating_sub(1);
    }
}

impl Driver {
    /// Whether a stream is open that was accepted.
    fn has_accepted(&self) -> bool {
        self.streams.iter().any(|(_, entry)| {
            !entry.over && matches!(entry.head, Head::Done) && !entry.stream.is_refused()
        })
    }

    /// Counts a wasted request. A link that has only such requests is slowed, and then cut off.
    pub(super) fn count_waste(&mut self) {
        let now = Instant::now();
        let level = self.waste.add(now);
        if level > MOST && self.end.is_none() {
            if self.has_accepted() {
                // A proxy's clients must not suffer when the server is at its limits.
                self.waste.level = SLOW;
                return;
            }
            let why = "requests that are refused or taken back pile up";
            self.say_goodbye(Reason::ENHANCE_YOUR_CALM, why);
            self.give_up(Ending::Violation(Reason::ENHANCE_YOUR_CALM, why.into()));
        } else if level > SLOW && self.waste.rests_until.is_none() {
            self.waste.rests_until = Some(now + REST);
            self.timers.insert(Timer::Rest, REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgiven_and_made_up_for_does_not_count() {
        let start = Instant::now();
        let mut waste = Waste::default();
        for n in 1..=100 {
            assert_eq!(waste.add(start), n);
        }
        assert_eq!(waste.add(start + Duration::from_millis(50)), 51);
        assert_eq!(waste.add(start + Duration::from_millis(50)), 52);
        waste.make_up();
        assert_eq!(waste.add(start + Duration::from_millis(50)), 52);
        assert_eq!(waste.add(start + Duration::from_secs(10)), 1);
    }

    #[test]
    fn time_that_is_too_short_to_forgive_adds_up() {
        let start = Instant::now();
        let mut waste = Waste::default();
        for n in 0..2_000 {
            waste.add(start + Duration::from_micros(500) * n);
        }
        assert!((990..=1_010).contains(&waste.level), "{waste:?}");
    }
}
