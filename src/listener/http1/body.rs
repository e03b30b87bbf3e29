//! The body of an answer, which tells the transport whether all of it has been taken. Over HTTP/1.0 the end of the
//! transport is that of the body (RFC 9112 §6.3), so that only a reset tells a client of a body that was cut short.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use super::transport::Line;

pub(super) struct Told<B> {
    // hyper needs no body that is `Unpin`, and `http_body` has no other projection.
    body: Pin<Box<B>>,
    line: Line,
    /// The bytes that `content-length` promises and that have not come. hyper asks for nothing behind them.
    missing: Option<u64>,
    has_begun: bool,
}

impl<B: Body> Told<B> {
    pub(super) fn new(body: B, headers: &HeaderMap, line: Line) -> Told<B> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let missing = length.and_then(|length| length.parse().ok());
        Told { body: Box::pin(body), line, missing, has_begun: false }
    }
}

impl<B: Body> Body for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if !self.has_begun {
            self.has_begun = true;
            self.line.answer_goes_on(true);
        }
        let frame = ready!(self.body.as_mut().poll_frame(cx));
        if let (Some(Ok(frame)), Some(missing)) = (&frame, &mut self.missing)
            && let Some(data) = frame.data_ref()
        {
            *missing = missing.saturating_sub(data.remaining() as u64);
        }
        let has_failed = matches!(frame, Some(Err(_)));
        let is_whole = frame.is_none() || self.missing == Some(0) || self.body.is_end_stream();
        if is_whole && !has_failed {
            self.line.answer_goes_on(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
