//! DATA (RFC 9113 §6.1): the only frame whose payload is handed on in pieces, as it comes.
//!
//! ```text
//!  +---------------+
//!  |Pad Length? (8)|
//!  +---------------+-----------------------------------------------+
//!  |                            Data (*)                         ...
//!  +---------------------------------------------------------------+
//!  |                           Padding (*)                       ...
//!  +---------------------------------------------------------------+
//! ```

use crate::frame::{Flags, Head, Kind, padding};
use crate::{ConnectionError, StreamId};

const SECTION: &str = "RFC 9113 §6.1";

/// A piece of a DATA frame. Each frame has at least one, even if it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Data<'a> {
    pub(crate) stream: StreamId,
    pub(crate) bytes: &'a [u8],
    /// Whether this is the first piece of its frame.
    pub(crate) first: bool,
    /// Whether this is the last piece of its frame. All of the padding has then come too.
    pub(crate) last: bool,
    /// The frame's whole payload with padding, which is its cost in both windows (RFC 9113 §6.9.1).
    /// It is the same in all pieces, and counts once.
    pub(crate) flow: u32,
    /// The part of `flow` that is padding and its length. No user will read it.
    pub(crate) padding: u32,
    /// END_STREAM, which counts when the last piece has come.
    pub(crate) end: bool,
}

/// A DATA frame whose payload is still coming.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    head: Head,
    stream: StreamId,
    /// The length of the padding, once it is known.
    padding: Option<u8>,
    /// The bytes that have not come yet.
    content_left: u32,
    padding_left: u32,
    begun: bool,
}

#[inline]
pub(crate) fn check(head: Head) -> Result<Incoming, ConnectionError> {
    let stream = head.of_stream(SECTION)?;
    padding::check(head, SECTION)?;
    let padding = if head.flags.has(Flags::PADDED) { None } else { Some(0) };
    Ok(Incoming { head, stream, padding, content_left: head.len, padding_left: 0, begun: false })
}

impl Incoming {
    /// The next piece. There may be none until more has come.
    #[inline]
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Data<'a>>, ConnectionError> {
        if self.padding.is_none() {
            let Some((&padding, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            padding::check_length(self.head, padding, SECTION)?;
            self.padding = Some(padding);
            self.padding_left = u32::from(padding);
            self.content_left -= 1 + self.padding_left;
        }
        let bytes = take(&mut self.content_left, input);
        // While content is missing, no input is left here.
        take(&mut self.padding_left, input);
        let last = self.is_over();
        if bytes.is_empty() && !last {
            return Ok(None);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let padding = match self.padding {
            Some(padding) if self.head.flags.has(Flags::PADDED) => 1 + u32::from(padding),
            _ => 0,
        };
        let end = self.head.flags.has(Flags::END_STREAM);
        let (stream, flow) = (self.stream, self.head.len);
        Ok(Some(Data { stream, bytes, first, last, flow, padding, end }))
    }

    /// Whether all of the payload has come.
    pub(crate) fn is_over(&self) -> bool {
        self.padding.is_some() && self.content_left == 0 && self.padding_left == 0
    }
}

/// Takes up to `left` bytes from the input.
#[inline]
pub(crate) fn take<'a>(left: &mut u32, input: &mut &'a [u8]) -> &'a [u8] {
    let len = input.len().min(*left as usize);
    let (taken, rest) = input.split_at(len);
    *input = rest;
    *left -= len as u32;
    taken
}

/// The head of a DATA frame without padding and with `len` bytes of payload.
#[inline]
pub(crate) fn head(stream: StreamId, len: u32, end: bool) -> Head {
    let flags = Flags::only_if(Flags::END_STREAM, end);
    Head { len, kind: Kind::DATA, flags, stream: stream.get() }
}
