//! The tasks that wait for one direction of a connection.

use std::task::{Context, Waker};

/// With more different wakers than this, all are woken and the set starts anew, because a task that
/// polls with a new waker each time must not make the set grow. If so many tasks really wait, they
/// come back, and the set may be twice as large until the awaited event.
const MOST: usize = 64;

/// Wakers of several tasks. A poll function does not know which task asks, so every task that found
/// nothing is kept, and all are woken.
///
/// Nearly always there is one waker, which needs no allocation.
#[derive(Debug, Default)]
pub(crate) struct WakerSet {
    first: Option<Waker>,
    more: Vec<Waker>,
    doublings: u32,
}

impl WakerSet {
    /// Adds the task of `cx`, once.
    pub(crate) fn add(&mut self, cx: &Context<'_>) {
        let waker = cx.waker();
        if self.first.iter().chain(&self.more).any(|known| known.will_wake(waker)) {
            return;
        }
        if self.more.len() >= MOST << self.doublings {
            let doublings = self.doublings + 1;
            self.wake_all();
            self.doublings = doublings;
        }
        match self.first {
            None => self.first = Some(waker.clone()),
            Some(_) => self.more.push(waker.clone()),
        }
    }

    pub(crate) fn wake_all(&mut self) {
        self.doublings = 0;
        for waker in self.first.take().into_iter().chain(self.more.drain(..)) {
            waker.wake();
        }
    }

    /// Takes the wakers out, to wake them after a lock is released.
    pub(crate) fn take(&mut self) -> WakerSet {
        std::mem::take(self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Woken;

    #[test]
    fn every_task_is_woken_and_each_once() {
        let tasks: Vec<_> = (0..3).map(|_| Woken::new()).collect();
        let mut set = WakerSet::default();
        for (_, waker) in tasks.iter().chain(&tasks) {
            set.add(&Context::from_waker(waker));
        }
        set.wake_all();
        assert!(set.is_empty());
        assert!(tasks.iter().all(|(task, _)| task.count() == 1));
    }

    #[test]
    fn a_task_with_ever_new_wakers_does_not_make_the_set_grow_with_its_polls() {
        let mut set = WakerSet::default();
        for polls in 1..100 * MOST {
            set.add(&Context::from_waker(&Woken::new().1));
            assert!(set.more.len() <= MOST || set.more.len() <= polls.div_ceil(2) + MOST);
        }
        set.wake_all();
        assert_eq!(set.doublings, 0);
    }

    #[test]
    fn many_tasks_that_really_wait_come_to_rest() {
        let tasks: Vec<_> = (0..1_000).map(|_| Woken::new()).collect();
        let mut set = WakerSet::default();
        // Each woken task polls again, until no task is woken any more.
        let mut seen = vec![usize::MAX; tasks.len()];
        let mut rounds = 0;
        while seen.iter().zip(&tasks).any(|(seen, (task, _))| *seen != task.count()) {
            for (seen, (task, waker)) in seen.iter_mut().zip(&tasks) {
                let woken = task.count();
                if *seen != woken {
                    *seen = woken;
                    set.add(&Context::from_waker(waker));
                }
            }
            rounds += 1;
            assert!(rounds < 20, "they keep waking each other");
        }
    }
}
