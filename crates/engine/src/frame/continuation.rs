//! CONTINUATION (RFC 9113 §6.10): continues the field block of the HEADERS before it.

use crate::frame::{Flags, Head, Kind};
use crate::{ConnectionError, StreamId};

const SECTION: &str = "RFC 9113 §6.10";

/// The stream whose field block goes on. The deframer checks the open block.
pub(crate) fn check(head: Head, open: Option<StreamId>) -> Result<(), ConnectionError> {
    let stream = head.of_stream(SECTION)?;
    match open {
        Some(open) if open == stream => Ok(()),
        Some(open) => Err(ConnectionError::protocol(format!(
            "a CONTINUATION frame on stream {stream}, one on stream {open} was expected ({SECTION})"
        ))),
        None => Err(ConnectionError::protocol(format!(
            "a CONTINUATION frame on stream {stream}, but no field block is open ({SECTION})"
        ))),
    }
}

/// Refuses another frame inside a field block.
pub(crate) fn check_interleaved(head: Head, open: StreamId) -> Result<(), ConnectionError> {
    if head.kind == Kind::CONTINUATION {
        return Ok(());
    }
    let Head { kind, stream, .. } = head;
    Err(ConnectionError::protocol(format!(
        "a {kind} frame on stream {stream} inside of the field block of stream {open}, a \
         CONTINUATION frame was expected ({SECTION})"
    )))
}

/// Writes the rest of a field block, in as many frames as it needs.
pub(crate) fn write(stream: StreamId, max_frame_size: u32, rest: &[u8], into: &mut Vec<u8>) {
    let mut fragments = rest.chunks(max_frame_size as usize).peekable();
    while let Some(fragment) = fragments.next() {
        let flags = Flags::only_if(Flags::END_HEADERS, fragments.peek().is_none());
        let len = fragment.len() as u32;
        Head { len, kind: Kind::CONTINUATION, flags, stream: stream.get() }.write(into);
        into.extend_from_slice(fragment);
    }
}
