//! The body of a request.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::conn::{Exchange, Stream};
use crate::content::{Received, content_length};
use crate::error::{Error, ErrorKind};
use crate::sync::AtomicBool;

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
    Http1(Http1),
    Http2(Content),
}

/// The content of a request over HTTP/1.
struct Http1 {
    body: Incoming,
    ended: bool,
    unread: Unread,
}

/// Whether a request over HTTP/1 was dropped with more content than hyper reads in vain. Its client
/// has no other answer than the present one.
#[derive(Clone)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(super) fn get(&self) -> bool {
        self.0.load(SeqCst)
    }
}

/// hyper reads no more than its buffer holds, once nobody wants the content.
const IN_VAIN: u64 = 64 << 10;

/// The content of a request over HTTP/2.
struct Content {
    received: Received,
    /// The client waits for a word before it sends the content (RFC 9110 §10.1.1).
    is_awaited: bool,
}

impl RequestBody {
    pub(super) fn http1(body: Incoming) -> (RequestBody, Unread) {
        let unread = Unread(Arc::new(AtomicBool::new(false)));
        let content = Http1 { body, ended: false, unread: unread.clone() };
        (RequestBody(Kind::Http1(content)), unread)
    }

    pub(super) fn http2(stream: Arc<Stream>, fields: &HeaderMap) -> RequestBody {
        let expects = fields.get(header::EXPECT).map(|expected| expected.as_bytes());
        RequestBody(Kind::Http2(Content {
            received: Received::new(stream, content_length(fields)),
            is_awaited: expects.is_some_and(|all| all.eq_ignore_ascii_case(b"100-continue")),
        }))
    }
}

impl Http1 {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx).map_err(broken);
        self.ended |= matches!(frame, Poll::Ready(None | Some(Err(_))));
        frame
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
            Kind::Http1(content) => content.poll_frame(cx),
            Kind::Http2(content) => content.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Http1(content) => content.body.is_end_stream(),
            Kind::Http2(content) => content.received.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Http1(content) => content.body.size_hint(),
            Kind::Http2(content) => content.received.size_hint(),
        }
    }
}

/// The error for a client that speaks HTTP/1.
fn broken(error: hyper::Error) -> Error {
    let message = "the request's body ended before its end: what was read is not all of it";
    Error::new(ErrorKind::Truncated, message).with_source(error)
}

impl Drop for Http1 {
    fn drop(&mut self) {
        let left = self.body.size_hint().upper();
        if !self.ended && !self.body.is_end_stream() && left.is_none_or(|left| left > IN_VAIN) {
            self.unread.0.store(true, SeqCst);
        }
    }
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
