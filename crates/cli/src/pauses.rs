//! When something that failed is tried again.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// The pauses between attempts: each twice the last, give or take a quarter, so that clients of a
/// server that comes back do not all come at once.
#[derive(Debug, Default)]
pub(crate) struct Pauses(u32);

impl Pauses {
    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(60);

    /// The pause after an attempt, or a connection, that took so long.
    pub(crate) fn next(&mut self, lasted: Duration) -> Duration {
        if lasted > Pauses::LONGEST {
            self.0 = 0;
        }
        let pause = Pauses::FIRST.saturating_mul(1 << self.0.min(10)).min(Pauses::LONGEST);
        self.0 += 1;
        // The standard library's only source of chance.
        let dice = RandomState::new().build_hasher().finish() % 1000;
        pause.mul_f64(0.75 + dice as f64 / 2000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_connection_that_lasted() {
        let mut pauses = Pauses::default();
        let around = |pause: Duration, millis: u64| {
            let ratio = pause.as_secs_f64() * 1000.0 / millis as f64;
            assert!((0.75..=1.25).contains(&ratio), "{pause:?} is not around {millis} ms");
        };
        for millis in [200, 400, 800] {
            around(pauses.next(Duration::ZERO), millis);
        }
        for _ in 0..100 {
            pauses.next(Duration::ZERO);
        }
        around(pauses.next(Duration::ZERO), 60_000);
        around(pauses.next(Duration::from_secs(61)), 200);
    }
}
