//! The part of a request in the memory of its link and of all links.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use super::{Budget, Member};
use crate::sync::{Mutex, lock};

/// The memory of a request in addition to its unread bytes. It counts until it is dropped, possibly
/// after the stream and the link have ended, because a program may hold it.
pub(in crate::link) struct Charge {
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
    pub(super) fn new(budget: &Arc<Budget>, member: &Arc<Member>, fields: usize) -> Charge {
        let (budget, member) = (Arc::clone(budget), Arc::clone(member));
        let charge = Charge { budget, member, counted: Mutex::default() };
        charge.change(|counted| counted.fields = fields);
        charge
    }

    fn change<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> T {
        let mut counted = lock(&self.counted);
        let before = counted.places();
        let result = change(&mut counted);
        let Member { fields, ridden, ended, .. } = &*self.member;
        let mut sum: usize = 0;
        for ((counter, before), after) in
            [fields, ridden, ended].into_iter().zip(before).zip(counted.places())
        {
            // The difference may wrap, and the wrapping sum is still right.
            let difference = after.wrapping_sub(before);
            if difference != 0 {
                counter.fetch_add(difference, SeqCst);
                sum = sum.wrapping_add(difference);
            }
        }
        if sum != 0 {
            // All links count here, so that each access costs.
            self.budget.fields.fetch_add(sum, SeqCst);
        }
        result
    }

    /// Bytes of header fields that count for the link.
    pub(in crate::link) fn fields(&self) -> usize {
        let [fields, ..] = lock(&self.counted).places();
        fields
    }

    /// Bytes of a riding WebSocket that count for the link.
    pub(in crate::link) fn ridden(&self) -> usize {
        let [_, ridden, _] = lock(&self.counted).places();
        ridden
    }

    /// Counts these bytes of a riding WebSocket, in the place of those before. Returns whether they
    /// are more. `None` if the stream was reset to make room.
    #[cfg(feature = "websocket")]
    pub(in crate::link) fn rides(&self, bytes: usize) -> Option<bool> {
        self.change(|counted| {
            let before = std::mem::replace(&mut counted.ridden, bytes);
            (!counted.given).then_some(bytes > before)
        })
    }

    /// The link no longer has the stream, though the program may.
    pub(in crate::link) fn leave_link(&self) {
        self.change(|counted| counted.left = true);
    }

    /// Stops counting all of it.
    pub(in crate::link) fn give_back(&self) {
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
