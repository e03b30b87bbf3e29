//! A field block of several frames (RFC 9113 §4.3): HEADERS and its CONTINUATIONs.

use super::payload;
use crate::frame::{Flags, Head, Headers, Kind, continuation, headers};
use crate::{ConnectionError, StreamError, StreamId};

/// The number of CONTINUATIONs that a block may have if its limit in bytes does not require more.
/// Frames that add nothing also cost work, and could otherwise go on forever. nghttp2 has the same
/// 8.
const CONTINUATIONS: usize = 8;

/// The least content of a frame that another must follow, if its sender is not wasteful: the
/// smallest `max_frame_size`.
const FULL: usize = 1 << 14;

#[derive(Debug)]
pub(super) struct Block {
    max: usize,
    open: Option<Open>,
    bytes: Vec<u8>,
}

/// The block that is open.
#[derive(Debug)]
struct Open {
    stream: StreamId,
    end: bool,
    fault: Option<StreamError>,
    /// The length of the payloads of all frames so far, including the one that has just begun.
    len: usize,
    continuations: usize,
}

/// Whether this is a part of a block that has more to come.
pub(super) fn is_unfinished(head: Head) -> bool {
    matches!(head.kind, Kind::HEADERS | Kind::CONTINUATION) && !head.flags.has(Flags::END_HEADERS)
}

impl Block {
    pub(super) fn new(max: usize) -> Block {
        Block { max, open: None, bytes: Vec::new() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Checks a head. Only a CONTINUATION may follow in an open block, and nowhere else.
    #[inline]
    pub(super) fn check(&mut self, head: Head) -> Result<(), ConnectionError> {
        let len = match (&mut self.open, head.kind) {
            (Some(open), _) => {
                continuation::check_interleaved(head, open.stream)?;
                continuation::check(head, Some(open.stream))?;
                open.len += head.len as usize;
                open.continuations += 1;
                let max = CONTINUATIONS.max(self.max.div_ceil(FULL));
                if open.continuations > max {
                    return Err(ConnectionError::calm(format!(
                        "more than {max} CONTINUATION frames in the field block of stream {}, \
                         fewer were expected (RFC 9113 §10.5.1)",
                        open.stream
                    )));
                }
                open.len
            }
            (None, Kind::CONTINUATION) => return continuation::check(head, None),
            (None, Kind::HEADERS) => head.len as usize,
            (None, _) => return Ok(()),
        };
        if len > self.max {
            return Err(ConnectionError::calm(format!(
                "a field block of {len} bytes or more on stream {}, at most {} were expected \
                 (RFC 9113 §10.5.1)",
                head.stream, self.max
            )));
        }
        Ok(())
    }

    /// Adds a part that has more to come.
    pub(super) fn add(&mut self, head: Head, payload: &[u8]) -> Result<(), ConnectionError> {
        let fragment = if head.kind == Kind::HEADERS {
            let headers::Payload { fragment, fault } = headers::read(head, payload)?;
            self.open = Some(Open {
                stream: headers::check(head)?,
                end: head.flags.has(Flags::END_STREAM),
                fault,
                len: payload.len(),
                continuations: 0,
            });
            fragment
        } else {
            payload
        };
        payload::append(&mut self.bytes, fragment, self.max);
        Ok(())
    }

    /// Returns the whole block. This is its last part, and may be its only part.
    pub(super) fn finish<'a>(
        &'a mut self,
        head: Head,
        payload: &'a [u8],
    ) -> Result<Headers<'a>, ConnectionError> {
        if let Some(Open { stream, end, fault, .. }) = self.open.take() {
            payload::append(&mut self.bytes, payload, self.max);
            return Ok(Headers { stream, block: &self.bytes, end, fault });
        }
        let headers::Payload { fragment, fault } = headers::read(head, payload)?;
        let (stream, end) = (headers::check(head)?, head.flags.has(Flags::END_STREAM));
        Ok(Headers { stream, block: fragment, end, fault })
    }

    /// Forgets a block that was handed on.
    #[inline]
    pub(super) fn release(&mut self) {
        if !self.bytes.is_empty() && self.open.is_none() {
            payload::release(&mut self.bytes);
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}
