//! A client that is not on a link: the listener's rules for requests, and its memory, are the same
//! for it. The one connection that such a client has is a WebSocket over HTTP/1.

use std::sync::Arc;
use std::task::Waker;

use h2conn_engine::StreamId;
use http::request;

use super::backlog::{Entrance, Line};
use super::budget::{Budget, Share};
use super::events::memory_of;
use crate::conn::{Account, Kept, MustEnd, Offer, Stream};

/// A guest's place in the backlog, and its share of the memory.
pub(crate) struct Guest {
    line: Line,
    seat: Seat,
}

/// A share of the memory for a connection that is on no link.
pub(crate) struct Seat {
    share: Share,
    /// 1 if it counts as a connection of the listener.
    conns: usize,
}

impl Seat {
    /// For a connection that the server counts itself. `task` wakes the task that reports what it
    /// holds.
    pub(crate) fn new(budget: &Arc<Budget>, task: Waker) -> Seat {
        Seat { share: budget.join(task), conns: 0 }
    }

    /// It counts from now on.
    fn count(&mut self) {
        self.conns = 1;
        self.share.update(0, self.conns);
    }
}

impl Account for Seat {
    /// The guest must be reset if all clients of the listener hold too much, and this one more than
    /// its share.
    fn holds(&mut self, unread: usize, coming: usize) -> Option<MustEnd> {
        let Seat { share, conns } = self;
        let unread = unread + coming;
        let is_too_much = share.update(unread, *conns);
        share.answer();
        (is_too_much && share.must_hold_less()).then(|| {
            let text = format!(
                "reset here: {unread} bytes of it lie unread, its header fields take {}, and all \
                 clients of the listener hold the {} bytes that they may together; read faster, or \
                 allow more memory",
                share.requests(),
                share.cap()
            );
            MustEnd { text, is_reported: false }
        })
    }

    fn is_over(&mut self) {
        self.conns = 0;
        self.share.update(0, self.conns);
        self.share.answer();
    }
}

impl Guest {
    /// `task` wakes the task that calls [`Guest::holds`].
    pub(crate) fn new(entrance: &Entrance, budget: &Arc<Budget>, task: Waker) -> Guest {
        Guest { line: entrance.line(), seat: Seat::new(budget, task) }
    }

    /// The memory of the request, which must be kept as long as the request is. A guest has no other request, and so
    /// always a place for this one: `max_links` bounds how many guests there are.
    pub(crate) fn charge(&self, request: &request::Parts) -> Kept {
        Box::new(self.seat.share.charge(memory_of(&request.uri, &request.headers)))
    }

    /// Makes the request wait to be accepted. If no more are, it is dropped at once.
    pub(crate) fn offer(&mut self, stream: &Arc<Stream>) {
        self.seat.count();
        self.line.push(StreamId::FIRST, Offer::new(Arc::clone(stream)), self.seat.share.requests());
    }

    /// Takes the request back, if it still waits.
    pub(crate) fn withdraw(&self) {
        self.line.withdraw(StreamId::FIRST);
    }
}

impl Account for Guest {
    fn holds(&mut self, unread: usize, coming: usize) -> Option<MustEnd> {
        self.seat.holds(unread, coming)
    }

    fn is_over(&mut self) {
        self.seat.is_over();
    }
}
