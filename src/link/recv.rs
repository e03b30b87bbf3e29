//! The receiving side of a stream: h2 to inbox, and windows back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use http::{HeaderMap, Method, Response};

use super::entry::{Entry, Head};
use super::fault;
use crate::config::REJECTION_BODY;
use crate::error::{Ending, Error, Reason};
use crate::pipe::Batch;

/// What the driver must do for a stream after a look at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes that have come into the inbox.
    pub(super) held: usize,
    /// Bytes whose window has been given back.
    pub(super) released: usize,
    /// A refusal's body is awaited, for a bounded time.
    pub(super) rejected: bool,
    /// The size of the response head that was sent.
    pub(super) head: usize,
    /// A response head waits for room.
    pub(super) waits: bool,
}

/// About as many bytes as the fields take on the wire; what compression saves is not counted on.
pub(super) fn head_size(fields: &HeaderMap) -> usize {
    const FRAME_AND_PSEUDO_FIELDS: usize = 64;
    let fields = fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    FRAME_AND_PSEUDO_FIELDS + fields.sum::<usize>()
}

impl Entry {
    /// Takes whatever has come, always all of it: what is left in h2 counts against limits that
    /// end the link (T1).
    ///
    /// A response head is sent only if `may_answer`: many at once would fill the wire.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        link_end: Option<&Ending>,
        may_answer: bool,
    ) -> Received {
        let mut received = Received::default();
        if !self.over {
            received.rejected = self.poll_response(cx, link_end);
            received.held = self.poll_body(cx, link_end);
            self.poll_reset(cx, link_end);
        }
        if !self.over && matches!(self.head, Head::Unanswered(_)) && self.stream.has_answer() {
            received.waits = !may_answer;
            received.head = if may_answer { self.answer() } else { 0 };
        }
        received.released = self.release();
        received
    }

    /// Waits for the client's response; `true` when a refusal has just come.
    fn poll_response(&mut self, cx: &mut Context<'_>, link_end: Option<&Ending>) -> bool {
        let Head::Asked(response) = &mut self.head else { return false };
        match Pin::new(response).poll(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(response)) => self.answered(response),
            Poll::Ready(Err(error)) => {
                let ending = fault::stream_end(error, link_end, false);
                self.cut(&ending);
                false
            }
        }
    }

    fn answered(&mut self, response: Response<h2::RecvStream>) -> bool {
        let (head, body) = response.into_parts();
        self.recv = Some(body);
        if let Some(lease) = &self.lease {
            lease.was_answered();
        }
        self.stream.set_answer(Ok(head.clone()));
        if head.status.is_success() {
            self.head = Head::Done;
            return false;
        }
        self.head = Head::Rejected(Box::new(head), BytesMut::new());
        true
    }

    /// Sends the server's answer, which its user has given; gives its size.
    fn answer(&mut self) -> usize {
        let Some(head) = self.stream.take_answer() else { return 0 };
        let Head::Unanswered(mut respond) = std::mem::replace(&mut self.head, Head::Done) else {
            return 0;
        };
        let size = head_size(&head.headers);
        // The answer to a HEAD request has no body (RFC 9110 §9.3.2), whatever was written.
        let bodiless = self.stream.request.method == Method::HEAD;
        match respond.send_response(Response::from_parts(head, ()), bodiless) {
            Ok(_) if bodiless => {
                self.stream.outbox.finish();
                drop(self.stream.outbox.take(usize::MAX));
                self.stream.outbox.mark_sent(self.stream.outbox.settle());
            }
            Ok(send) => self.send = Some(send),
            // The stream is over, and its receiving side or `poll_reset` is about to say why.
            Err(_) => self.head = Head::Unanswered(respond),
        }
        size
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, link_end: Option<&Ending>) -> usize {
        let mut held = 0;
        while !self.received_end {
            let Some(recv) = &mut self.recv else { break };
            match recv.poll_data(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(bytes))) => held += self.keep(bytes),
                Poll::Ready(Some(Err(error))) => {
                    let ending = fault::stream_end(error, link_end, true);
                    if !self.finish_rejection() {
                        self.cut(&ending);
                    }
                }
                Poll::Ready(None) if self.has_forbidden_trailers(cx) => {
                    let reason = Reason::PROTOCOL_ERROR;
                    let text = "it sent trailers on a CONNECT stream, which carries data only";
                    self.reset(reason, &Ending::Violation(reason, text.into()));
                }
                Poll::Ready(None) => {
                    self.received_end = true;
                    if !self.finish_rejection() {
                        self.stream.inbox.finish(Ok(()));
                    }
                }
            }
        }
        held
    }

    /// After the last DATA: whether trailers follow on a CONNECT stream (RFC 9113 §8.5). The
    /// response that refuses a CONNECT is like any other.
    fn has_forbidden_trailers(&mut self, cx: &mut Context<'_>) -> bool {
        let connected = self.stream.request.method == Method::CONNECT
            && !matches!(self.head, Head::Rejected(..));
        let Some(recv) = self.recv.as_mut().filter(|_| connected) else { return false };
        matches!(recv.poll_trailers(cx), Poll::Ready(Ok(Some(_))))
    }

    /// Puts bytes where they belong; says how many the inbox has taken on.
    fn keep(&mut self, bytes: Bytes) -> usize {
        let len = bytes.len();
        if let Head::Rejected(_, body) = &mut self.head {
            let room = REJECTION_BODY - body.len();
            body.extend_from_slice(&bytes[..len.min(room)]);
            if let Some(recv) = &mut self.recv {
                let _ = recv.flow_control().release_capacity(len);
            }
            if room <= len {
                self.finish_rejection();
            }
            return 0;
        }
        self.linger.dropped(len);
        if len > 0 {
            self.held += len;
            self.stream.inbox.push(bytes);
        }
        len
    }

    /// Turns a refusal, with what has come of its body, into the error that the user gets.
    /// `false` if there is none.
    pub(super) fn finish_rejection(&mut self) -> bool {
        let what = self.what();
        let Head::Rejected(head, body) = &mut self.head else { return false };
        let error = Error::rejected(&what, (**head).clone(), body.split().freeze());
        self.head = Head::Done;
        self.send_reset(Reason::CANCEL);
        self.fail(error.clone(), error);
        true
    }

    /// Hears of a reset where no body is left to tell it: after the peer's END_STREAM.
    fn poll_reset(&mut self, cx: &mut Context<'_>, link_end: Option<&Ending>) {
        if self.over || !self.received_end {
            return;
        }
        let poll = match (&mut self.send, &mut self.head) {
            (Some(send), _) => send.poll_reset(cx),
            (None, Head::Unanswered(respond)) => SendResponse::<Batch>::poll_reset(respond, cx),
            _ => return,
        };
        let ending = match poll {
            Poll::Pending => return,
            Poll::Ready(Ok(reason)) => {
                // h2 gives a reason here also when it is the link that has ended with it.
                let reason = fault::from_h2(reason);
                let of_link = link_end.filter(|ending| ending.is_of_link(reason));
                of_link.cloned().unwrap_or(Ending::Reset(reason))
            }
            Poll::Ready(Err(error)) => fault::stream_end(error, link_end, true),
        };
        self.is_cut = !ending.is_of_stream();
        let error = ending.write_error();
        self.stream.outbox.fail(error.clone());
        self.end(Err(error));
    }

    /// Gives back the window of what the user has read.
    pub(super) fn release(&mut self) -> usize {
        let consumed = self.stream.inbox.take_consumed();
        if consumed > 0 {
            self.held -= consumed;
            if self.over {
                self.stream.inbox.set_threshold(self.held);
            }
            if let Some(recv) = &mut self.recv {
                // h2 refuses only what it has not received.
                let _ = recv.flow_control().release_capacity(consumed);
            }
        }
        consumed
    }
}
