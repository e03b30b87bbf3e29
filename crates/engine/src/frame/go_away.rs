//! GOAWAY (RFC 9113 §6.8): its sender accepts no more streams.
//!
//! ```text
//!  +-+-------------------------------------------------------------+
//!  |R|                  Last-Stream-ID (31)                        |
//!  +-+-------------------------------------------------------------+
//!  |                      Error Code (32)                          |
//!  +---------------------------------------------------------------+
//!  |                  Additional Debug Data (*)                  ...
//!  +---------------------------------------------------------------+
//! ```

use crate::frame::{Flags, Frame, Head, Kind, number_31};
use crate::{ConnectionError, Reason};

const SECTION: &str = "RFC 9113 §6.8";

/// The peer accepts no more streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoAway<'a> {
    /// The last stream that the peer will process or has processed. It may be 0.
    pub(crate) last: u32,
    pub(crate) reason: Reason,
    /// A text for people, with arbitrary content.
    pub(crate) debug: &'a [u8],
}

/// The size of the last stream and the error code.
const FIXED: usize = 8;

pub(crate) fn check(head: Head) -> Result<(), ConnectionError> {
    head.of_connection(SECTION)?;
    head.of_at_least(FIXED, SECTION)
}

pub(crate) fn read(head: Head, payload: &[u8]) -> Result<Frame<'_>, ConnectionError> {
    let (last, rest) = head.split(payload, SECTION)?;
    let (code, debug) = head.split(rest, SECTION)?;
    let reason = Reason::from_code(u32::from_be_bytes(code));
    Ok(Frame::GoAway(GoAway { last: number_31(last), reason, debug }))
}

/// `debug` must leave room for eight bytes in the peer's `max_frame_size`.
pub(crate) fn write(last: u32, reason: Reason, debug: &[u8], into: &mut Vec<u8>) {
    let len = (FIXED + debug.len()) as u32;
    Head { len, kind: Kind::GOAWAY, flags: Flags::NONE, stream: 0 }.write(into);
    into.extend_from_slice(&last.to_be_bytes());
    into.extend_from_slice(&reason.code().to_be_bytes());
    into.extend_from_slice(debug);
}
