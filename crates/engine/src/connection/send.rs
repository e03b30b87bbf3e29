//! Sending DATA: whose turn it is, how many bytes may go, and the nine bytes before them.

use super::{Connection, Inner};
use crate::frame::{data, rst_stream};
use crate::stream::{Go, SendHalf, Stream};
use crate::streams::{Closed, Found, Known};
use crate::{Reason, StreamId};

/// The header before content, and the number of bytes of content that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataHead {
    /// The frame's header, which goes right before the content.
    pub header: [u8; 9],
    /// Bytes of content that belong to the frame. Both windows have been debited by this many.
    pub len: usize,
    /// Whether the frame ends this side of the stream.
    pub end: bool,
}

impl Connection {
    /// Begins a DATA frame for a stream of which the caller has `available` bytes. They are the
    /// last if `end`. Returns `None` if nothing can go now: the windows are shut, the response has
    /// not been sent, or this side has ended. A stream with a shut window is remembered, and
    /// [`next_to_send`](Connection::next_to_send) gives it again later.
    ///
    /// The frame follows everything that was handed out before. So call
    /// [`transmit`](Connection::transmit) first if an earlier call has made output.
    pub fn send_data(&mut self, id: StreamId, available: usize, end: bool) -> Option<DataHead> {
        let most = self.inner.max_data();
        let slot = self.inner.slot(id)?;
        debug_assert!(self.inner.output.bytes.is_empty(), "take the output before sending data");
        let Inner { streams, schedule, send_window, .. } = &mut self.inner;
        let stream = streams.at(slot)?;
        if stream.send != SendHalf::Body || (available == 0 && !end) {
            return None;
        }
        let len = available.min(most).min(room(stream, send_window.available()));
        if len == 0 && available > 0 {
            match stream.send_window.available() {
                0 => schedule.block(slot),
                _ => schedule.want(slot),
            }
            return None;
        }
        let end = end && len == available;
        self.inner.take(slot, len, end);
        Some(DataHead { header: data::head(id, len as u32, end).bytes(), len, end })
    }

    /// Ends this side of a stream without more content. An empty DATA frame with END_STREAM goes
    /// out with the output that waits for [`transmit`](Connection::transmit). Returns `false` if
    /// the stream is not open on this side, or its head has not been sent.
    pub fn end(&mut self, id: StreamId) -> bool {
        let Some(slot) = self.inner.slot(id) else { return false };
        if self.inner.streams.at(slot).is_none_or(|stream| stream.send != SendHalf::Body) {
            return false;
        }
        self.inner.output.bytes.extend_from_slice(&data::head(id, 0, true).bytes());
        self.inner.take(slot, 0, true);
        true
    }

    /// Extends a frame that the caller has not begun to write with `available` further bytes of the
    /// stream. They are the last if `end`. Returns how many were added, and writes the header anew.
    ///
    /// The frame must be the last that was asked for on its stream, and no trailers may have
    /// followed.
    pub fn extend_data(
        &mut self,
        id: StreamId,
        head: &mut DataHead,
        available: usize,
        end: bool,
    ) -> usize {
        let most = self.inner.max_data().saturating_sub(head.len);
        let Some(slot) = self.inner.slot(id) else { return 0 };
        let Inner { streams, send_window, .. } = &self.inner;
        let Some(stream) = streams.peek(slot) else { return 0 };
        if head.end || stream.send != SendHalf::Body {
            return 0;
        }
        let len = available.min(most).min(room(stream, send_window.available()));
        head.end = end && len == available;
        head.len += len;
        self.inner.take(slot, len, head.end);
        head.header = data::head(id, head.len as u32, head.end).bytes();
        len
    }

    /// Takes back a frame of which nothing was written, and resets its stream. The frame's part of
    /// the connection's window comes back.
    pub fn withdraw(&mut self, id: StreamId, head: DataHead, reason: Reason) {
        if self.inner.failed.is_some() {
            return;
        }
        self.inner.send_window.untake(head.len);
        match self.inner.streams.find(id.get()) {
            Found::Live(_) => self.reset(id, reason),
            // The stream ended with this frame, and the peer never sees it. A forgotten stream may
            // have been forgotten before the frame is taken back.
            Found::Gone(Known::Closed(Closed::Ended) | Known::Forgotten) if head.end => {
                rst_stream::write(id, reason, &mut self.inner.output.bytes);
            }
            Found::Gone(_) | Found::Idle => {}
        }
    }

