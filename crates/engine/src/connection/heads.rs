//! Received field blocks: requests, responses, trailers, and blocks of streams that are over.
//!
//! Every block is decoded, or the tables of both ends would no longer match (RFC 9113 §4.3).

use std::time::Instant;

use super::{Inner, end};
use crate::frame::{Headers, headers};
use crate::head::{
    Asked, Limits as HeadLimits, Outgoing, ReceivedRequest, Refused, RequestHead, ResponseHead,
    Trailers,
};
use crate::hpack::Field;
use crate::limits::Row;
use crate::schedule::DEFAULT_URGENCY;
use crate::stream::{Came, ContentLength, RecvHalf, SendHalf, Stream};
use crate::streams::{Closed, Found, Known};
use crate::window::{RecvWindow, SendWindow};
use crate::{ConnectionError, Priority, Reason, StreamError, StreamId, Visitor};

impl Inner {
    pub(super) fn headers(
        &mut self,
        headers: Headers<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let id = headers.stream;
        match self.streams.find(id.get()) {
            Found::Live(slot) => self.head_of_open(slot, headers, now, visitor),
            Found::Idle if self.is_server && id.is_client_initiated() => {
                self.request(headers, now, visitor)
            }
            Found::Idle if self.is_server => Err(ConnectionError::protocol(format!(
                "HEADERS on stream {id}, an odd number was expected of a client (RFC 9113 §5.1.1)"
            ))),
            Found::Idle => Err(end::on_idle("HEADERS of a server", id)),
            Found::Gone(known) => self.head_of_gone(headers, known, now),
        }
    }

    fn head_limits(&self) -> HeadLimits {
        HeadLimits {
            size: self.config.max_header_list_size as usize,
            count: self.config.max_fields,
        }
    }

    fn decode(
        &mut self,
        block: &[u8],
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), ConnectionError> {
        self.decoder
            .decode(block, sink)
            .map_err(|error| ConnectionError::new(Reason::COMPRESSION_ERROR, error.to_string()))
    }

    /// Decodes a block only to keep the tables in step.
    fn skip_block(&mut self, block: &[u8]) -> Result<(), ConnectionError> {
        self.decode(block, &mut |_| {})
    }

    /// Opens or refuses a server's stream.
    fn request(
        &mut self,
        headers: Headers<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let Headers { stream: id, block, end, fault } = headers;
        let how = if end { Closed::Ended } else { Closed::ResetHere };
        if self.our_last.is_some_and(|last| id.get() > last) {
            // The client has not yet read the GOAWAY, and will try again elsewhere (RFC 9113 §6.8).
            self.skip_block(block)?;
            self.pass(id, how);
            return self.spend(Row::StreamErrors, 1, now);
        }
        if self.streams.open() >= self.config.max_concurrent_streams as usize {
            self.skip_block(block)?;
            self.pass(id, how);
            return self.answer_reset(id, Reason::REFUSED_STREAM, now);
        }
        let extended_connect = self.config.extended_connect;
        let mut head = RequestHead::new(self.head_limits(), self.values_before, extended_connect);
        self.decode(block, &mut |field| head.field(field))?;
        let received = match (fault, head.finish()) {
            (None, Ok(received)) => received,
            (Some(error), _) | (None, Err(Refused::Malformed(error))) => {
                return self.refuse_request(id, how, &error, now, visitor);
            }
            (None, Err(refused @ Refused::TooLarge { .. })) => {
                return self.answer_431(id, end, &refused, now, visitor);
            }
        };
        let ReceivedRequest { request, content_length, values } = received;
        self.values_before = values;
        let mut length = ContentLength::new(content_length);
        if end && let Err(refused) = length.count(0, true) {
            let error = end::stream_error(refused);
            return self.refuse_request(id, how, &error, now, visitor);
        }
        let urgency = match self.early_urgency(id.get()) {
            Some(urgency) => urgency,
            None if request.headers().is_empty() => DEFAULT_URGENCY,
            None => Priority::from_headers(request.headers()).urgency(),
        };
        let stream = Stream {
            id: id.get(),
            send: SendHalf::Head,
            recv: if end { RecvHalf::Ended } else { RecvHalf::Body },
            update_listed: false,
            asked: Asked::from(request.method()),
            length,
            send_window: SendWindow::new(self.theirs.initial_window_size),
            recv_window: RecvWindow::new(self.stream_window),
        };
        self.enter(stream, urgency);
        visitor.request(id, request, end);
        Ok(())
    }

    /// Records a stream that ends before it has begun.
    fn pass(&mut self, id: StreamId, how: Closed) {
        if how == Closed::ResetHere {
            self.limits.expect(Row::DeadData, self.stream_window.into());
            self.limits.expect(Row::Heads, 1);
        }
        self.streams.pass(id.get(), how);
    }

    fn refuse_request(
        &mut self,
        id: StreamId,
        how: Closed,
        error: &StreamError,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        self.pass(id, how);
        self.answer_reset(id, error.reason(), now)?;
        visitor.broken(id, error);
        Ok(())
    }

