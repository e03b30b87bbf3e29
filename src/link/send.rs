//! The sending side of a stream, from its outbox to HTTP/2, and when its bytes count as sent.

use std::task::Context;

use super::driver::DATA_ROOM;
use super::entry::{Entry, Head};
use super::session::{Moved, Session};
use crate::conn::{Exchange, Wish};
use crate::error::Reason;
use crate::pipe::Taken;

/// The result of a stream's turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing is left to send.
    All,
    /// Only END_STREAM is left, and it waits until a PING follows the bytes.
    AllButTheEnd,
    /// A window is full. HTTP/2 brings the stream back when the window opens.
    Blocked,
    /// There is more, and the stream may continue at its next turn.
    More,
}

impl Entry {
    /// Sends one frame of at most `share` bytes, as far as the peer's windows allow. Also returns
    /// its size.
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
        let (queued, end) = self.stream.outbox.pending();
        let holds_end = end && self.holds_end();
        let trailers = end && self.stream.exchange().is_some_and(Exchange::has_trailers);
        if queued == 0 && (holds_end || !end) {
            return (if end { Sent::AllButTheEnd } else { Sent::All }, 0);
        }
        if queued == 0 && trailers {
            self.send_trailers(session);
            return (Sent::All, 0);
        }
        let wanted = queued.min(share);
        let may_end = end && !holds_end && !trailers && wanted == queued;
        let Some(head) = session.http2().send_data(id, wanted, may_end) else {
            return (Sent::Blocked, 0);
        };
        let left = {
            let Taken { batch, left } = match head.end {
                true => self.stream.outbox.take(head.len),
                false => self.stream.outbox.take_bytes(head.len),
            };
            let Some(batch) = batch else {
                // The user has reset the stream at this very moment.
                let reason = match self.stream.wish() {
                    Wish::Reset(reason) => reason,
                    _ => Reason::CANCEL,
                };
                session.http2().withdraw(id, head, reason);
                return (Sent::All, 0);
            };
            session.write(cx, &head, batch);
            left
        };
        self.activity.went = Some(session.now());
        self.sends = !head.end;
        let sent = match left {
            0 if holds_end => Sent::AllButTheEnd,
            0 if trailers => {
                self.send_trailers(session);
                Sent::All
            }
            0 => Sent::All,
            _ if session.state().send_capacity(id) == 0 => Sent::Blocked,
            _ => Sent::More,
        };
        (sent, head.header.len() + head.len)
    }

    /// Sends bytes that lie in no outbox, frame by frame, while the transport takes them and the
    /// peer's windows allow it, up to a turn's share. Returns the number of bytes.
    pub(super) fn send_past_outbox(
        &mut self,
        cx: &mut Context<'_>,
        session: &mut Session,
        bytes: &[u8],
    ) -> usize {
        let Some(id) = self.id.filter(|_| self.sends && !self.over) else { return 0 };
        if matches!(self.head, Head::Rejected(..)) {
            return 0;
        }
        let mut left = &bytes[..bytes.len().min(DATA_ROOM)];
        let mut sent = 0;
        while !left.is_empty() && session.may_send() {
            let len = session.state().frame_capacity(id).min(left.len());
            if len == 0 || !self.stream.outbox.pass(len) {
                break;
            }
            let Some(head) = session.http2().send_data(id, len, false) else { break };
            debug_assert_eq!(head.len, len, "a frame takes what there is room for");
            let (now, later) = left.split_at(head.len);
            session.write(cx, &head, now);
            (left, sent) = (later, sent + head.len);
        }
        if sent > 0 {
            self.activity.went = Some(session.now());
        }
        sent
    }

    /// Whether END_STREAM must wait for a PING. Its acknowledgement proves that the peer has
    /// received every byte, even if the peer hangs up as soon as it has read the end, without a
    /// further acknowledgement. The PING is only sent if a caller can still ask.
    fn holds_end(&self) -> bool {
        !self.send_state.end_may_go && self.stream.is_asked_about()
    }

    /// Records whether the peer's window makes the stream wait.
    pub(super) fn note_stall(&mut self, blocked: bool) {
        if blocked != std::mem::replace(&mut self.send_state.blocked, blocked) {
            self.stream.stalls.set(blocked);
        }
    }

    /// Checks which bytes have left, for a user that waits for room or for its bytes to be sent.
    /// `true` while there may be more to check.
    pub(super) fn settle(&mut self, moved: &Moved) -> bool {
        let Moved { accepted, flushed, .. } = *moved;
        if self.over {
            // The bytes of a cut stream were not sent.
            self.stream.outbox.settle();
            return false;
        }
        let mark = &mut self.send_state.mark;
        !self.stream.outbox.settle_up_to(|taken| {
            if accepted == flushed {
                *mark = None;
                return taken;
            }
            match *mark {
                Some((end, position)) if flushed >= end => {
                    *mark = Some((accepted, taken));
                    position
                }
                Some(_) => 0,
                None => {
                    *mark = Some((accepted, taken));
                    0
                }
            }
        })
    }
}
