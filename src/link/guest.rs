//! A client that is not on a link: the listener's rules for requests, and its memory, are the same
//! for it. The one connection that such a client has is a WebSocket over HTTP/1.

use std::sync::Arc;
use std::task::Waker;

use h2conn_engine::StreamId;
use http::request;

use super::backlog::{Entrance, Line};
use super::budget::{Budget, Share};
use super::events::memory_of;
use crate::conn::{Kept, Offer, Stream};

/// A guest's place in the backlog, and its share of the memory.
pub(crate) struct Guest {
    line: Line,
    share: Share,
}

impl Guest {
    /// `task` wakes the task that calls [`Guest::holds`].
    pub(crate) fn new(entrance: &Entrance, budget: &Arc<Budget>, task: Waker) -> Guest {
        Guest { line: entrance.line(), share: budget.join(task) }
    }

    /// The memory of the request, which must be kept as long as the request is. A guest has no other request, and so
    /// always a place for this one: `max_links` bounds how many guests there are.
    pub(crate) fn charge(&self, request: &request::Parts) -> Kept {
        Box::new(self.share.charge(memory_of(&request.uri, &request.headers)))
    }

    /// Makes the request wait to be accepted. If no more are, it is dropped at once.
    pub(crate) fn offer(&mut self, stream: &Arc<Stream>) {
        self.share.update(0, 1);
        self.line.push(StreamId::FIRST, Offer::new(Arc::clone(stream)), self.share.fields());
    }

    /// Takes the request back, if it still waits.
    pub(crate) fn withdraw(&self) {
        self.line.withdraw(StreamId::FIRST);
    }

    /// Reports the bytes that lie unread. Returns why the guest must be reset, if it must be: all
    /// clients of the listener hold too much, and this one more than its share.
    pub(crate) fn holds(&mut self, unread: usize) -> Option<String> {
        let is_too_much = self.share.update(unread, 1);
        self.share.answer();
        (is_too_much && self.share.must_hold_less()).then(|| {
            format!(
                "reset here: {unread} bytes of it lie unread, its header fields take {}, and all clients of the listener \
                 hold the {} bytes that they may together; read faster, or allow more memory",
                self.share.fields(),
                self.share.cap()
            )
        })
    }
}
