//! The body of a request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::conn::{Exchange, Stream};
use crate::content::{Received, content_length};
use crate::error::{Error, ErrorKind};

/// The body of a request that [`serve`](fn@crate::serve) has received.
///
/// Over HTTP/2 the client's window is given back as the frames are polled, so a body that is not
/// polled holds at most the receive window (1 MiB by default). Dropping the body discards what
/// still comes.
///
/// # Errors
///
/// A frame is an [`Error`] when the client has reset the request or has gone: never an end.
pub struct RequestBody(Kind);

enum Kind {
    Http1(Incoming),
    Http2(Content),
}

/// The content of a request over HTTP/2.
struct Content {
    received: Received,
    /// The client waits for a word before it sends the content (RFC 9110 §10.1.1).
    is_awaited: bool,
}

impl RequestBody {
    pub(super) fn http1(body: Incoming) -> RequestBody {
        RequestBody(Kind::Http1(body))
    }

    pub(super) fn http2(stream: Arc<Stream>, fields: &HeaderMap) -> RequestBody {
        let expects = fields.get(header::EXPECT).map(|expected| expected.as_bytes());
        RequestBody(Kind::Http2(Content {
            received: Received::new(stream, content_length(fields)),
            is_awaited: expects.is_some_and(|all| all.eq_ignore_ascii_case(b"100-continue")),
        }))
    }
}

impl Content {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = self.received.poll_frame(cx);
        let stream = &self.received.stream;
        if frame.is_pending() && std::mem::take(&mut self.is_awaited) && !stream.was_answered() {
            let (mut head, ()) = Response::new(()).into_parts();
            head.status = StatusCode::CONTINUE;
            stream.inform(head);
        }
        frame
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.get_mut().0 {
            Kind::Http1(body) => Pin::new(body).poll_frame(cx).map_err(broken),
            Kind::Http2(content) => content.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(body) => body.is_end_stream(),
            Kind::Http2(content) => content.received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(body) => body.size_hint(),
            Kind::Http2(content) => content.received.size_hint(),
        }
    }
}

/// The error for a client that speaks HTTP/1.
fn broken(error: hyper::Error) -> Error {
    let message = "the request's body ended before its end: what was read is not all of it";
    Error::new(ErrorKind::Truncated, message).with_source(error)
}

impl Drop for Content {
    fn drop(&mut self) {
        // A body that nobody has read is gone all the same: no connection may be made of it.
        let stream = &self.received.stream;
        if stream.exchange().is_some_and(Exchange::begin_to_read) {
            stream.drop_reader();
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").finish_non_exhaustive()
    }
}
