//! The sending side of a stream: outbox to HTTP/2.

use std::task::Context;

use super::entry::{Entry, Head};
use super::session::{Moved, Session};
use crate::conn::Wish;
use crate::error::Reason;

/// What became of a stream's turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing is left to send.
    All,
    /// Nothing but END_STREAM, which waits until a PING is behind the bytes.
    AllButTheEnd,
    /// A window is full; HTTP/2 brings the stream back when it opens.
    Blocked,
    /// There is more, and the stream may go on at its next turn.
    More,
}

impl Entry {
    /// Whether bytes or END_STREAM wait, and HTTP/2 would take them.
    pub(super) fn can_send(&self) -> bool {
        let (queued, end) = self.stream.outbox.pending();
        self.sends && !self.over && (queued > 0 || end)
    }

    /// Sends one frame of at most `share` bytes, as far as the peer's windows allow; gives the frame's size too.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        share: usize,
    ) -> (Sent, usize) {
        let Some(id) = self.id.filter(|_| self.sends && !self.over) else { return (Sent::All, 0) };
        if matches!(self.head, Head::Rejected(..)) {
            return (Sent::All, 0);
        }
        let holds_end = self.holds_end();
        let (queued, end) = self.stream.outbox.pending();
        if queued == 0 && (holds_end || !end) {
            return (if end { Sent::AllButTheEnd } else { Sent::All }, 0);
        }
        let wanted = queued.min(share);
        let may_end = end && !holds_end && wanted == queued;
        let Some(head) = session.http2().send_data(id, wanted, may_end) else {
            return (Sent::Blocked, 0);
        };
        let taken = match head.end {
            true => self.stream.outbox.take(head.len),
            false => self.stream.outbox.take_bytes(head.len),
        };
        let Some(batch) = taken.batch else {
            // The user has reset the stream at this very moment.
            let reason = match self.stream.wish() {
                Wish::Reset(reason) => reason,
                _ => Reason::CANCEL,
            };
            session.http2().withdraw(id, head, reason);
            return (Sent::All, 0);
        };
        session.write(cx, &head, batch);
        self.sends = !head.end;
        let sent = match taken.left {
            0 if holds_end && end => Sent::AllButTheEnd,
            0 => Sent::All,
            _ if session.state().send_capacity(id) == 0 => Sent::Blocked,
            _ => Sent::More,
        };
        (sent, head.header.len() + head.len)
    }

    /// Whether END_STREAM must wait for a PING: its acknowledgement proves that the peer has got every
    /// byte, also where the peer hangs up as soon as it has read the end, and acknowledges nothing
    /// more. It is only sent where somebody can still ask.
    fn holds_end(&self) -> bool {
        let (_, end) = self.stream.outbox.pending();
        end && !self.send_state.end_may_go && self.stream.is_asked_about()
    }

    /// Takes note of whether the peer's window makes the stream wait.
    pub(super) fn note_stall(&mut self, blocked: bool) {
        if blocked != std::mem::replace(&mut self.send_state.blocked, blocked) {
            self.stream.stalls.set(blocked);
        }
    }

    /// Looks at what has left, for the user who waits for room or for its bytes to be sent.
    /// `true` while there may be more to see.
    pub(super) fn settle(&mut self, moved: &Moved) -> bool {
        let Moved { accepted, flushed, .. } = *moved;
        let released = self.stream.outbox.settle();
        if self.over {
            // A stream that was cut has let its bytes go without sending them.
            return false;
        }
        if accepted == flushed {
            self.send_state.mark = None;
            self.stream.outbox.mark_sent(released);
        } else {
            match self.send_state.mark {
                Some((end, position)) if flushed >= end => {
                    self.stream.outbox.mark_sent(position);
                    self.send_state.mark = Some((accepted, released));
                }
                Some(_) => {}
                None => self.send_state.mark = Some((accepted, released)),
            }
        }
        !self.stream.outbox.is_taken_sent()
    }
}
