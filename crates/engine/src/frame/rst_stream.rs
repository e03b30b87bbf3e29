//! RST_STREAM (RFC 9113 §6.4): a stream is over.

use crate::frame::{Flags, Frame, Head, Kind};
use crate::{ConnectionError, Reason, StreamId};

const SECTION: &str = "RFC 9113 §6.4";

pub(crate) fn check(head: Head) -> Result<StreamId, ConnectionError> {
    let stream = head.of_stream(SECTION)?;
    head.of_length(4, SECTION)?;
    Ok(stream)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'static>, ConnectionError> {
    let (code, _) = head.split(payload, SECTION)?;
    Ok(Frame::Reset { stream: check(head)?, reason: Reason::from_code(u32::from_be_bytes(code)) })
}

pub(crate) fn write(stream: StreamId, reason: Reason, into: &mut Vec<u8>) {
    Head { len: 4, kind: Kind::RST_STREAM, flags: Flags::NONE, stream: stream.get() }.write(into);
    into.extend_from_slice(&reason.code().to_be_bytes());
}
