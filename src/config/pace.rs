//! How much slower than configured PINGs are sent, because a peer has asked for that.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::sync::AtomicU8;

/// The longest interval.
const MOST: Duration = Duration::from_secs(60 * 60);

/// Shared by a client's links to one origin, so that all of them and all later ones heed the
/// complaint of one. A listener's links have one each.
pub(crate) struct Pace {
    doublings: AtomicU8,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { doublings: AtomicU8::new(0) }
    }
}

impl Pace {
    /// How often the interval has been doubled.
    pub(crate) fn doublings(&self) -> u8 {
        self.doublings.load(Relaxed)
    }

    /// Slows down because the peer has ended a link with too many PINGs. The link was made after
    /// this many doublings. Complaints of links that were made together count once, and the others
    /// return `false`.
    pub(crate) fn slow_down(&self, doublings: u8) -> bool {
        let slower = doublings.saturating_add(1).min(31);
        self.doublings.compare_exchange(doublings, slower, Relaxed, Relaxed).is_ok()
    }

    /// Whether a peer has asked for fewer PINGs.
    pub(crate) fn is_slowed(&self) -> bool {
        self.doublings.load(Relaxed) > 0
    }

    /// The interval to keep in place of the configured one.
    pub(crate) fn apply(&self, interval: Duration) -> Duration {
        let factor = 1 << self.doublings.load(Relaxed).min(31);
        interval.saturating_mul(factor).min(MOST.max(interval))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pace({})", self.doublings.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_doubles_with_each_complaint_up_to_an_hour() {
        let pace = Pace::default();
        let second = Duration::from_secs(1);
        assert_eq!((pace.apply(30 * second), pace.is_slowed()), (30 * second, false));
        assert!(pace.slow_down(0));
        assert_eq!((pace.apply(30 * second), pace.is_slowed()), (60 * second, true));
        assert!(!pace.slow_down(0));
        assert_eq!(pace.apply(30 * second), 60 * second, "that was known");
        for _ in 0..100 {
            pace.slow_down(pace.doublings());
        }
        assert_eq!(pace.apply(30 * second), MOST);
        assert_eq!(pace.apply(MOST * 2), MOST * 2, "what is longer already is left alone");
    }
}
