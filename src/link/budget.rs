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
//! Bytes that wait to be sent have half as much memory of their own. Nothing is reset for them,
//! because their writers can wait: `pipe::send_memory` says how it is divided.
//!
//! Each driver reports what its link holds, but it is not told of every byte that is read, so its
//! report may be old. When the sum passes the cap, all links are asked first. If the sum is still
//! too large, a link that holds more than its fair share (the cap divided by the number of links)
//! resets the connection that holds most. A link that holds less wakes the link that holds most to
//! do this.

mod charge;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Waker;

use slab::Slab;

use crate::config::for_sending;
use crate::pipe::{Buffers, SendMemory};
use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, Mutex, lock};
pub(super) use charge::Charge;

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
    /// The memory for bytes that wait to be sent.
    sending: Arc<SendMemory>,
    /// The buffers of the connections that are on no link.
    #[cfg(feature = "websocket")]
    guests: Arc<Buffers>,
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
        let sending = Arc::new(SendMemory::new(for_sending(cap)));
        Arc::new(Budget {
            cap,
            unread: AtomicUsize::new(0),
            fields: AtomicUsize::new(0),
            conns: AtomicUsize::new(0),
            links: AtomicUsize::new(0),
            phase: AtomicU8::new(CALM),
            unanswered: AtomicUsize::new(0),
            members: Mutex::new(Slab::new()),
            #[cfg(feature = "websocket")]
            guests: Buffers::new(SendMemory::part_of(&sending, for_sending(cap))),
            sending,
        })
    }

    /// The buffers of a link, whose bytes that wait to be sent may take up to `most` bytes of memory.
    pub(super) fn buffers(&self, most: usize) -> Arc<Buffers> {
        Buffers::new(SendMemory::part_of(&self.sending, most))
    }

    /// The buffers of a connection that is on no link.
    #[cfg(feature = "websocket")]
    pub(crate) fn guest_buffers(&self) -> Arc<Buffers> {
        Arc::clone(&self.guests)
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
        let before = self.member.unread.load(SeqCst);
        if unread != before {
            // All links share the sum, and most turns change nothing.
            self.member.unread.store(unread, SeqCst);
            budget.unread.fetch_add(unread.wrapping_sub(before), SeqCst);
        }
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
        Charge::new(&self.budget, &self.member, bytes)
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

#[cfg(test)]
mod tests;
