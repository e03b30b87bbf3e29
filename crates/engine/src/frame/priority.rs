//! PRIORITY (RFC 9113 §6.3): it has no effect any more, but must be well-formed.

use crate::frame::{Frame, Head, number_31};
use crate::{ConnectionError, Reason, StreamError, StreamId};

const SECTION: &str = "RFC 9113 §6.3";

/// The size: four bytes of a stream dependency, and one of a weight.
pub(crate) const LEN: usize = 5;

pub(crate) fn check(head: Head) -> Result<StreamId, ConnectionError> {
    head.of_stream(SECTION)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'static>, ConnectionError> {
    let stream = check(head)?;
    let result = match payload.try_into() {
        Ok(fields) => read_fields(head, fields),
        Err(_) => Err(StreamError::new(
            Reason::FRAME_SIZE_ERROR,
            format!("a PRIORITY frame of {} bytes, {LEN} were expected ({SECTION})", payload.len()),
        )),
    };
    Ok(match result {
        Ok(()) => Frame::Priority { stream },
        Err(error) => Frame::Broken { stream, error },
    })
}

/// Reads the same five bytes, which HEADERS can have too. Only a stream that depends on itself is
/// an error (RFC 7540 §5.3.1, which RFC 9113 leaves to the implementations).
pub(crate) fn read_fields(head: Head, fields: &[u8; LEN]) -> Result<(), StreamError> {
    let [dependency @ .., _weight] = *fields;
    if number_31(dependency) != head.stream {
        return Ok(());
    }
    Err(StreamError::protocol(format!(
        "a {} frame makes stream {} depend on itself (RFC 7540 §5.3.1)",
        head.kind, head.stream
    )))
}
