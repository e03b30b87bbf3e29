//! The body of the response: the user's bytes, as the server takes them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
#[cfg(feature = "websocket")]
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};

use super::carrier::BodyCarrier;
#[cfg(feature = "websocket")]
use super::carrier::Server;
use super::reason::source_of;
use crate::conn::{Stream, Wish};
use crate::error::{Error, ErrorKind, Reason};

/// The most bytes that the server gets at once. It sends that many before it serves other streams,
/// and holds them in addition to the bytes that it counts.
const MOST: usize = 64 << 10;

/// The body of a response that [`accept`](fn@crate::accept) made.
///
/// It contains the bytes that the connection's user writes, with small writes together, and ends
/// with the user's shutdown. A reset by the user is an error whose source is an `h2::Error`, from
/// which hyper takes the reason. Dropping the body before its end fails the connection.
pub struct Body(Inner);

enum Inner {
    /// A text that says why there is no connection.
    Full(Option<Bytes>),
    Conn(Outgoing),
    /// The head alone counts: a server of this crate sends the bytes.
    Served(#[expect(dead_code, reason = "it is there to be dropped")] WhenDropped),
    #[cfg(feature = "websocket")]
    Upgrade(Upgrade),
}

/// The sending side of a connection.
struct Outgoing {
    stream: Arc<Stream>,
    carrier: Arc<BodyCarrier>,
    ended: bool,
}

/// Reports when the response to a request of a server of this crate is dropped.
struct WhenDropped(Arc<Stream>);

impl Drop for WhenDropped {
    fn drop(&mut self) {
        if let Some(exchange) = self.0.exchange() {
            exchange.set_answer_dropped();
        }
    }
}

/// Reports whether the response to a WebSocket has reached the server, or was dropped on the way.
/// hyper hands over the transport of an upgrade request whatever the response is.
#[cfg(feature = "websocket")]
struct Upgrade {
    server: Arc<Server>,
    looked_at: AtomicBool,
}

#[cfg(feature = "websocket")]
impl Drop for Upgrade {
    fn drop(&mut self) {
        if !self.looked_at.load(SeqCst) {
            self.server.cut_off();
        }
    }
}

impl Body {
    pub(crate) fn new(stream: Arc<Stream>, carrier: Arc<BodyCarrier>) -> Body {
        Body(Inner::Conn(Outgoing { stream, carrier, ended: false }))
    }

    /// The body of the response to a request of a server of this crate, whose stream is the
    /// connection.
    pub(crate) fn served(stream: Arc<Stream>) -> Body {
        Body(Inner::Served(WhenDropped(stream)))
    }

    pub(crate) fn empty() -> Body {
        Body(Inner::Full(None))
    }

    /// The body of the response to a WebSocket over HTTP/1.1. It is empty, and reports when the
    /// server takes it.
    #[cfg(feature = "websocket")]
    pub(crate) fn upgrade(server: Arc<Server>) -> Body {
        Body(Inner::Upgrade(Upgrade { server, looked_at: AtomicBool::new(false) }))
    }

    pub(crate) fn full(text: Bytes) -> Body {
        Body(Inner::Full(Some(text)))
    }
}

/// An answer in plain text that makes no connection.
pub(crate) fn plain<V>(
    status: StatusCode,
    text: &str,
    fields: impl IntoIterator<Item = (HeaderName, V)>,
) -> Response<Body>
where
    HeaderValue: TryFrom<V>,
{
    let mut response = Response::new(Body::full(Bytes::from(format!("{text}\n"))));
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

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.get_mut().0 {
            Inner::Full(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Inner::Conn(outgoing) => outgoing.poll_bytes(cx).map_ok(Frame::data),
            Inner::Served(_) => Poll::Ready(None),
            #[cfg(feature = "websocket")]
            Inner::Upgrade(upgrade) => {
                upgrade.looked_at.store(true, SeqCst);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(text) => text.is_none(),
            Inner::Conn(outgoing) => outgoing.ended,
            // A length would be added to the head otherwise.
            Inner::Served(_) => false,
            #[cfg(feature = "websocket")]
            Inner::Upgrade(upgrade) => {
                upgrade.looked_at.store(true, SeqCst);
                true
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Inner::Conn(_) | Inner::Served(_) => SizeHint::default(),
            #[cfg(feature = "websocket")]
            Inner::Upgrade(_) => SizeHint::with_exact(0),
        }
    }
}

impl Outgoing {
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.carrier.register_body(cx);
        if let Wish::Reset(reason) = self.stream.wish() {
            return self.break_off(reason);
        }
        if let Err(error) = self.stream.outbox.check() {
            return self.break_off(error.reason().unwrap_or(Reason::CANCEL));
        }
        let run = self.stream.outbox.take_run(MOST);
        // The server does not report what it does with the bytes.
        self.stream.outbox.mark_sent(run.position);
        if run.end {
            self.ended = true;
            self.carrier.server().wake_task();
        }
        match run.bytes {
            Some(bytes) => Poll::Ready(Some(Ok(bytes))),
            None if run.end => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// Makes the server reset the stream.
    fn break_off(&mut self, reason: Reason) -> Poll<Option<Result<Bytes, Error>>> {
        self.ended = true;
        let error = Error::new(ErrorKind::Aborted, "the connection was reset on this side")
            .with_reason(reason)
            .with_source(source_of(reason));
        Poll::Ready(Some(Err(error)))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.ended {
            self.carrier.server().cut_off();
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").finish_non_exhaustive()
    }
}
