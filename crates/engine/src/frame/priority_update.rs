//! PRIORITY_UPDATE (RFC 9218 §7.1): a client changes the priority from a stream's `priority` field.
//!
//! ```text
//!  +-+-------------------------------------------------------------+
//!  |R|               Prioritized Stream ID (31)                    |
//!  +-+-------------------------------------------------------------+
//!  |                   Priority Field Value (*)                  ...
//!  +---------------------------------------------------------------+
//! ```

use crate::frame::{Flags, Frame, Head, Kind, number_31};
use crate::priority::Priority;
use crate::{ConnectionError, StreamId};

const SECTION: &str = "RFC 9218 §7.1";

/// The prioritized stream.
const FIXED: usize = 4;

pub(crate) fn check(head: Head, from_server: bool) -> Result<(), ConnectionError> {
    if from_server {
        return Err(ConnectionError::protocol(format!(
            "a PRIORITY_UPDATE frame of a server, but only clients may send one ({SECTION})"
        )));
    }
    head.of_connection(SECTION)?;
    head.of_at_least(FIXED, SECTION)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'static>, ConnectionError> {
    let (stream, value) = head.split(payload, SECTION)?;
    let Some(stream) = StreamId::new(number_31(stream)) else {
        return Err(ConnectionError::protocol(format!(
            "a PRIORITY_UPDATE frame for stream 0, but it prioritizes a stream ({SECTION})"
        )));
    };
    // A value that is not understood may be a connection error. It is none here, because
    // RFC 9218 §4 accepts the same value in a field.
    let priority = Priority::parse(value).unwrap_or_default();
    Ok(Frame::PriorityUpdate { stream, priority })
}

pub(crate) fn write(stream: StreamId, priority: Priority, into: &mut Vec<u8>) {
    let value = priority.field_value();
    let len = (FIXED + value.len()) as u32;
    Head { len, kind: Kind::PRIORITY_UPDATE, flags: Flags::NONE, stream: 0 }.write(into);
    into.extend_from_slice(&stream.get().to_be_bytes());
    into.extend_from_slice(value.as_bytes());
}
