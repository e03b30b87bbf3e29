//! The order in which streams send: by urgency (RFC 9218 §10), and in turn within one urgency.
//!
//! A stream is identified by its slot in the store. Each is in at most one list. The lists are
//! linked through one vector, so nothing here allocates, and a stream that ends is removed in one
//! step.

/// Urgencies are 0 (first) to 7 (RFC 9218 §4.1).
pub(crate) const URGENCIES: usize = 8;

/// The default urgency of a stream (RFC 9218 §4.1).
pub(crate) const DEFAULT_URGENCY: u8 = 3;

/// The list of streams that only send their end, for which they need no window.
const ENDS: usize = URGENCIES;

const LISTS: usize = URGENCIES + 1;

const NONE: u32 = u32::MAX;

/// The place of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It has nothing to send.
    Out,
    /// It is in this list.
    In(u8),
    /// It has bytes to send, and its window is shut.
    Blocked,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    urgency: u8,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

/// The turns of the streams that want to send.
#[derive(Debug)]
pub(crate) struct Schedule {
    lists: [List; LISTS],
    /// The lists that are not empty.
    filled: u16,
    nodes: Vec<Node>,
}

impl Schedule {
    pub(crate) fn new() -> Schedule {
        let empty = List { first: NONE, last: NONE };
        Schedule { lists: [empty; LISTS], filled: 0, nodes: Vec::new() }
    }

    /// Adds a stream that has taken this slot.
    pub(crate) fn enter(&mut self, slot: u32, urgency: u8) {
        let node = Node { previous: NONE, next: NONE, urgency: urgency.min(7), place: Place::Out };
        let index = slot as usize;
        if index >= self.nodes.len() {
            self.nodes.resize(index + 1, node);
        }
        self.nodes[index] = node;
    }

    /// Removes the stream of this slot, which is over.
    #[inline]
    pub(crate) fn leave(&mut self, slot: u32) {
        self.unlink(slot);
    }

    /// The stream has bytes to send.
    #[inline]
    pub(crate) fn want(&mut self, slot: u32) {
        let node = self.nodes[slot as usize];
        match node.place {
            Place::Out => self.link(slot, node.urgency as usize),
            Place::In(list) if list as usize == ENDS => {
                self.unlink(slot);
                self.link(slot, node.urgency as usize);
            }
            Place::In(_) | Place::Blocked => {}
        }
    }

    /// The stream has only its end to send.
    pub(crate) fn want_end(&mut self, slot: u32) {
        if self.nodes[slot as usize].place != Place::In(ENDS as u8) {
            self.unlink(slot);
            self.link(slot, ENDS);
        }
    }

    /// Sets the stream's urgency from now on.
    pub(crate) fn set_urgency(&mut self, slot: u32, urgency: u8) {
        let node = &mut self.nodes[slot as usize];
        let urgency = urgency.min(7);
        if node.urgency == urgency {
            return;
        }
        node.urgency = urgency;
        if let Place::In(list) = node.place
            && list as usize != ENDS
        {
            self.unlink(slot);
            self.link(slot, urgency as usize);
        }
    }

    /// The next stream that sends. It leaves its list. Streams whose window is shut stay aside
    /// until [`Schedule::opened`]. With `ends_only`, the connection's window is shut.
    pub(crate) fn next(
        &mut self,
        ends_only: bool,
        mut is_open: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if self.filled & (1 << ENDS) != 0 {
            let slot = self.lists[ENDS].first;
            self.unlink(slot);
            return Some(slot);
        }
        while self.filled != 0 && !ends_only {
            let slot = self.lists[self.filled.trailing_zeros() as usize].first;
            self.unlink(slot);
            if is_open(slot) {
                return Some(slot);
            }
            self.nodes[slot as usize].place = Place::Blocked;
        }
        None
    }

    /// The stream's window was found shut, outside of its turn.
    pub(crate) fn block(&mut self, slot: u32) {
        self.unlink(slot);
        self.nodes[slot as usize].place = Place::Blocked;
    }

    /// The stream's window is open again.
    #[inline]
    pub(crate) fn opened(&mut self, slot: u32) {
        let node = self.nodes[slot as usize];
        if node.place == Place::Blocked {
            self.link(slot, node.urgency as usize);
        }
    }

