//! The end of a session: its last word, the proofs of delivery, the end of its transport.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use h2conn_engine::{Reason, StreamId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Session, copy_error};

impl Session {
    /// Sends GOAWAY: no streams of the peer above `last` are accepted.
    pub(in crate::link) fn go_away(&mut self, last: Option<StreamId>, reason: Reason, text: &str) {
        self.engine.go_away(last, reason, text.as_bytes());
    }

    /// A last word was said, so the transport must be ended in order once the link is over.
    pub(in crate::link) fn must_part(&mut self) {
        self.parts = true;
    }

    /// Ends this side of the transport after everything that was written, and waits for the peer to
    /// end its own side. Bytes that still come are dropped. Ready at once if there is nothing to
    /// wait for.
    pub(in crate::link) fn poll_parted(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.parts && !self.shut && self.broken.is_none() {
            self.transmit();
            self.flush(cx);
            if self.broken.is_none() && self.moved.backlog() > 0 {
                return Poll::Pending;
            }
            let poll = Pin::new(&mut self.io).poll_shutdown(cx);
            if poll.is_pending() {
                return Poll::Pending;
            }
            self.shut = matches!(poll, Poll::Ready(Ok(())));
        }
        if !self.shut || self.read_end {
            return Poll::Ready(());
        }
        while ready!(poll_discard(Pin::new(&mut self.io), cx)) > 0 {}
        Poll::Ready(())
    }

    /// Asks whether the peer has received everything that was written so far. Returns the number of
    /// the PING whose acknowledgement proves it. The PING goes out with the next output.
    pub(in crate::link) fn ask(&mut self) -> u64 {
        if self.heads_wait {
            self.confirm.want();
            return self.confirm.next_number();
        }
        self.confirm.ask()
    }

    /// The same as [`Session::ask`], but puts the PING at once behind the written bytes.
    pub(in crate::link) fn ask_now(&mut self) -> u64 {
        self.transmit();
        let number = self.confirm.ask();
        self.put_ping();
        number
    }

    /// The same as [`Session::ask_now`], for all output, whether it is owed or not.
    pub(in crate::link) fn ask_behind_all(&mut self) -> u64 {
        self.transmit();
        self.confirm.want();
        let number = self.confirm.next_number();
        self.put_ping();
        number
    }

    /// The number of the last PING of [`Session::ask`] that was acknowledged.
    pub(in crate::link) fn confirmed(&self) -> u64 {
        self.confirm.last()
    }

    /// A stream is over, and the peer must receive everything that was sent of it.
    pub(in crate::link) fn must_be_whole(&mut self) {
        self.confirm.must_be_whole(self.moved.accepted);
        // Its head may be among those that HTTP/2 has not yet handed out.
        self.whole_heads_wait |= self.heads_wait;
    }

    /// Whether the peer may still lack a part of a stream that it must receive in full. `are_left`
    /// says whether some of these streams are not over.
    pub(in crate::link) fn owes(&self, are_left: bool) -> bool {
        self.whole_heads_wait || (are_left && self.heads_wait) || self.confirm.owes(are_left)
    }

    /// Whether the missing part may be more than the ends of streams.
    pub(in crate::link) fn owes_bytes(&self, are_left: bool) -> bool {
        self.whole_heads_wait || (are_left && self.heads_wait) || self.confirm.owes_bytes(are_left)
    }

    /// Whether nothing more can be read from the transport.
    pub(in crate::link) fn has_read_end(&self) -> bool {
        self.read_end
    }

    /// Whether nothing more can be written to the transport.
    pub(in crate::link) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The first bytes that the peer sent, until its SETTINGS came.
    pub(in crate::link) fn first_bytes(&self) -> &[u8] {
        &self.first
    }

    /// When bytes were last read.
    pub(in crate::link) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The error that ended reading, if there is one.
    pub(in crate::link) fn take_read_error(&mut self) -> Option<Arc<io::Error>> {
        self.failed.take().map(Arc::new)
    }

    /// The error that ended writing, if there is one.
    pub(in crate::link) fn write_error(&self) -> Option<Arc<io::Error>> {
        self.broken.as_ref().map(|error| Arc::new(copy_error(error)))
    }
}

/// Reads some bytes and drops them. Returns their number, and 0 once the transport has ended or has
/// failed. A task that waits here holds no buffer.
pub(crate) fn poll_discard(
    io: Pin<&mut (impl AsyncRead + ?Sized)>,
    cx: &mut Context<'_>,
) -> Poll<usize> {
    let mut bytes = [0; 4096];
    let mut buf = ReadBuf::new(&mut bytes);
    Poll::Ready(ready!(io.poll_read(cx, &mut buf)).map_or(0, |()| buf.filled().len()))
}
