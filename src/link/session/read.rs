//! Reading from the transport: the size of a read, and its processing by HTTP/2.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use h2conn_engine::{ConnectionError, Visitor};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::Session;

/// The most bytes that are read at once: two of our frames with their heads. With room for a single
/// frame, a frame would take two reads.
const READ: usize = 128 << 10;

/// A link begins with reads of this size, because it is not yet known what the peer sends.
/// Processing requests takes up to some hundred times as long as processing content.
pub(super) const FIRST_READ: usize = 16 << 10;

/// Reads do not get smaller than this.
const LEAST_READ: usize = 4 << 10;

/// Reads get smaller while processing one takes longer than this, because other links wait
/// meanwhile. They get larger while it takes less than a quarter of this.
const READ_TIME: Duration = Duration::from_millis(1);

thread_local! {
    /// Room to read into. It holds nothing between two reads, so all links of a thread share it,
    /// and an idle link has none.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The number of the peer's first bytes that are kept, for an error that shows them.
const FIRST: usize = 64;

/// The outcome of a read.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::link) enum Read {
    /// There may be more to read.
    More,
    /// The transport has no more for now, and wakes the task.
    Nothing,
    /// Nothing more can be read from the transport.
    End,
}

impl Session {
    /// Reads once, and has HTTP/2 report the events.
    ///
    /// # Errors
    ///
    /// The peer has broken a rule that ends the connection. HTTP/2 still has a last word to say.
    pub(in crate::link) fn read(
        &mut self,
        cx: &mut Context<'_>,
        visitor: &mut impl Visitor,
    ) -> Result<(Read, usize), ConnectionError> {
        if self.read_end {
            return Ok((Read::End, 0));
        }
        if self.prefix.has_remaining() {
            let prefix = std::mem::take(&mut self.prefix);
            return self.receive(&prefix, visitor).map(|()| (Read::More, prefix.len()));
        }
        let mut room = ROOM.take();
        room.resize(READ, 0);
        let mut buf = ReadBuf::new(&mut room[..self.read_size]);
        let read = match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Pending => Ok((Read::Nothing, 0)),
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                self.receive(buf.filled(), visitor).map(|()| (Read::More, buf.filled().len()))
            }
            Poll::Ready(end) => {
                self.failed = end.err();
                self.read_end = true;
                Ok((Read::End, 0))
            }
        };
        ROOM.set(room);
        read
    }

    fn receive(&mut self, bytes: &[u8], visitor: &mut impl Visitor) -> Result<(), ConnectionError> {
        self.moved.received += bytes.len() as u64;
        if let Some(trace) = &mut self.trace {
            trace.received(bytes);
        }
        if !self.engine.has_peer_settings() {
            let wanted = FIRST.saturating_sub(self.first.len()).min(bytes.len());
            self.first.extend_from_slice(&bytes[..wanted]);
        }
        let now = Instant::now();
        (self.read_at, self.turn_at) = (now, Some(now));
        let began = now.into_std();
        let received = self.engine.receive(began, bytes, visitor);
        self.parts |= received.is_err();
        if bytes.len() >= self.read_size {
            self.read_size = fitting(self.read_size, began.elapsed());
        }
        received
    }
}

/// The size of the next read, if processing one of `size` took this time.
fn fitting(size: usize, took: Duration) -> usize {
    if took > READ_TIME {
        (size / 2).max(LEAST_READ)
    } else if took < READ_TIME / 4 {
        (size * 2).min(READ)
    } else {
        size
    }
}
