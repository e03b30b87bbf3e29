//! The tasks that wait for one direction of a connection.

use std::task::{Context, Waker};

/// More different wakers than this, and all are woken to sort themselves out: a task that polls
/// with a new waker each time must not make the set grow.
const MOST: usize = 64;

/// Wakers of several tasks. A poll function does not know which task asks, so every task that
/// found nothing is kept, and all are woken.
#[derive(Debug, Default)]
pub(crate) struct WakerSet(Vec<Waker>);

impl WakerSet {
    /// Adds the task of `cx`, once.
    pub(crate) fn add(&mut self, cx: &Context<'_>) {
        let waker = cx.waker();
        if self.0.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        if self.0.len() >= MOST {
            self.wake_all();
        }
        self.0.push(waker.clone());
    }

    pub(crate) fn wake_all(&mut self) {
        for waker in self.0.drain(..) {
            waker.wake();
        }
    }

    /// Takes the wakers out, to wake them after a lock is let go.
    pub(crate) fn take(&mut self) -> WakerSet {
        WakerSet(std::mem::take(&mut self.0))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn every_task_is_woken_and_each_once() {
        let counts: Vec<_> = (0..3).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
        let mut set = WakerSet::default();
        for count in counts.iter().chain(&counts) {
            set.add(&Context::from_waker(&Waker::from(Arc::clone(count))));
        }
        set.wake_all();
        assert!(set.is_empty());
        assert!(counts.iter().all(|count| count.0.load(SeqCst) == 1));
    }

    #[test]
    fn a_task_with_ever_new_wakers_does_not_make_the_set_grow() {
        let mut set = WakerSet::default();
        for _ in 0..10 * MOST {
            set.add(&Context::from_waker(&Waker::from(Arc::new(Count(AtomicUsize::new(0))))));
            assert!(set.0.len() <= MOST);
        }
    }
}