    /// Answers a request with too many or too large fields. An answer says more than a reset
    /// (RFC 6585 §5).
    fn answer_431(
        &mut self,
        id: StreamId,
        end: bool,
        refused: &Refused,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        self.spend(Row::StreamErrors, 1, now)?;
        self.pass(id, if end { Closed::Ended } else { Closed::ResetHere });
        let mut response = http::Response::new(());
        *response.status_mut() = http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        if let Ok(head) = Outgoing::response(&response) {
            let Inner { output, encoder, theirs, .. } = self;
            let max = theirs.max_frame_size;
            output.answer(|into| {
                headers::write(id, true, max, into, |into| head.write(encoder, into));
                if !end {
                    crate::frame::rst_stream::write(id, Reason::NO_ERROR, into);
                }
            })?;
        }
        visitor.broken(id, &too_large(refused));
        Ok(())
    }

    /// A block on a stream that is open: a response, or trailers.
    fn head_of_open(
        &mut self,
        slot: u32,
        headers: Headers<'_>,
        now: Instant,
        visitor: &mut impl Visitor,
    ) -> Result<(), ConnectionError> {
        let Headers { stream: id, block, end, fault } = headers;
        let Some(stream) = self.streams.peek(slot) else { return Ok(()) };
        let (recv, asked) = (stream.recv, stream.asked);
        let outcome = match recv {
            RecvHalf::Ended => {
                self.skip_block(block)?;
                Err(recv.after(Came::Trailers { end }).map_or_else(end::stream_error, |_| {
                    StreamError::protocol("HEADERS after END_STREAM (RFC 9113 §5.1)")
                }))
            }
            RecvHalf::Head => {
                let mut head = ResponseHead::new(self.head_limits(), self.values_before);
                self.decode(block, &mut |field| head.field(field))?;
                match fault {
                    Some(error) => Err(error),
                    None => self.response(slot, id, head, end, visitor),
                }
            }
            RecvHalf::Body => {
                let mut trailers = Trailers::new(self.head_limits());
                self.decode(block, &mut |field| trailers.field(field))?;
                match fault {
                    Some(error) => Err(error),
                    None if asked == Asked::Connect => Err(StreamError::protocol(
                        "trailers on a CONNECT stream, DATA alone was expected (RFC 9113 §8.5)",
                    )),
                    None => self.trailers(slot, id, trailers, end, visitor),
                }
            }
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                self.break_stream(slot, &error, now, visitor)?;
                if end {
                    self.note_end(id);
                }
                Ok(())
            }
        }
    }

    fn response(
        &mut self,
        slot: u32,
        id: StreamId,
        head: ResponseHead,
        end: bool,
        visitor: &mut impl Visitor,
    ) -> Result<(), StreamError> {
        let received = head.finish(end).map_err(|refused| refusal(&refused))?;
        let Some(stream) = self.streams.at(slot) else { return Ok(()) };
        if received.is_interim() {
            stream.recv = stream.recv.after(Came::Interim { end }).map_err(end::stream_error)?;
            visitor.informational(id, received.response);
            return Ok(());
        }
        self.values_before = received.values;
        let recv = stream.recv.after(Came::Head { end }).map_err(end::stream_error)?;
        stream.length = ContentLength::new(received.content_length(stream.asked));
        if end && stream.asked != Asked::Head {
            stream.length.count(0, true).map_err(end::stream_error)?;
        }
        stream.recv = recv;
        if stream.asked == Asked::Connect && !received.response.status().is_success() {
            // This is not a tunnel, but an ordinary response.
            stream.asked = Asked::Other;
        }
        visitor.response(id, received.response, end);
        self.look_whether_over(slot);
        Ok(())
    }

    fn trailers(
        &mut self,
        slot: u32,
        id: StreamId,
        trailers: Trailers,
        end: bool,
        visitor: &mut impl Visitor,
    ) -> Result<(), StreamError> {
        let trailers = trailers.finish().map_err(|refused| refusal(&refused))?;
        let Some(stream) = self.streams.at(slot) else { return Ok(()) };
        let recv = stream.recv.after(Came::Trailers { end }).map_err(end::stream_error)?;
        stream.length.count(0, true).map_err(end::stream_error)?;
        stream.recv = recv;
        visitor.trailers(id, trailers);
        visitor.end(id);
        self.look_whether_over(slot);
        Ok(())
    }

    /// A block on a stream that is over.
    fn head_of_gone(
        &mut self,
        headers: Headers<'_>,
        known: Known,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        let Headers { stream: id, block, end, .. } = headers;
        match known {
            Known::Closed(Closed::Ended) => return Err(end::after_the_end("HEADERS", id)),
            Known::Skipped => {
                return Err(ConnectionError::protocol(format!(
                    "HEADERS on stream {id}, more than {} was expected, which was the last \
                     (RFC 9113 §5.1.1)",
                    self.streams.highest()
                )));
            }
            Known::Closed(Closed::ResetByPeer) => self.refuse_after_reset(id, now)?,
            Known::Closed(Closed::ResetHere) | Known::Forgotten => {}
        }
        self.skip_block(block)?;
        if end {
            self.note_end(id);
        }
        match self.is_server {
            // On a client, the frame's head has already charged the row.
            false => Ok(()),
            true => self.spend(Row::Heads, 1, now),
        }
    }
}

/// The error for which a head or trailers cause a reset.
fn refusal(refused: &Refused) -> StreamError {
    match refused {
        Refused::Malformed(error) => error.clone(),
        Refused::TooLarge { .. } => too_large(refused),
    }
}

fn too_large(refused: &Refused) -> StreamError {
    StreamError::protocol(refused.to_string())
}
