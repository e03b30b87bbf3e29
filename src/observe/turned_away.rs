//! Counts warnings that a peer can cause at will, such as that a limit has refused it: an operator is
//! told of the first at once, and then of numbers.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two warnings of one name.
const PAUSE: Duration = Duration::from_secs(10);

/// One entry for each name, which the library gives.
static ALL: Mutex<Vec<Limit>> = Mutex::new(Vec::new());

struct Limit {
    name: &'static str,
    said: Instant,
    unsaid: u64,
}

/// Counts one case. If it is time to report, returns how many are not yet reported.
pub(super) fn to_say(name: &'static str, now: Instant) -> Option<u64> {
    count(&mut ALL.lock().unwrap_or_else(PoisonError::into_inner), name, now)
}

fn count(all: &mut Vec<Limit>, name: &'static str, now: Instant) -> Option<u64> {
    let Some(limit) = all.iter_mut().find(|limit| limit.name == name) else {
        all.push(Limit { name, said: now, unsaid: 0 });
        return Some(1);
    };
    limit.unsaid += 1;
    if now.saturating_duration_since(limit.said) < PAUSE {
        return None;
    }
    limit.said = now;
    Some(std::mem::take(&mut limit.unsaid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_the_others_as_a_number() {
        let (start, mut all) = (Instant::now(), Vec::new());
        assert_eq!(count(&mut all, "one", start), Some(1));
        for _ in 0..100 {
            assert_eq!(count(&mut all, "one", start + PAUSE / 2), None);
        }
        assert_eq!(count(&mut all, "other", start + PAUSE / 2), Some(1), "each by itself");
        assert_eq!(count(&mut all, "one", start + PAUSE), Some(101));
        assert_eq!(count(&mut all, "one", start + PAUSE), None);
        assert_eq!(count(&mut all, "one", start + PAUSE * 2), Some(2));
    }
}
