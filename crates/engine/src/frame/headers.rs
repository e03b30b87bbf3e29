//! HEADERS (RFC 9113 §6.2): begins a field block.
//!
//! ```text
//!  +---------------+
//!  |Pad Length? (8)|
//!  +-+-------------+-----------------------------------------------+
//!  |E|                 Stream Dependency? (31)                     |
//!  +-+-------------+-----------------------------------------------+
//!  |  Weight? (8)  |
//!  +-+-------------+-----------------------------------------------+
//!  |                   Field Block Fragment (*)                  ...
//!  +---------------------------------------------------------------+
//!  |                           Padding (*)                       ...
//!  +---------------------------------------------------------------+
//! ```

use crate::frame::{Flags, Head, Kind, continuation, padding, priority};
use crate::{ConnectionError, StreamError, StreamId};

const SECTION: &str = "RFC 9113 §6.2";

/// A whole field block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    pub(crate) stream: StreamId,
    /// The fragments of HEADERS and all of its CONTINUATIONs, joined.
    pub(crate) block: &'a [u8],
    /// END_STREAM.
    pub(crate) end: bool,
    /// The reason why the stream must be reset. The block must be decoded all the same, or later
    /// blocks cannot be decoded (RFC 9113 §4.3).
    pub(crate) fault: Option<StreamError>,
}

/// The payload of HEADERS itself.
#[derive(Debug)]
pub(crate) struct Payload<'a> {
    pub(crate) fragment: &'a [u8],
    pub(crate) fault: Option<StreamError>,
}

pub(crate) fn check(head: Head) -> Result<StreamId, ConnectionError> {
    let stream = head.of_stream(SECTION)?;
    padding::check(head, SECTION)?;
    Ok(stream)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Payload<'_>, ConnectionError> {
    let content = padding::strip(head, payload, SECTION)?;
    if !head.flags.has(Flags::PRIORITY) {
        return Ok(Payload { fragment: content, fault: None });
    }
    let Some((fields, fragment)) = content.split_first_chunk::<{ priority::LEN }>() else {
        return Err(ConnectionError::frame_size(format!(
            "a HEADERS frame with a priority and {} bytes, at least {} were expected ({SECTION})",
            content.len(),
            priority::LEN
        )));
    };
    Ok(Payload { fragment, fault: priority::read_fields(head, fields).err() })
}

/// Writes HEADERS, and CONTINUATIONs if the block is longer than the peer's `max_frame_size`.
/// `block` appends the field block to the output.
pub(crate) fn write(
    stream: StreamId,
    end: bool,
    max_frame_size: u32,
    into: &mut Vec<u8>,
    block: impl FnOnce(&mut Vec<u8>),
) {
    let start = into.len();
    into.extend_from_slice(&[0; Head::LEN]);
    block(into);
    let len = into.len() - start - Head::LEN;
    let first = len.min(max_frame_size as usize);
    let flags = Flags::only_if(Flags::END_STREAM, end)
        .with(Flags::only_if(Flags::END_HEADERS, first == len));
    let head = Head { len: first as u32, kind: Kind::HEADERS, flags, stream: stream.get() };
    into[start..start + Head::LEN].copy_from_slice(&head.bytes());
    if first < len {
        let rest = into.split_off(start + Head::LEN + first);
        continuation::write(stream, max_frame_size, &rest, into);
    }
}
