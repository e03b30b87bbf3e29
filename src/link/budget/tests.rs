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
