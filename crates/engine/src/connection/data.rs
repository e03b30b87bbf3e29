//! Received DATA (RFC 9113 §6.1), in pieces that go unchanged to the visitor.
//!
//! The windows are debited for the whole frame when it begins, including padding. Padding and
//! content without a receiver go back at once.

use std::time::Instant;

use super::{Inner, end};
use crate::frame::{Data, Head};
use crate::limits::Row;
use crate::stream::{Came, RecvHalf, Refused};
use crate::streams::{Closed, Found, Known};
use crate::{ConnectionError, Reason, StreamId, Visitor};

impl Inner {
    #[inline]
    pub(super) fn data(
        &mut self,
        data: Data<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let id = data.stream;
        if data.first {
            self.begin_data(data, now, visitor)?;
        }
        // The stream may have been reset since the frame began.
        let slot = match self.data_for == id.get() {
            true => self.streams.slot(id.get()),
            false => None,
        };
        let Some(slot) = slot else {
            self.release_connection(data.bytes.len());
            if data.last && data.end {
                self.note_end(id);
            }
            return Ok(());
        };
        if !data.bytes.is_empty() {
            visitor.data(id, data.bytes);
        }
        if data.last && data.end {
            if let Some(stream) = self.streams.at(slot) {
                stream.recv = RecvHalf::Ended;
            }
            visitor.end(id);
            self.look_whether_over(slot);
        }
        Ok(())
    }

    /// Debits the windows, and sets in `data_for` which stream gets the content.
    #[inline]
    fn begin_data(
        &mut self,
        data: Data<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let (id, flow) = (data.stream, data.flow as usize);
        self.data_for = 0;
        if self.recv_window.receive(flow).is_err() {
            return Err(connection_overflow(data.flow, self.recv_window.available()));
        }
        if data.padding > 0 {
            self.release_connection(data.padding as usize);
        }
        let slot = match self.streams.find(id.get()) {
            Found::Live(slot) => slot,
            Found::Idle => return Err(end::on_idle("DATA", id)),
            Found::Gone(known) => return self.dead_data(id, data.flow, known, now),
        };
        let content = flow - data.padding as usize;
        if content == 0 && data.padding > 0 && !data.end {
            self.spend(Row::EmptyData, 1, now)?;
        }
        match self.take_data(slot, content, &data) {
            Ok(()) => {
                self.data_for = id.get();
                if data.padding > 0 {
                    self.release_stream(slot, data.padding as usize);
                }
                Ok(())
            }
            Err(refused) => self.break_stream(slot, &end::stream_error(refused), now, visitor),
        }
    }

    /// Whether the stream itself accepts a frame.
    #[inline]
    fn take_data(&mut self, slot: u32, content: usize, data: &Data<'_>) -> Result<(), Refused> {
        let Some(stream) = self.streams.at(slot) else { return Ok(()) };
        stream.recv.after(Came::Data { end: data.end })?;
        if stream.recv_window.receive(data.flow as usize).is_err() {
            return Err((
                Reason::FLOW_CONTROL_ERROR,
                "more DATA than the stream's window allows (RFC 9113 §6.9.1)",
            ));
        }
        stream.length.count(content, data.end)
    }

    /// Handles DATA for a stream that is over.
    #[cold]
    fn dead_data(
        &mut self,
        id: StreamId,
        flow: u32,
        known: Known,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        match known {
            Known::Closed(Closed::Ended) | Known::Skipped => {
                return Err(end::after_the_end("DATA", id));
            }
            Known::Closed(Closed::ResetByPeer) => self.refuse_after_reset(id, now)?,
            Known::Closed(Closed::ResetHere) | Known::Forgotten => {}
        }
        // The frame's head counts too, or frames without content would cost nothing.
        self.spend(Row::DeadData, flow + Head::LEN as u32, now)
    }

    /// The peer has ended its side of a stream that was reset here, so it sends nothing more.
    pub(super) fn note_end(&mut self, id: StreamId) {
        if self.streams.find(id.get()) == Found::Gone(Known::Closed(Closed::ResetHere)) {
            self.streams.note(id.get(), Closed::Ended);
        }
    }
}

#[cold]
fn connection_overflow(flow: u32, available: i64) -> ConnectionError {
    ConnectionError::new(
        Reason::FLOW_CONTROL_ERROR,
        format!(
            "DATA of {flow} bytes, at most {available} were expected, which the connection's window \
             has left (RFC 9113 §6.9.1)"
        ),
    )
}
