//! The heads and trailers that this side of a stream sends.

use std::sync::Arc;

use h2conn_engine::SendError;
use http::{Method, Response};

use super::{Entry, Head};
use crate::conn::{Carrier, Exchange};
use crate::error::Reason;
use crate::link::fault;
use crate::link::session::Session;

impl Entry {
    /// Whether its user has given a head that must be sent.
    pub(in crate::link) fn has_head_to_send(&self) -> bool {
        self.stream.has_answer() || self.stream.exchange().is_some_and(Exchange::has_interim)
    }

    /// Sends the interim responses that its user has given.
    pub(in crate::link) fn inform(&mut self, session: &mut Session) {
        let (Some(id), Some(exchange)) = (self.id, self.stream.exchange()) else { return };
        for head in exchange.take_interim() {
            self.activity.went = Some(session.now());
            // Of a stream that is over the user knows already.
            let _ = session.inform(id, &Response::from_parts(head, ()));
        }
    }

    /// Sends the server's answer, which its user has given. Returns whether it accepts the request.
    pub(in crate::link) fn answer(&mut self, session: &mut Session) -> bool {
        let Some(id) = self.id else { return false };
        let Some((head, is_whole)) = self.stream.take_answer() else { return false };
        self.head = Head::Done;
        self.activity.went = Some(session.now());
        // The answer to a HEAD request has no body (RFC 9110 §9.3.2), even if bytes were written.
        let bodiless = is_whole || self.stream.request.method == Method::HEAD;
        let status = head.status;
        match session.respond(id, &Response::from_parts(head, ()), bodiless) {
            Ok(()) if bodiless => {
                self.stream.outbox.finish();
                self.end_went_with_the_head();
            }
            Ok(()) => self.sends = true,
            Err(SendError::Unsendable(error)) => {
                let ending = fault::unsendable("response", &error);
                self.reset(session, Reason::INTERNAL_ERROR, &ending);
            }
            Err(SendError::Order) => {
                let ending = fault::no_response(status);
                self.reset(session, Reason::INTERNAL_ERROR, &ending);
            }
            // The stream is over, and its user knows why.
            Err(_) => {}
        }
        // A browser's first requests may be redirected, or find nothing new.
        let is_served = status.is_redirection() && self.stream.is_ordinary();
        status.is_success() || is_served
    }

    /// END_STREAM was sent with this side's head.
    pub(in crate::link) fn end_went_with_the_head(&mut self) {
        drop(self.stream.outbox.take(usize::MAX));
        self.stream.outbox.mark_sent(self.stream.outbox.settle());
    }

    /// Sends this side's trailers, which end it.
    pub(in crate::link) fn send_trailers(&mut self, session: &mut Session) {
        let trailers = self.stream.exchange().and_then(Exchange::take_trailers);
        let (Some(id), Some(trailers)) = (self.id, trailers) else { return };
        match session.trailers(id, &trailers) {
            Ok(()) => {
                // Nothing but the end is left.
                drop(self.stream.outbox.take(0));
                self.sends = false;
            }
            Err(SendError::Unsendable(error)) => {
                let ending = fault::unsendable("trailers", &error);
                self.reset(session, Reason::INTERNAL_ERROR, &ending);
                // The driver must see to the end.
                Arc::clone(&self.carrier).changed();
            }
            // A CONNECT has no trailers (RFC 9113 §8.5).
            Err(SendError::Order) => {
                if session.http2().end(id) {
                    drop(self.stream.outbox.take(0));
                    self.sends = false;
                }
            }
            // The stream is over, and its user knows why.
            Err(_) => {}
        }
    }
}
