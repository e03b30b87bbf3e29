//! The memory that links share: the unread bytes and the requests' header fields that all links of
//! a listener may hold together.
//!
//! Header fields count from their arrival until the last value that contains them is dropped,
//! possibly after their stream and their link have ended. They cannot be taken back from a program.
//! As long as the link lives, those of its ended streams leave it less room for new requests;
//! otherwise a peer could make a program hold any number of them. No stream is reset for them. When
//! a connection is reset to make room, its header fields no longer count, because its program is
//! about to drop them.
//!
//! A WebSocket that rides on a stream holds bytes that the stream's user, the WebSocket's own task,
//! has read. They count for the stream too.
//!
//! Each driver reports what its link holds, but it is not told of every byte that is read, so its
//! report may be old. When the sum passes the cap, all links are asked first. If the sum is still
//! too large, a link that holds more than its fair share (the cap divided by the number of links)
//! resets the connection that holds most. A link that holds less wakes the link that holds most to
//! do this.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;

use slab::Slab;

use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Mutex, lock};

/// The sum is within the cap, or the links are not yet asked.
const CALM: u8 = 0;
/// Links have been asked, and not all have answered.
const ASKING: u8 = 1;
/// All links have answered since the sum passed the cap.
const ANSWERED: u8 = 2;

pub(crate) struct Budget {
    cap: usize,
    unread: AtomicUsize,
    fields: AtomicUsize,
    conns: AtomicUsize,
    links: AtomicUsize,
    phase: AtomicU8,
    /// Links that were asked and have not answered, and one for the task that is still asking.
    unanswered: AtomicUsize,
    members: Mutex<Slab<Arc<Member>>>,
}

struct Member {
    /// Unread bytes, from the driver's last report.
    unread: AtomicUsize,
    /// Bytes of header fields.
    fields: AtomicUsize,
    /// Bytes that WebSockets hold which ride on the link's streams.
    ridden: AtomicUsize,
    /// Bytes of both kinds of streams that are over.
    ended: AtomicUsize,
    asked: AtomicBool,
    driver: Waker,
}

impl Member {
    /// Bytes that come back when the link's streams are reset.
    fn held(&self) -> usize {
        self.unread.load(SeqCst) + self.fields.load(SeqCst) + self.ridden.load(SeqCst)
    }
}

impl Budget {
    pub(crate) fn new(cap: usize) -> Arc<Budget> {
        Arc::new(Budget {
            cap,
            unread: AtomicUsize::new(0),
            fields: AtomicUsize::new(0),
            conns: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            phase: AtomicU8::new(CALM),
            unanswered: AtomicUsize::new(0),
            members: Mutex::new(Slab::new()),
        })
    }

    /// Bytes that all links hold unread.
    pub(crate) fn unread(&self) -> usize {
        self.unread.load(SeqCst)
    }

    /// Bytes of header fields that are kept.
    pub(crate) fn fields(&self) -> usize {
        self.fields.load(SeqCst)
    }

    fn held(&self) -> usize {
        self.unread() + self.fields()
    }

    /// Streams that all links have open.
    pub(crate) fn conns(&self) -> usize {
        self.conns.load(SeqCst)
    }

    /// Makes a new link's share. `driver` wakes the link's driver.
    pub(super) fn join(self: &Arc<Self>, driver: Waker) -> Share {
        let member = Arc::new(Member {
            unread: AtomicUsize::new(0),
            fields: AtomicUsize::new(0),
            ridden: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            driver,
        });
        let key = lock(&self.members).insert(Arc::clone(&member));
        self.links.fetch_add(1, SeqCst);
        Share { budget: Arc::clone(self), member, key, conns: 0, seen: 0, changed: false }
    }

    fn fair_share(&self) -> usize {
        self.cap / self.links.load(SeqCst).max(1)
    }

    /// Asks each link that holds bytes to report which of them are unread, unless this is under
    /// way.
    fn ask_all(&self) {
        if self.phase.compare_exchange(CALM, ASKING, SeqCst, SeqCst).is_err() {
            return;
        }
        self.unanswered.store(1, SeqCst);
        for (_, member) in lock(&self.members).iter() {
            if member.unread.load(SeqCst) > 0 {
                self.unanswered.fetch_add(1, SeqCst);
                member.asked.store(true, SeqCst);
                member.driver.wake_by_ref();
            }
        }
        self.count_answer();
    }

