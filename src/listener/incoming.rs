//! A client's request for a connection, and the answer to it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};

use super::handle::Decided;
use crate::conn::{Addr, Conn, Offer, OnDrop, Stream, Transport};
use crate::error::{Error, ErrorKind, Result};

/// A request for a connection that waits for its answer.
///
/// Dropping it refuses the request with `REFUSED_STREAM`, which tells the client that it may try
/// again (RFC 9113 §8.7). The client of a WebSocket gets 503.
#[derive(Debug)]
pub struct Incoming {
    offer: Offer,
    decided: Arc<Decided>,
}

impl Incoming {
    /// A request that no listener counts.
    pub(crate) fn new(offer: Offer) -> Incoming {
        Incoming::counted(offer, &Arc::default())
    }

    pub(super) fn counted(offer: Offer, decided: &Arc<Decided>) -> Incoming {
        Incoming { offer, decided: Arc::clone(decided) }
    }

    fn stream(&self) -> &Stream {
        self.offer.stream()
    }

    /// The request's method.
    pub fn method(&self) -> &Method {
        &self.stream().request.method
    }

    /// The request's target.
    pub fn uri(&self) -> &Uri {
        &self.stream().request.uri
    }

    /// The request's header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.stream().request.headers
    }

    /// The form in which the request would carry the connection.
    pub fn transport(&self) -> &Transport {
        &self.stream().transport
    }

    /// This end's address.
    pub fn local_addr(&self) -> &Addr {
        &self.stream().link.local
    }

    /// The client's address.
    pub fn peer_addr(&self) -> &Addr {
        &self.stream().link.peer
    }

    /// The client's certificates in DER, its own first. Empty if it showed none.
    pub fn peer_certificates(&self) -> &[Bytes] {
        &self.stream().link.peer_certificates
    }

    /// Accepts the connection. The client is answered with 200 at once, before anything is written, or
    /// with 101 if it asks for a WebSocket.
    ///
    /// # Errors
    ///
    /// Fails with the error that ended the connection, if the client has gone already.
    pub fn accept(self) -> Result<Conn> {
        self.accept_with(Response::new(()))
    }

    /// Accepts the connection with the status and the header fields of `response`.
    ///
    /// # Errors
    ///
    /// Fails with [`ErrorKind::InvalidInput`] when the status is not 2xx, or when a CONNECT is
    /// answered with `content-length` (RFC 9110 §9.3.6). The client is then answered with 500.
    /// Fails with the error that ended the connection, if the client has gone already.
    pub fn accept_with(self, response: Response<()>) -> Result<Conn> {
        let (head, ()) = response.into_parts();
        if !head.status.is_success() {
            let message = format!(
                "a connection was to be accepted with status {}; only 2xx accepts, use reject",
                head.status
            );
            self.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if *self.method() == Method::CONNECT && head.headers.contains_key(header::CONTENT_LENGTH) {
            // RFC 9110 §9.3.6.
            let message =
                "a CONNECT was to be accepted with content-length, which must not be sent";
            self.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let stream = self.offer.take();
        let answered = stream.accept(head);
        // A client's complete request with its end can be read even after the client has gone.
        let is_complete = stream.inbox.is_complete();
        let conn = Conn::new(stream);
        match answered {
            Err(error) if !is_complete => Err(error),
            _ => {
                self.decided.accepted();
                Ok(conn)
            }
        }
    }

    /// Refuses the connection with a status, and a short text that names it.
    pub fn reject(self, status: StatusCode) {
        let reason = status.canonical_reason().unwrap_or("refused");
        self.refuse(status, None, format!("{} {reason}\n", status.as_str()));
    }

    /// Refuses the connection with a response of your own.
    pub fn reject_with(self, response: Response<impl Into<Bytes>>) {
        let (head, body) = response.into_parts();
        self.decided.rejected();
        let (stream, body) = (self.offer.take(), body.into());
        // The queue is empty, so it has room for the whole body at once.
        let _ = stream.give_answer(head);
        let conn = Conn::new(stream);
        // A refusal is a complete answer, so finish it even if dropped connections must be reset.
        conn.on_drop(OnDrop::Finish);
        let _ = pin!(conn.write_chunk(body)).poll(&mut Context::from_waker(Waker::noop()));
    }

    pub(super) fn refuse(
        self,
        status: StatusCode,
        field: Option<(HeaderName, String)>,
        text: String,
    ) {
        let mut response = Response::new(Bytes::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        if let Some((name, value)) = field
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
        self.reject_with(response);
    }
}
