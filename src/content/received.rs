//! Content that comes on a stream.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::coop;

use crate::conn::{Exchange, Stream};
use crate::error::{Error, ErrorKind};

/// The content of a request or a response, with its trailers, as a body's frames. The peer's window
/// is given back as the frames are polled.
pub(crate) struct Received {
    pub(crate) stream: Arc<Stream>,
    /// The bytes that must still come, if the head says so. HTTP/2 itself checks it.
    left: Option<u64>,
    is_over: bool,
}

impl Received {
    pub(crate) fn new(stream: Arc<Stream>, length: Option<u64>) -> Received {
        Received { stream, left: length, is_over: false }
    }

    /// The head says how many bytes come.
    #[cfg(feature = "requests")]
    pub(crate) fn expect(&mut self, length: Option<u64>) {
        self.left = length;
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let stream = &self.stream;
        let Some(exchange) = stream.exchange().filter(|_| !self.is_over) else {
            return Poll::Ready(None);
        };
        if !exchange.begin_to_read() {
            self.is_over = true;
            let message = "the request has become a connection, which has its content";
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Closed, message))));
        }
        let coop = ready!(coop::poll_proceed(cx));
        let chunk = ready!(stream.inbox.poll_chunk(cx));
        coop.made_progress();
        match chunk {
            Ok(Some(bytes)) => {
                self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ok(None) => {
                self.is_over = true;
                Poll::Ready(exchange.take_received().map(Frame::trailers).map(Ok))
            }
            Err(error) => {
                self.is_over = true;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let stream = &self.stream;
        self.is_over
            || (stream.inbox.is_complete()
                && stream.inbox.len() == 0
                && !stream.exchange().is_some_and(Exchange::has_received))
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}
