//! The sending side of a stream: outbox to h2.

use std::task::{Context, Poll};

use bytes::Buf;

use super::entry::{Entry, Head};
use super::fault;
use crate::error::Ending;

/// What became of a stream's turn to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Nothing is left to send.
    All,
    /// Nothing but END_STREAM, which waits until a PING is behind the bytes.
    AllButTheEnd,
    /// The peer's window is full; the stream's waker tells when it opens.
    Blocked,
    /// There is more, and the stream may go on at its next turn.
    More,
}

impl Entry {
    /// Whether bytes or END_STREAM wait, and h2 would take them.
    pub(super) fn can_send(&self) -> bool {
        let (queued, end) = self.stream.outbox.pending();
        self.send.is_some() && !self.over && (queued > 0 || end)
    }

    /// Hands at most `share` bytes to h2, as far as the peer's windows allow.
    ///
    /// Capacity is reserved for bytes in hand only, and what is left of it is given back: h2 takes
    /// what one stream has reserved from the others (T5).
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        share: usize,
        link_end: Option<&Ending>,
    ) -> Sent {
        if self.over || matches!(self.head, Head::Rejected(..)) {
            return Sent::All;
        }
        let holds_end = self.holds_end();
        let Some(send) = &mut self.send else { return Sent::All };
        let (queued, end) = self.stream.outbox.pending();
        let (wanted, mut room) = (queued.min(share), 0);
        if queued > 0 {
            send.reserve_capacity(wanted);
            room = match poll_room(send, cx) {
                Poll::Pending => return Sent::Blocked,
                // The stream cannot send any more; its receiving side, or `poll_reset`, says why.
                Poll::Ready(None) => return Sent::All,
                Poll::Ready(Some(Err(error))) => {
                    let ending = fault::stream_end(error, link_end, true);
                    self.cut(&ending);
                    return Sent::All;
                }
                Poll::Ready(Some(Ok(room))) => room.min(share),
            };
        } else if !end {
            return Sent::All;
        }
        let taken = match holds_end {
            true => self.stream.outbox.take_bytes(room),
            false => self.stream.outbox.take(room),
        };
        let mut used = 0;
        if let Some(batch) = taken.batch {
            used = batch.remaining();
            let end = batch.is_end();
            if let Err(error) = send.send_data(batch, end) {
                if used == 0 && fault::is_of_a_stream_that_is_over(&error) {
                    // The peer's reset is there, and `poll_reset` says which. It did not want to have
                    // this end, which is all that there was.
                    return Sent::All;
                }
                let ending = fault::stream_end(error, link_end, true);
                self.cut(&ending);
                return Sent::All;
            }
        }
        if taken.left > 0 {
            return Sent::More;
        }
        if used < wanted {
            send.reserve_capacity(0);
        }
        if holds_end { Sent::AllButTheEnd } else { Sent::All }
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
    pub(super) fn settle(&mut self, accepted: u64, flushed: u64) -> bool {
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
                Some((wire, position)) if flushed >= wire => {
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

/// The bytes that h2 would send now. Its `poll_capacity` tells of changes only, so the present
/// state is looked at first.
fn poll_room(
    send: &mut h2::SendStream<crate::pipe::Batch>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<usize, h2::Error>>> {
    loop {
        match send.capacity() {
            0 => match send.poll_capacity(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(end) => return Poll::Ready(end),
            },
            room => return Poll::Ready(Some(Ok(room))),
        }
    }
}
