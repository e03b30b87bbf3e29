//! The content of a request on its way out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;

use crate::alive::{Counted, Kind};
use crate::client::call::Call;
use crate::conn::Stream;
use crate::content::{BoxError, Piece, Pieces, Sending};
use crate::error::{Error, ErrorKind, Reason};

/// The content that is kept for a request to be sent again, unless it is a single chunk.
const GATHERED: usize = 64 << 10;

/// The content of a request: what is there before the request is sent, and the rest.
pub(super) struct Content<B> {
    first: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Rest<B>>,
    /// It was known from the beginning that there is none. Else an empty frame says so: gRPC asks
    /// for it, and Go's gRPC servers overlook an end in the head.
    is_none: bool,
}

impl<B> Content<B>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Takes what is there at once.
    ///
    /// # Errors
    ///
    /// The body's own error, or one that says that its length is wrong.
    pub(super) async fn gather(body: B, length: Option<u64>) -> Result<Content<B>, BoxError> {
        let is_none = body.is_end_stream();
        let mut body = Box::pin(body);
        let mut pieces = Pieces::new(length);
        let mut chunks: Vec<Bytes> = Vec::new();
        let (mut gathered, mut trailers) = (0, None);
        // The chunk that has no room, if not all is there.
        let next = poll_fn(|cx| {
            loop {
                let piece = match pieces.poll_next(cx, body.as_mut()) {
                    Poll::Pending => return Poll::Ready(Ok(Some(None))),
                    Poll::Ready(piece) => piece?,
                };
                match piece {
                    None => return Poll::Ready(Ok::<_, BoxError>(None)),
                    Some(Piece::Trailers(fields)) => trailers = Some(fields),
                    Some(Piece::Data(chunk)) => {
                        gathered += chunk.len();
                        if gathered > GATHERED && !chunks.is_empty() {
                            return Poll::Ready(Ok(Some(Some(chunk))));
                        }
                        chunks.push(chunk);
                    }
                }
            }
        })
        .await?;
        let rest = next.map(|next| Rest { body, sending: Sending::new(pieces, next) });
        Ok(Content { first: join(chunks), trailers, rest, is_none })
    }

    /// Whether all of it is there, so that it can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Puts what is there into the outbox of a new stream.
    pub(super) fn put(&self, stream: &Stream) {
        // It has room, and takes a chunk of any size.
        let mut first = self.first.clone();
        let _ = stream.outbox.poll_put(&mut Context::from_waker(Waker::noop()), &mut first);
        if !self.is_whole() {
            return;
        }
        match (&self.trailers, stream.exchange()) {
            (Some(trailers), Some(exchange)) => exchange.set_trailers(trailers.clone()),
            (None, _) if self.is_none && self.first.is_empty() => stream.set_ends_with_head(),
            _ => {}
        }
        stream.outbox.put_end();
    }

    /// Begins to send the rest.
    pub(super) fn send_rest(&mut self, stream: &Arc<Stream>, call: &Call) {
        if let Some(rest) = self.rest.take() {
            let request = Unfinished { stream: Arc::clone(stream), name: call.name() };
            tokio::spawn(rest.send(request));
        }
    }
}

/// Joins chunks. A single chunk is not copied.
fn join(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    for chunk in chunks {
        joined.extend_from_slice(&chunk);
    }
    joined.freeze()
}

/// Content that comes while the request is being sent.
struct Rest<B> {
    body: Pin<Box<B>>,
    sending: Sending,
}

impl<B> Rest<B>
where
    B: Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn send(self, request: Unfinished) {
        let _counted = Counted::new(Kind::Task);
        let Rest { mut body, mut sending } = self;
        let stream = Arc::clone(&request.stream);
        // `None` if the stream is over before: the server has gone, or wants no more.
        let moved = poll_fn(|cx| match stream.poll_done(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => sending.poll_move(cx, body.as_mut(), &stream, true).map(Some),
        });
        match moved.await {
            Some(Ok(())) => stream.drop_writer(),
            Some(Err(error)) => request.fail(error),
            None => {}
        }
    }
}

/// A request whose content is not complete. It does not stay so.
struct Unfinished {
    stream: Arc<Stream>,
    name: String,
}

impl Unfinished {
    fn fail(&self, error: BoxError) {
        self.reset(self.error("the request's body failed").with_source(error));
    }

    fn error(&self, why: &str) -> Error {
        let message = format!("{}: reset, because {why}", self.name);
        Error::new(ErrorKind::Aborted, message).with_reason(Reason::CANCEL)
    }

    fn reset(&self, error: Error) {
        self.stream.set_answer(Err(error.clone()));
        self.stream.reset_with(Reason::CANCEL, error);
    }
}

/// A panic of the body, or a task that is dropped with its runtime, leaves no request without an
/// end.
impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.stream.outbox.is_finishing() && self.stream.outbox.check().is_ok() {
            let why = "the request's body was dropped before its end: it has panicked, or its \
                       runtime has ended";
            self.reset(self.error(why));
        }
    }
}