    fn count_answer(&self) {
        if self.unanswered.fetch_sub(1, SeqCst) > 1 {
            return;
        }
        if self.held() <= self.cap {
            // Calm again, so that all links are asked the next time.
            return self.phase.store(CALM, SeqCst);
        }
        self.phase.store(ANSWERED, SeqCst);
        self.wake_the_largest();
    }

    /// Whether the reports are recent, or the sum is so large that there is no time to ask.
    fn is_sure(&self) -> bool {
        self.phase.load(SeqCst) == ANSWERED || self.held() > self.cap + self.cap / 8
    }

    fn wake_the_largest(&self) {
        let members = lock(&self.members);
        let largest = members.iter().max_by_key(|(_, member)| member.held());
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

/// One link's share in a budget. Dropping it gives everything back.
pub(super) struct Share {
    budget: Arc<Budget>,
    member: Arc<Member>,
    key: usize,
    conns: usize,
    /// The bytes that the link held at the last update, and whether that update has changed them.
    seen: usize,
    changed: bool,
}

impl Share {
    /// Reports the link's unread bytes and its number of streams. Returns whether all links
    /// together hold too much, as far as is known.
    pub(super) fn update(&mut self, unread: usize, conns: usize) -> bool {
        let budget = &*self.budget;
        if conns != self.conns {
            // The difference may wrap, and the wrapping sum is still right.
            budget.conns.fetch_add(conns.wrapping_sub(self.conns), SeqCst);
            self.conns = conns;
        }
        let before = self.member.unread.swap(unread, SeqCst);
        budget.unread.fetch_add(unread.wrapping_sub(before), SeqCst);
        let held = self.member.held();
        self.changed = std::mem::replace(&mut self.seen, held) != held;
        if budget.held() > budget.cap {
            return true;
        }
        let _ = budget.phase.compare_exchange(ANSWERED, CALM, SeqCst, SeqCst);
        false
    }

    /// Whether the link was asked for its unread bytes.
    pub(super) fn is_asked(&self) -> bool {
        self.member.asked.load(SeqCst)
    }

    /// The last update was exact: it counted no byte that has been read.
    pub(super) fn answer(&self) {
        if self.member.asked.swap(false, SeqCst) {
            self.budget.count_answer();
        }
    }

    /// Whether the link must hold less. If all links hold too much and another link must make room,
    /// that link is told.
    pub(super) fn must_hold_less(&self) -> bool {
        let budget = &*self.budget;
        if budget.held() <= budget.cap {
            return false;
        }
        if !budget.is_sure() {
            budget.ask_all();
            return false;
        }
        if self.member.held() > budget.fair_share() {
            return true;
        }
        // Wake the largest link even if this link holds less than before: this link may have come
        // down to its share, and that may not be enough.
        if self.changed {
            budget.wake_the_largest();
        }
        false
    }

    /// Whether there is memory for one more stream. When little is left, a link with about its fair
    /// share has none, and other links still do.
    pub(super) fn takes_more(&self) -> bool {
        let most_of = |bytes: usize| bytes - bytes / 8;
        self.budget.held() <= most_of(self.budget.cap)
            || self.member.held() + self.member.ended.load(SeqCst)
                <= most_of(self.budget.fair_share())
    }

    /// Bytes of the requests that the link's peer has made the program hold, also of those that are
    /// over.
    pub(super) fn requests(&self) -> usize {
        self.member.fields.load(SeqCst) + self.member.ended.load(SeqCst)
    }

    /// Bytes that the link's streams hold beside unread ones.
    pub(super) fn of_streams(&self) -> usize {
        self.member.fields.load(SeqCst) + self.ridden()
    }

    /// Bytes that WebSockets hold which ride on the link's streams.
    pub(super) fn ridden(&self) -> usize {
        self.member.ridden.load(SeqCst)
    }

    /// Counts these bytes of header fields until the value is dropped.
    pub(super) fn charge(&self, bytes: usize) -> Charge {
        let (budget, member) = (Arc::clone(&self.budget), Arc::clone(&self.member));
        let charge = Charge { budget, member, counted: Mutex::default() };
        charge.change(|counted| counted.fields = bytes);
        charge
    }

    /// The cap of all links, for a message.
    pub(super) fn cap(&self) -> usize {
        self.budget.cap
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.update(0, 0);
        lock(&self.budget.members).remove(self.key);
        self.answer();
        self.budget.links.fetch_sub(1, SeqCst);
    }
}

/// The memory of a request in addition to its unread bytes. It counts until it is dropped, possibly
/// after the stream and the link have ended, because a program may hold it.
pub(super) struct Charge {
    budget: Arc<Budget>,
    member: Arc<Member>,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    fields: usize,
    ridden: usize,
    /// The link no longer has the stream.
    left: bool,
    /// Nothing counts any more.
    given: bool,
}

impl Counted {
    /// The bytes that count as the link's header fields, as ridden, and as those of ended streams.
    fn places(&self) -> [usize; 3] {
        match (self.given, self.left) {
            (true, _) => [0; 3],
            (false, true) => [0, 0, self.fields + self.ridden],
            (false, false) => [self.fields, self.ridden, 0],
        }
    }
}

impl Charge {
    fn change<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> T {
        let mut counted = lock(&self.counted);
        let before = counted.places();
        let result = change(&mut counted);
        let Member { fields, ridden, ended, .. } = &*self.member;
        for ((counter, before), after) in
            [fields, ridden, ended].into_iter().zip(before).zip(counted.places())
        {
            // The difference may wrap, and the wrapping sum is still right.
            counter.fetch_add(after.wrapping_sub(before), SeqCst);
            self.budget.fields.fetch_add(after.wrapping_sub(before), SeqCst);
        }
        result
    }

    /// Bytes of header fields that count for the link.
    pub(super) fn fields(&self) -> usize {
        let [fields, ..] = lock(&self.counted).places();
        fields
    }

    /// Bytes of a riding WebSocket that count for the link.
    pub(super) fn ridden(&self) -> usize {
        let [_, ridden, _] = lock(&self.counted).places();
        ridden
    }

    /// Counts these bytes of a riding WebSocket, in the place of those before. Returns whether they
    /// are more. `None` if the stream was reset to make room.
    #[cfg(feature = "websocket")]
    pub(super) fn rides(&self, bytes: usize) -> Option<bool> {
        self.change(|counted| {
            let before = std::mem::replace(&mut counted.ridden, bytes);
            (!counted.given).then_some(bytes > before)
        })
    }

    /// The link no longer has the stream, though the program may.
    pub(super) fn leave_link(&self) {
        self.change(|counted| counted.left = true);
    }

    /// Stops counting all of it.
    pub(super) fn give_back(&self) {
        self.change(|counted| counted.given = true);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("counted", &*lock(&self.counted)).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Woken;

    fn noop() -> Waker {
        Waker::noop().clone()
    }

    impl Share {
        /// A driver's turn whose users have read nothing. Returns whether it must make room.
        fn turn(&mut self, held: usize) -> bool {
            self.update(held, 1);
            self.answer();
            self.must_hold_less()
        }
    }

    #[test]
    fn a_link_with_more_than_its_share_makes_room_once_the_whole_is_too_much() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.join(noop()), budget.join(noop()));
        assert!(!a.turn(90), "the whole is not too much");
        assert!(!b.turn(10));
        assert!(!b.turn(11), "it has less than its share");
        assert!(a.is_asked() && b.is_asked());
        assert!(!b.turn(11));
        assert!(a.turn(90));
        assert!(!a.turn(89), "there is room again");
        assert_eq!((budget.held(), budget.conns()), (100, 2));
        drop(a);
        assert_eq!((budget.held(), budget.conns()), (11, 1));
        drop(b);
        assert_eq!((budget.held(), budget.conns(), budget.fair_share()), (0, 0, 100));
    }

    #[test]
    fn a_small_link_that_grows_wakes_the_largest() {
        let budget = Budget::new(100);
        let (woken, waker) = Woken::new();
        let mut large = budget.join(waker);
        let (mut middle, mut small) = (budget.join(noop()), budget.join(noop()));
        assert!(!large.turn(60) && !middle.turn(30) && !small.turn(10));
        assert_eq!(woken.count(), 0);
        assert!(!small.turn(11));
        assert_eq!(woken.count(), 1, "it is asked");
        assert!(!small.turn(11) && !middle.turn(30));
        assert!(large.turn(60), "all have answered");
        assert_eq!(woken.count(), 2);
        assert!(!small.turn(12));
        assert_eq!(woken.count(), 3, "it is to make room");
        assert!(!small.turn(12));
        assert_eq!(woken.count(), 3, "nothing has changed");
        assert!(middle.turn(45), "it grows past its share");
        assert!(!middle.turn(33), "it has come down to it");
        assert_eq!(woken.count(), 4, "and the whole is still too much");
    }

    #[test]
    fn nobody_makes_room_for_what_has_been_read_unless_it_is_too_late_to_ask() {
        let budget = Budget::new(800);
        let (mut a, mut b) = (budget.join(noop()), budget.join(noop()));
        assert!(!a.turn(700));
        // All bytes that `a` has reported are read, and its driver does not know.
        assert!(!b.turn(180));
        assert!(a.is_asked() && b.is_asked() && budget.held() == 880);
        assert!(!b.turn(200));
        assert!(!a.turn(0), "it answers");
        assert!(!b.turn(780) && !b.is_asked(), "and the whole is not too much");
        assert!(!b.turn(790) && !a.turn(20) && a.is_asked(), "the next time all are asked again");
        assert!(b.turn(890), "there is no waiting for an answer above nine eighths of the cap");
    }

    #[test]
    fn a_link_that_ends_has_answered() {
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.join(noop()), budget.join(noop()));
        assert!(!a.turn(10) && !b.turn(91) && !b.turn(91));
        assert!(a.is_asked());
        let mut c = budget.join(noop());
        assert!(!c.turn(10), "who comes later is not asked");
        drop(a);
        assert!(b.turn(91));
    }

