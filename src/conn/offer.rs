//! A request that waits for its answer.

use std::sync::Arc;

use http::StatusCode;

use super::Stream;
use crate::error::Reason;

/// A stream of the peer that waits to be accepted. Dropping it at any point refuses the request:
/// with `REFUSED_STREAM`, unless it was set otherwise.
#[derive(Debug)]
pub(crate) struct Offer {
    stream: Option<Arc<Stream>>,
    refuse: fn(Arc<Stream>),
}

impl Offer {
    pub(crate) fn new(stream: Arc<Stream>) -> Offer {
        Offer { stream: Some(stream), refuse }
    }

    /// Sets how the request is refused when this is dropped.
    #[cfg(feature = "websocket")]
    pub(crate) fn refuse_by(&mut self, refuse: fn(Arc<Stream>)) {
        self.refuse = refuse;
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        self.stream.as_ref().expect("only `take`, which consumes self, takes it out")
    }

    pub(crate) fn take(mut self) -> Arc<Stream> {
        self.stream.take().expect("only `take`, which consumes self, takes it out")
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            (self.refuse)(stream);
        }
    }
}

fn refuse(stream: Arc<Stream>) {
    stream.reset(Reason::REFUSED_STREAM, "the request was dropped unanswered");
}

/// Whether a response with this status has no content, whatever its fields say (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
pub(crate) fn has_no_content(status: StatusCode) -> bool {
    [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::NOT_MODIFIED].contains(&status)
}