    /// The bytes of content that could go now on a stream. 0 also if no content can go at all.
    pub fn send_capacity(&self, id: StreamId) -> usize {
        match self.inner.peek(id) {
            Some(stream) if stream.send == SendHalf::Body => {
                room(stream, self.inner.send_window.available())
            }
            _ => 0,
        }
    }

    /// The bytes of content that the stream's next DATA frame could carry now: the same as
    /// [`send_capacity`](Connection::send_capacity), but at most one frame's content.
    pub fn frame_capacity(&self, id: StreamId) -> usize {
        match self.inner.failed {
            Some(_) => 0,
            None => self.send_capacity(id).min(self.inner.max_data()),
        }
    }

    /// The bytes that the window of a stream allows, whatever the connection's window does.
    /// Negative if SETTINGS have taken back more than was left (RFC 9113 §6.9.2), and 0 for a
    /// stream that is over.
    pub fn stream_capacity(&self, id: StreamId) -> i64 {
        self.inner.peek(id).map_or(0, |stream| stream.send_window.signed())
    }

    /// The bytes of content that could go now on all streams together.
    #[inline]
    pub fn connection_capacity(&self) -> usize {
        self.inner.send_window.available()
    }

    /// The caller has content for a stream. [`next_to_send`](Connection::next_to_send) gives it its
    /// turn, once.
    pub fn want_send(&mut self, id: StreamId) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.schedule.want(slot);
        }
    }

    /// The caller has only the end of a stream, which needs no window. The stream gets its turn
    /// before all streams with content.
    pub fn want_send_end(&mut self, id: StreamId) {
        if let Some(slot) = self.inner.slot(id) {
            self.inner.schedule.want_end(slot);
        }
    }

    /// The next stream that should send and whose windows allow it: the most urgent one
    /// (RFC 9218 §10), and equal ones in turn. It is not given again until the caller wants it to
    /// send. So a stream with more content after a frame goes behind the others. A stream with a
    /// shut window comes back by itself.
    pub fn next_to_send(&mut self) -> Option<StreamId> {
        if self.inner.failed.is_some() {
            return None;
        }
        let Inner { streams, schedule, send_window, .. } = &mut self.inner;
        let is_open = |slot| streams.peek(slot).is_some_and(|s| s.send_window.available() > 0);
        let slot = schedule.next(send_window.available() == 0, is_open)?;
        StreamId::new(streams.peek(slot)?.id)
    }

    /// Whether [`next_to_send`](Connection::next_to_send) could give a stream: one waits for its
    /// turn, though its window may still be shut.
    #[inline]
    pub fn has_turns(&self) -> bool {
        self.inner.schedule.has_turns()
    }
}

/// The bytes that both windows allow.
#[inline]
fn room(stream: &Stream, connection: usize) -> usize {
    stream.send_window.available().min(connection)
}

impl Inner {
    /// The largest content of a DATA frame.
    #[inline]
    fn max_data(&self) -> usize {
        self.config.max_data_frame_size.min(self.theirs.max_frame_size) as usize
    }

    /// A stream that is open, to be looked at.
    pub(super) fn peek(&self, id: StreamId) -> Option<&Stream> {
        self.streams.get(id.get())
    }

    /// Debits both windows, and ends the side.
    #[inline]
    fn take(&mut self, slot: u32, len: usize, end: bool) {
        let Some(stream) = self.streams.at(slot) else { return };
        stream.send_window.take(len);
        self.send_window.take(len);
        self.limits.sent(len);
        if end {
            // The callers have checked that data may go.
            stream.send = stream.send.after(Go::Data { end }).unwrap_or(SendHalf::Ended);
            self.sent_end(slot);
        }
    }
}