    /// Whether a stream is in one of the lists.
    pub(crate) fn has_turns(&self) -> bool {
        self.filled != 0
    }

    fn link(&mut self, slot: u32, index: usize) {
        let list = &mut self.lists[index];
        let last = std::mem::replace(&mut list.last, slot);
        if last == NONE {
            list.first = slot;
            self.filled |= 1 << index;
        } else {
            self.nodes[last as usize].next = slot;
        }
        let node = &mut self.nodes[slot as usize];
        (node.previous, node.next, node.place) = (last, NONE, Place::In(index as u8));
    }

    #[inline]
    fn unlink(&mut self, slot: u32) {
        let node = &mut self.nodes[slot as usize];
        let Place::In(index) = std::mem::replace(&mut node.place, Place::Out) else { return };
        let (previous, next) = (node.previous, node.next);
        let list = &mut self.lists[index as usize];
        match previous {
            NONE => list.first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => list.last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        if list.first == NONE {
            self.filled &= !(1 << index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(urgencies: &[u8]) -> Schedule {
        let mut schedule = Schedule::new();
        for (slot, urgency) in (0..).zip(urgencies) {
            schedule.enter(slot, *urgency);
        }
        schedule
    }

    fn turns(schedule: &mut Schedule) -> Vec<u32> {
        std::iter::from_fn(|| schedule.next(false, |_| true)).collect()
    }

    #[test]
    fn urgent_streams_go_first_and_equals_in_turn() {
        let mut schedule = schedule(&[3, 0, 3, 7, 0]);
        (0..5).for_each(|slot| schedule.want(slot));
        schedule.want(0);
        assert_eq!(turns(&mut schedule), [1, 4, 0, 2, 3]);
        (0..3).for_each(|slot| schedule.want(slot));
        assert_eq!(schedule.next(false, |_| true), Some(1));
        assert_eq!(schedule.next(false, |_| true), Some(0));
        schedule.want(0);
        assert_eq!(turns(&mut schedule), [2, 0], "one that has more goes behind the others");
    }

    #[test]
    fn a_blocked_stream_stays_aside_and_comes_back_by_itself() {
        let mut schedule = schedule(&[3, 3]);
        schedule.want(0);
        schedule.want(1);
        assert_eq!(schedule.next(false, |slot| slot == 1), Some(1));
        schedule.want(0);
        assert_eq!(schedule.next(false, |_| true), None, "to want it again changes nothing");
        schedule.opened(1);
        schedule.opened(0);
        assert_eq!(turns(&mut schedule), [0]);
    }

    #[test]
    fn an_end_needs_no_window_and_goes_first() {
        let mut schedule = schedule(&[0, 3, 3]);
        schedule.want(0);
        schedule.want_end(1);
        schedule.want(2);
        schedule.block(2);
        schedule.want_end(2);
        assert_eq!(schedule.next(true, |_| false), Some(1));
        assert_eq!(schedule.next(true, |_| false), Some(2));
        assert_eq!(schedule.next(true, |_| false), None);
        assert_eq!(turns(&mut schedule), [0]);
    }

    #[test]
    fn streams_leave_from_anywhere_and_their_slots_serve_again() {
        for leaver in 0..3 {
            let mut schedule = schedule(&[3, 3, 3]);
            (0..3).for_each(|slot| schedule.want(slot));
            schedule.leave(leaver);
            schedule.enter(leaver, 0);
            let rest: Vec<u32> = (0..3).filter(|slot| *slot != leaver).collect();
            assert_eq!(turns(&mut schedule), rest);
            schedule.want(leaver);
            assert_eq!(turns(&mut schedule), [leaver]);
            assert!(!schedule.has_turns());
        }
    }

    #[test]
    fn a_change_of_urgency_moves_a_stream_that_waits() {
        let mut schedule = schedule(&[3, 3, 3]);
        (0..3).for_each(|slot| schedule.want(slot));
        schedule.set_urgency(2, 1);
        schedule.set_urgency(0, 200);
        assert_eq!(turns(&mut schedule), [2, 1, 0]);
    }
}
