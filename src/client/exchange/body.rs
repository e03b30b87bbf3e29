//! The body of a response.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::conn::Stream;
use crate::content::Received;
use crate::error::{Error, Reason};

/// The body of a response that [`Client::send`](crate::Client::send) has received.
///
/// The server's window is given back as the frames are polled, so a body that is not polled holds
/// at most the receive window (1 MiB by default). The last frame can be trailers.
///
/// Dropping the body before its end has come resets the request with `CANCEL`, and nothing more of
/// the request is sent. Once the end has come, read or not, the rest of the request is still sent.
///
/// # Errors
///
/// A frame is an [`Error`] when the server has reset the request, the link has failed or the
/// request's own body has: never an end.
pub struct ResponseBody(Received);

impl ResponseBody {
    pub(super) fn new(stream: Arc<Stream>) -> ResponseBody {
        ResponseBody(Received::new(stream, None))
    }

    /// The head of the response says how long it is.
    pub(super) fn expect(&mut self, length: Option<u64>) {
        self.0.expect(length);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.get_mut().0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let stream = &self.0.stream;
        if !stream.inbox.is_complete() {
            stream.reset(Reason::CANCEL, "the response was dropped before its end");
        } else if stream.inbox.len() > 0 || !stream.is_done() {
            stream.drop_reader();
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
