//! Heads to send: requests, responses, trailers.

use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};

use super::{Connection, Inner};
use crate::error::{OpenError, SendError};
use crate::frame::headers;
use crate::head::{Asked, Outgoing, Protocol};
use crate::limits::Row;
use crate::schedule::DEFAULT_URGENCY;
use crate::stream::{ContentLength, Go, RecvHalf, SendHalf, Stream};
use crate::streams::LAST_ID;
use crate::window::{RecvWindow, SendWindow};
use crate::{Priority, StreamId, UnsendableHead};

impl Connection {
    /// Opens a stream, as a client. If `end`, the request has no content, and nothing more can be
    /// sent on it.
    ///
    /// # Errors
    ///
    /// The cases of [`OpenError`]. Nothing has changed then.
    pub fn open(&mut self, request: &Request<()>, end: bool) -> Result<StreamId, OpenError> {
        let protocol = request.extensions().get();
        self.open_with(request.method(), request.uri(), request.headers(), protocol, end)
    }

    /// The same as [`Connection::open`], for a request whose parts lie apart. With `protocol` it is an
    /// extended CONNECT (RFC 8441 §4).
    ///
    /// # Errors
    ///
    /// Those of [`Connection::open`].
    pub fn open_with(
        &mut self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        protocol: Option<&Protocol>,
        end: bool,
    ) -> Result<StreamId, OpenError> {
        let inner = &mut self.inner;
        if inner.is_server {
            return Err(OpenError::Server);
        }
        if inner.failed.is_some() || inner.their_last.is_some() || inner.our_last.is_some() {
            return Err(OpenError::GoingAway);
        }
        let id = StreamId::new(inner.next_id).ok_or(OpenError::UsedUp)?;
        if let Some(max) = inner.theirs.max_concurrent_streams
            && inner.streams.open() >= max as usize
        {
            return Err(OpenError::Limit { max });
        }
        let is_extended = method == Method::CONNECT && protocol.is_some();
        if is_extended && !inner.theirs.enable_connect_protocol {
            return Err(OpenError::NotOffered);
        }
        let head =
            Outgoing::request(method, uri, headers, protocol).map_err(OpenError::Unsendable)?;
        let fits = inner.check_size(&head).and_then(|()| match end {
            true => check_empty(&head),
            false => Ok(()),
        });
        fits.map_err(OpenError::Unsendable)?;
        let urgency = match headers.is_empty() {
            true => DEFAULT_URGENCY,
            false => Priority::from_headers(headers).urgency(),
        };
        inner.write_head(id, &head, end);
        inner.next_id = if id.get() == LAST_ID { 1 << 31 } else { id.get() + 2 };
        // Two interim responses, a head and trailers are due (RFC 9113 §8.1). So is a reset,
        // because a server may end each answer with one if it has not read the whole request.
        inner.limits.expect(Row::Heads, 4);
        inner.limits.expect(Row::Resets, 1);
        let stream = Stream {
            id: id.get(),
            send: if end { SendHalf::Ended } else { SendHalf::Body },
            recv: RecvHalf::Head,
            update_listed: false,
            asked: Asked::from(method),
            length: ContentLength::new(None),
            send_window: SendWindow::new(inner.theirs.initial_window_size),
            recv_window: RecvWindow::new(inner.stream_window),
        };
        inner.enter(stream, urgency);
        Ok(id)
    }

    /// Sends an interim response (1xx). 101 is refused, because HTTP/2 does not have it
    /// (RFC 9113 §8.6).
    ///
    /// # Errors
    ///
    /// The stream is over, was answered, or is a client's, or the head cannot be sent.
    pub fn inform(&mut self, id: StreamId, response: &Response<()>) -> Result<(), SendError> {
        let status = response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(SendError::Order);
        }
        let head = Outgoing::response(response).map_err(SendError::Unsendable)?;
        self.inner.send_head(id, &head, Go::Interim)
    }

    /// Sends the response, as a server. If `end`, it has no content, and nothing more can be sent
    /// on the stream. The response to a HEAD request, and one with status 204 or 304, must not have
    /// content.
    ///
    /// # Errors
    ///
    /// The stream is over, was answered, or is a client's, or the head cannot be sent.
    pub fn respond(
        &mut self,
        id: StreamId,
        response: &Response<()>,
        end: bool,
    ) -> Result<(), SendError> {
        if response.status().is_informational() {
            return Err(SendError::Order);
        }
        let head = Outgoing::response(response).map_err(SendError::Unsendable)?;
        self.inner.send_head(id, &head, Go::Head { end })
    }

    /// Sends trailers, which end this side of the stream.
    ///
    /// # Errors
    ///
    /// The stream is over, its head has not been sent, its end has been sent, it is a CONNECT,
    /// which has no trailers (RFC 9113 §8.5), or the trailers cannot be sent.
    pub fn trailers(&mut self, id: StreamId, trailers: &HeaderMap) -> Result<(), SendError> {
        let trailers = Outgoing::trailers(trailers).map_err(SendError::Unsendable)?;
        self.inner.send_head(id, &trailers, Go::Trailers)
    }
}

impl Inner {
    fn send_head(&mut self, id: StreamId, head: &Outgoing<'_>, go: Go) -> Result<(), SendError> {
        let slot = self.slot(id).ok_or(SendError::Over)?;
        let Some(stream) = self.streams.at(slot) else { return Err(SendError::Over) };
        if go == Go::Trailers && stream.asked == Asked::Connect {
            return Err(SendError::Order);
        }
        let (after, asked) = (stream.send.after(go).ok_or(SendError::Order)?, stream.asked);
        self.check_size(head).map_err(SendError::Unsendable)?;
        if go == (Go::Head { end: true }) && asked != Asked::Head && !head.is_not_modified() {
            check_empty(head).map_err(SendError::Unsendable)?;
        }
        let Some(stream) = self.streams.at(slot) else { return Err(SendError::Over) };
        stream.send = after;
        if asked == Asked::Connect && matches!(go, Go::Head { .. }) && !head.is_success() {
            // This is not a tunnel, but an ordinary response, as the client sees it.
            stream.asked = Asked::Other;
        }
        let end = stream.send == SendHalf::Ended;
        self.write_head(id, head, end);
        if end {
            self.sent_end(slot);
        }
        Ok(())
    }

    /// Checks that the peer accepts a head of this size. It would refuse a larger one
    /// (RFC 9113 §10.5.1).
    fn check_size(&self, head: &Outgoing<'_>) -> Result<(), UnsendableHead> {
        let Some(max) = self.theirs.max_header_list_size else { return Ok(()) };
        match head.size() {
            size if size > max as usize => Err(UnsendableHead::new(format!(
                "fields of {size} bytes, at most {max} were expected, which the peer takes \
                 (RFC 9113 §6.5.2)"
            ))),
            _ => Ok(()),
        }
    }

    fn write_head(&mut self, id: StreamId, head: &Outgoing<'_>, end: bool) {
        let Inner { output, encoder, theirs, .. } = self;
        headers::write(id, end, theirs.max_frame_size, &mut output.bytes, |into| {
            head.write(encoder, into);
        });
    }
}

/// A head that ends its side may announce no content (RFC 9113 §8.1.1).
fn check_empty(head: &Outgoing<'_>) -> Result<(), UnsendableHead> {
    match head.content_length() {
        Some(length @ 1..) => Err(UnsendableHead::new(format!(
            "a content-length of {length} and the end of the stream, none or 0 was expected \
             (RFC 9113 §8.1.1)"
        ))),
        _ => Ok(()),
    }
}
