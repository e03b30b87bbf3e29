//! WINDOW_UPDATE (RFC 9113 §6.9): credit, for a stream or for the connection.

use crate::frame::{Flags, Frame, Head, Kind, number_31};
use crate::{ConnectionError, StreamError, StreamId};

const SECTION: &str = "RFC 9113 §6.9";

pub(crate) fn check(head: Head) -> Result<(), ConnectionError> {
    head.of_length(4, SECTION)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'static>, ConnectionError> {
    let (increment, _) = head.split(payload, SECTION)?;
    let increment = number_31(increment);
    match (StreamId::new(head.stream), increment) {
        (None, 0) => Err(ConnectionError::protocol(format!(
            "a WINDOW_UPDATE frame of the connection by 0, at least 1 was expected ({SECTION})"
        ))),
        (Some(stream), 0) => {
            let error = StreamError::protocol(format!(
                "a WINDOW_UPDATE frame of stream {stream} by 0, at least 1 was expected ({SECTION})"
            ));
            Ok(Frame::Broken { stream, error })
        }
        (stream, increment) => Ok(Frame::WindowUpdate { stream, increment }),
    }
}

/// `increment` must be 1 to 2³¹−1. `None` is the connection.
pub(crate) fn write(stream: Option<StreamId>, increment: u32, into: &mut Vec<u8>) {
    debug_assert!((1..=0x7fff_ffff).contains(&increment), "an increment of {increment}");
    let stream = stream.map_or(0, StreamId::get);
    Head { len: 4, kind: Kind::WINDOW_UPDATE, flags: Flags::NONE, stream }.write(into);
    into.extend_from_slice(&increment.to_be_bytes());
}
