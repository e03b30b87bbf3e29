//! A request that waits for its answer.

use std::sync::Arc;

use super::Stream;
use crate::error::Reason;

/// A stream of the peer that waits to be accepted. Dropping it at any point refuses the request
/// with `REFUSED_STREAM`.
#[derive(Debug)]
pub(crate) struct Offer(Option<Arc<Stream>>);

impl Offer {
    pub(crate) fn new(stream: Arc<Stream>) -> Offer {
        Offer(Some(stream))
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        self.0.as_ref().expect("only `take`, which consumes self, takes it out")
    }

    pub(crate) fn take(mut self) -> Arc<Stream> {
        self.0.take().expect("only `take`, which consumes self, takes it out")
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset(Reason::REFUSED_STREAM, "the request was dropped unanswered");
        }
    }
}
