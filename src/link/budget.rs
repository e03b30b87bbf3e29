//! The memory that links share: what all links of a listener may hold unread together.
//!
//! Each driver tells what its link holds. When the sum has passed the cap, a link that holds more
//! than its fair share, the cap divided by the number of links, resets its hoarder. If the one that
//! tells is not among those, the link that holds most is woken to do it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;

use slab::Slab;

use crate::sync::{AtomicUsize, Mutex, lock};

pub(crate) struct Budget {
    cap: usize,
    held: AtomicUsize,
    conns: AtomicUsize,
    links: AtomicUsize,
    members: Mutex<Slab<Arc<Member>>>,
}

struct Member {
    held: AtomicUsize,
    driver: Waker,
}

impl Budget {
    pub(crate) fn new(cap: usize) -> Arc<Budget> {
        Arc::new(Budget {
            cap,
            held: AtomicUsize::new(0),
            conns: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            members: Mutex::new(Slab::new()),
        })
    }

    /// Bytes that all links hold unread.
    pub(crate) fn held(&self) -> usize {
        self.held.load(SeqCst)
    }

    /// Streams that all links have open.
    pub(crate) fn conns(&self) -> usize {
        self.conns.load(SeqCst)
    }

    /// A new link's part in it; `driver` wakes the link's driver.
    pub(super) fn join(self: &Arc<Self>, driver: Waker) -> Share {
        let member = Arc::new(Member { held: AtomicUsize::new(0), driver });
        let key = lock(&self.members).insert(Arc::clone(&member));
        self.links.fetch_add(1, SeqCst);
        Share { budget: Arc::clone(self), member, key, conns: 0 }
    }

    fn fair_share(&self) -> usize {
        self.cap / self.links.load(SeqCst).max(1)
    }

    fn wake_the_largest(&self) {
        let members = lock(&self.members);
        let largest = members.iter().max_by_key(|(_, member)| member.held.load(SeqCst));
        if let Some((_, member)) = largest {
            member.driver.wake_by_ref();
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cap, held) = (self.cap, self.held());
        f.debug_struct("Budget").field("cap", &cap).field("held", &held).finish_non_exhaustive()
    }
}

/// One link's part in a budget. Dropping it gives everything back.
pub(super) struct Share {
    budget: Arc<Budget>,
    member: Arc<Member>,
    key: usize,
    conns: usize,
}

impl Share {
    /// The link holds so many bytes, and has so many streams. Gives whether it must hold less.
    pub(super) fn update(&mut self, held: usize, conns: usize) -> bool {
        let budget = &*self.budget;
        if conns != self.conns {
            // Wraps, and by the order of things comes out right.
            budget.conns.fetch_add(conns.wrapping_sub(self.conns), SeqCst);
            self.conns = conns;
        }
        let before = self.member.held.load(SeqCst);
        if held != before {
            self.member.held.store(held, SeqCst);
            budget.held.fetch_add(held.wrapping_sub(before), SeqCst);
        }
        if budget.held() <= budget.cap {
            return false;
        }
        if held > budget.fair_share() {
            return true;
        }
        // Also when it holds less than before: it may have come down to its share, and that be not
        // enough.
        if held != before {
            budget.wake_the_largest();
        }
        false
    }

    /// Whether there is memory for one more stream: not on a link with about its fair share when
    /// little is left in all. Others' links still take some.
    pub(super) fn takes_more(&self) -> bool {
        let most_of = |bytes: usize| bytes - bytes / 8;
        self.budget.held() <= most_of(self.budget.cap)
            || self.member.held.load(SeqCst) <= most_of(self.budget.fair_share())
    }

    /// What all links may hold, for a message.
    pub(super) fn cap(&self) -> usize {
        self.budget.cap
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.update(0, 0);
        lock(&self.budget.members).remove(self.key);
        self.budget.links.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn noop() -> Waker {
        Waker::noop().clone()
    }

    #[test]
    fn a_link_with_more_than_its_share_makes_room_once_the_whole_is_too_much() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.join(noop()), budget.join(noop()));
        assert!(!a.update(90, 1), "the whole is not too much");
        assert!(!b.update(10, 1));
        assert!(!b.update(11, 1), "it has less than its share");
        assert!(a.update(90, 1));
        assert!(!a.update(89, 1), "there is room again");
        assert_eq!((budget.held(), budget.conns()), (100, 2));
        drop(a);
        assert_eq!((budget.held(), budget.conns()), (11, 1));
        drop(b);
        assert_eq!((budget.held(), budget.conns(), budget.fair_share()), (0, 0, 100));
    }

    #[test]
    fn a_small_link_that_grows_wakes_the_largest() {
        let budget = Budget::new(100);
        let woken = Arc::new(Woken::default());
        let mut large = budget.join(Waker::from(Arc::clone(&woken)));
        let (mut middle, mut small) = (budget.join(noop()), budget.join(noop()));
        assert!(!large.update(60, 1) && !middle.update(30, 1) && !small.update(10, 1));
        assert_eq!(woken.0.load(SeqCst), 0);
        assert!(!small.update(11, 1));
        assert_eq!(woken.0.load(SeqCst), 1);
        assert!(!small.update(11, 1));
        assert_eq!(woken.0.load(SeqCst), 1, "nothing has changed");
        assert!(large.update(60, 1));
        assert!(middle.update(45, 1), "it grows past its share");
        assert!(!middle.update(33, 1), "it has come down to it");
        assert_eq!(woken.0.load(SeqCst), 2, "and the whole is still too much");
    }

    #[test]
    fn when_little_is_left_only_links_below_their_share_take_streams() {
        let budget = Budget::new(800);
        let mut alone = budget.join(noop());
        alone.update(700, 1);
        assert!(alone.takes_more());
        alone.update(701, 1);
        assert!(!alone.takes_more());
        let mut other = budget.join(noop());
        assert!(other.takes_more() && !alone.takes_more());
        other.update(350, 1);
        alone.update(351, 1);
        assert!(other.takes_more() && !alone.takes_more());
    }
}
