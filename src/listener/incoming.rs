//! A client's request for a connection, and the answer to it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};

use super::handle::Decided;
#[cfg(feature = "websocket")]
use super::websocket::{AskedByHttp2, not_taken};
use crate::conn::{Addr, Conn, Offer, OnDrop, Stream, Transport, has_no_content};
use crate::error::{Error, ErrorKind, Result};

/// A request for a connection that waits for its answer.
///
/// Dropping it refuses the request with `REFUSED_STREAM`, which tells the client that it may try
/// again (RFC 9113 §8.7). The client of a WebSocket gets 503, over both versions of HTTP.
#[derive(Debug)]
pub struct Incoming {
    offer: Offer,
    decided: Arc<Decided>,
    /// The WebSocket over HTTP/2 that the request asks for.
    #[cfg(feature = "websocket")]
    websocket: Option<AskedByHttp2>,
}

impl Incoming {
    /// A request that no listener counts.
    pub(crate) fn new(offer: Offer) -> Incoming {
        Incoming::counted(offer, &Arc::default())
    }

    pub(super) fn counted(offer: Offer, decided: &Arc<Decided>) -> Incoming {
        Incoming {
            offer,
            decided: Arc::clone(decided),
            #[cfg(feature = "websocket")]
            websocket: None,
        }
    }

    /// Makes it the request for this WebSocket.
    #[cfg(feature = "websocket")]
    pub(super) fn for_websocket(mut self, asked: AskedByHttp2) -> Incoming {
        self.offer.refuse_by(not_taken);
        self.websocket = Some(asked);
        self
    }

    #[cfg(feature = "websocket")]
    fn is_for_websocket(&self) -> bool {
        self.websocket.is_some()
    }

    #[cfg(not(feature = "websocket"))]
    fn is_for_websocket(&self) -> bool {
        false
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
        match self.is_for_websocket() {
            true => &Transport::WebSocketHttp2,
            false => &self.stream().transport,
        }
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
    /// with 101 if it asks for a WebSocket over HTTP/1.1.
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
    /// Fails with [`ErrorKind::InvalidInput`] when the status is not 2xx, when it is 204 or 205, which
    /// have no content (RFC 9110 §15.3.5, §15.3.6), or when a CONNECT is answered with
    /// `content-length` (RFC 9110 §9.3.6), unless it asks for a WebSocket, whose answer loses the field.
    /// The client is then answered with 500.
    /// Fails with the error that ended the connection, if the client has gone already.
    pub fn accept_with(self, response: Response<()>) -> Result<Conn> {
        let (head, ()) = response.into_parts();
        if !head.status.is_success() || has_no_content(head.status) {
            let message = format!(
                "a connection was to be accepted with status {}; only a 2xx with content accepts, use reject",
                head.status
            );
            self.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let is_tunnel = *self.method() == Method::CONNECT && !self.is_for_websocket();
        if is_tunnel && head.headers.contains_key(header::CONTENT_LENGTH) {
            // RFC 9110 §9.3.6.
            let message =
                "a CONNECT was to be accepted with content-length, which must not be sent";
            self.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let stream = self.offer.take();
        #[cfg(feature = "websocket")]
        if let Some(asked) = self.websocket {
            return asked.accept(stream, head).inspect(|_| self.decided.accepted());
        }
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
        let text = format!("{} {reason}", status.as_str());
        self.refuse(status, None::<(HeaderName, &str)>, &text);
    }

    /// Refuses the connection with a response of your own. A 2xx does not refuse a WebSocket over HTTP/2
    /// or a CONNECT, and is replaced by 500. A `content-length` that is not that of the content is left
    /// out, and so is the content of 204, 205 and 304.
    pub fn reject_with(self, response: Response<impl Into<Bytes>>) {
        self.decided.rejected();
        let mut response = response.map(Into::into);
        let may_open = self.is_for_websocket() || *self.method() == Method::CONNECT;
        if may_open && response.status() < StatusCode::MULTIPLE_CHOICES {
            // A 2xx would open it (RFC 9110 §9.3.6, RFC 8441 §5), and a 1xx is no final answer.
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        }
        if has_no_content(response.status()) {
            *response.body_mut() = Bytes::new();
        }
        if response.status() == StatusCode::NO_CONTENT {
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        // 304 tells the length of something that is not sent (RFC 9110 §8.6).
        if response.status() != StatusCode::NOT_MODIFIED {
            let length = response.body().len().to_string();
            let is_wrong = |field: &HeaderValue| field.as_bytes() != length.as_bytes();
            if response.headers().get(header::CONTENT_LENGTH).is_some_and(is_wrong) {
                response.headers_mut().remove(header::CONTENT_LENGTH);
            }
        }
        answer(self.offer.take(), response);
    }

    /// Refuses the connection with this status, these fields and a text.
    pub(super) fn refuse<V>(
        self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (HeaderName, V)>,
        text: &str,
    ) where
        HeaderValue: TryFrom<V>,
    {
        self.reject_with(plain(status, fields, text));
    }
}

/// Gives a request a complete answer, which opens no connection.
pub(super) fn answer(stream: Arc<Stream>, response: Response<Bytes>) {
    let (head, body) = response.into_parts();
    // The queue is empty, so it has room for the whole body at once.
    let _ = match body.is_empty() {
        true => stream.give_whole_answer(head),
        false => stream.give_answer(head),
    };
    let conn = Conn::new(stream);
    // A refusal is a complete answer, so finish it even if dropped connections must be reset.
    conn.on_drop(OnDrop::Finish);
    let _ = pin!(conn.write_chunk(body)).poll(&mut Context::from_waker(Waker::noop()));
}

/// An answer in plain text.
pub(super) fn plain<V>(
    status: StatusCode,
    fields: impl IntoIterator<Item = (HeaderName, V)>,
    text: &str,
) -> Response<Bytes>
where
    HeaderValue: TryFrom<V>,
{
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}
