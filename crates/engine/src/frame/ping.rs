//! PING (RFC 9113 §6.7): eight bytes that come back.

use crate::ConnectionError;
use crate::frame::{Flags, Frame, Head, Kind};

const SECTION: &str = "RFC 9113 §6.7";

pub(crate) fn check(head: Head) -> Result<(), ConnectionError> {
    head.of_connection(SECTION)?;
    head.of_length(8, SECTION)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'static>, ConnectionError> {
    let (payload, _) = head.split(payload, SECTION)?;
    Ok(if head.flags.has(Flags::ACK) { Frame::Pong(payload) } else { Frame::Ping(payload) })
}

pub(crate) fn write(payload: [u8; 8], ack: bool, into: &mut Vec<u8>) {
    let flags = Flags::only_if(Flags::ACK, ack);
    Head { len: 8, kind: Kind::PING, flags, stream: 0 }.write(into);
    into.extend_from_slice(&payload);
}
