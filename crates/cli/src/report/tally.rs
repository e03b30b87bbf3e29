//! Events that a peer can cause as often as it likes, said in one line a second.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// How often there is a line at most.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts events, and says how many there were: the first at once, and those that follow it together.
#[derive(Clone)]
pub(crate) struct Tally(Arc<Shared>);

struct Shared {
    say: Box<dyn Fn(u64) + Send + Sync>,
    /// Events since the last line; `None` when that is longer ago than the pause.
    since: Mutex<Option<u64>>,
}

impl Tally {
    /// One that says by `say` how many there were.
    pub(crate) fn new(say: impl Fn(u64) + Send + Sync + 'static) -> Tally {
        Tally(Arc::new(Shared { say: Box::new(say), since: Mutex::default() }))
    }

    /// Counts an event. It must be called in a runtime.
    pub(crate) fn count(&self) {
        {
            let mut since = self.0.lock();
            if let Some(count) = &mut *since {
                *count += 1;
                return;
            }
            *since = Some(0);
        }
        (self.0.say)(1);
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            loop {
                sleep(PAUSE).await;
                let count = {
                    let mut since = shared.lock();
                    let count = since.unwrap_or(0);
                    *since = (count > 0).then_some(0);
                    count
                };
                match count {
                    0 => return,
                    count => (shared.say)(count),
                }
            }
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tally").field(&self.0.since).finish()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_event_is_said_at_once_and_those_behind_it_once_a_second() {
        let (sender, mut said) = tokio::sync::mpsc::unbounded_channel();
        let tally = Tally::new(move |count| sender.send(count).unwrap());
        for _ in 0..100 {
            tally.count();
        }
        assert_eq!(said.recv().await, Some(1));
        assert!(said.try_recv().is_err());
        assert_eq!(said.recv().await, Some(99));
        tally.count();
        tally.count();
        assert!(said.try_recv().is_err());
        assert_eq!(said.recv().await, Some(2));
        sleep(PAUSE * 2).await;
        tally.count();
        assert_eq!(said.try_recv(), Ok(1));
    }
}