    #[test]
    fn header_fields_count_until_they_are_dropped_also_behind_their_link() {
        let budget = Budget::new(800);
        let mut link = budget.join(noop());
        link.update(100, 1);
        let (one, other) = (link.charge(300), link.charge(301));
        assert_eq!((budget.held(), link.requests()), (701, 601));
        assert!(!link.takes_more());
        drop(one);
        assert!(link.takes_more());
        drop(link);
        assert_eq!(budget.held(), 301, "a program can still see them");
        let next = budget.join(noop());
        assert_eq!(next.requests(), 0, "they are not another link's");
        other.leave_link();
        assert_eq!((budget.held(), other.fields()), (301, 0));
        other.give_back();
        assert_eq!(budget.held(), 0);
        drop(other);
        assert_eq!(budget.held(), 0, "not twice");
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

    #[test]
    fn requests_that_are_over_leave_less_room_for_others_and_nothing_is_reset_for_them() {
        let budget = Budget::new(800);
        let (mut link, mut other) = (budget.join(noop()), budget.join(noop()));
        let held = link.charge(500);
        assert!(!link.turn(301) && link.turn(301), "more than its share of a full whole");
        held.leave_link();
        assert_eq!((link.requests(), link.of_streams(), budget.held()), (500, 0, 801));
        assert!(!link.turn(301), "its streams hold less than its share");
        assert!(!link.takes_more());
        other.update(300, 1);
        assert!(other.takes_more());
        drop(held);
        assert!(link.takes_more() && link.requests() == 0);
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn bytes_of_a_riding_websocket_count_until_its_stream_is_reset() {
        let budget = Budget::new(800);
        let link = budget.join(noop());
        let charge = link.charge(100);
        assert_eq!([300, 200].map(|bytes| charge.rides(bytes)), [Some(true), Some(false)]);
        assert_eq!((link.ridden(), link.of_streams(), budget.held()), (200, 300, 300));
        charge.leave_link();
        assert_eq!(charge.rides(250), Some(true));
        assert_eq!((link.ridden(), link.requests(), budget.held()), (0, 350, 350));
        charge.give_back();
        assert_eq!(charge.rides(700), None, "they do not count again");
        assert_eq!((budget.held(), charge.ridden()), (0, 0));
        drop(charge);
        assert_eq!(budget.held(), 0);
    }
}
