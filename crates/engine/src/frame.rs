//! Frames (RFC 9113 §4.1 and §6): the nine bytes at the beginning of each, and its payload.
//!
//! ```text
//!  +-----------------------------------------------+
//!  |                 Length (24)                   |
//!  +---------------+---------------+---------------+
//!  |   Type (8)    |   Flags (8)   |
//!  +-+-------------+---------------+-------------------------------+
//!  |R|                 Stream Identifier (31)                      |
//!  +=+=============================================================+
//!  |                   Frame Payload (0...)                      ...
//!  +---------------------------------------------------------------+
//! ```
//!
//! Each file below has one type of frame. `check` checks its head, before any of its payload has
//! come. `read` reads its whole payload, and `write` appends a frame to the output.

pub(crate) mod continuation;
pub(crate) mod data;
pub(crate) mod go_away;
pub(crate) mod headers;
pub(crate) mod padding;
pub(crate) mod ping;
pub(crate) mod priority;
pub(crate) mod priority_update;
pub(crate) mod push_promise;
pub(crate) mod rst_stream;
pub(crate) mod settings;
pub(crate) mod window_update;

use std::fmt;

pub(crate) use data::Data;
pub(crate) use go_away::GoAway;
pub(crate) use headers::Headers;
pub(crate) use settings::Entries;

use crate::priority::Priority;
use crate::{ConnectionError, Reason, StreamError, StreamId};

/// The client's connection preface, which a SETTINGS frame follows (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A part of the peer's input, as the deframer hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A frame begins. This comes first, once for every frame of any type, including CONTINUATION
    /// and types that HTTP/2 does not know. For unknown types nothing else comes.
    Head(Head),
    /// The next piece of a DATA frame's payload.
    Data(Data<'a>),
    /// A whole field block: HEADERS and the CONTINUATIONs that belong to it.
    Headers(Headers<'a>),
    /// PRIORITY, which has no effect any more (RFC 9113 §5.3.2).
    Priority {
        /// The stream that had a priority.
        stream: StreamId,
    },
    /// RST_STREAM.
    Reset {
        /// The stream that is over.
        stream: StreamId,
        /// The error code.
        reason: Reason,
    },
    /// SETTINGS. Each value is one that the peer may send.
    Settings(Entries<'a>),
    /// SETTINGS with ACK.
    SettingsAck,
    /// PING, which must be answered.
    Ping([u8; 8]),
    /// PING with ACK.
    Pong([u8; 8]),
    /// GOAWAY.
    GoAway(GoAway<'a>),
    /// WINDOW_UPDATE. The increment is 1 to 2³¹−1.
    WindowUpdate {
        /// The stream, or `None` for the connection's window.
        stream: Option<StreamId>,
        /// The credit in bytes.
        increment: u32,
    },
    /// PRIORITY_UPDATE (RFC 9218 §7.1).
    PriorityUpdate {
        /// The stream that gets the priority. It may not be open yet.
        stream: StreamId,
        /// The new priority, or the default if the value is not understood.
        priority: Priority,
    },
    /// A frame of a stream that requires a reset of that stream, and has no other effect.
    Broken {
        /// The stream.
        stream: StreamId,
        /// The fault.
        error: StreamError,
    },
}

/// The type of a frame (RFC 9113 §6). Unknown types are kept unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind(pub(crate) u8);

macro_rules! kinds {
    ($($name:ident = $code:literal;)*) => {
        impl Kind {
            $(pub(crate) const $name: Kind = Kind($code);)*
        }

        impl fmt::Display for Kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Kind::$name => f.write_str(stringify!($name)),)*
                    Kind(code) => write!(f, "type {code:#04x}"),
                }
            }
        }
    };
}

kinds! {
    DATA = 0x0;
    HEADERS = 0x1;
    PRIORITY = 0x2;
    RST_STREAM = 0x3;
    SETTINGS = 0x4;
    PUSH_PROMISE = 0x5;
    PING = 0x6;
    GOAWAY = 0x7;
    WINDOW_UPDATE = 0x8;
    CONTINUATION = 0x9;
    PRIORITY_UPDATE = 0x10;
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The flags of a frame. Bits that its type does not know are ignored (RFC 9113 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Flags(pub(crate) u8);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// For SETTINGS and PING.
    pub(crate) const ACK: Flags = Flags(0x1);
    /// For DATA and HEADERS.
    pub(crate) const END_STREAM: Flags = Flags(0x1);
    /// For HEADERS and CONTINUATION.
    pub(crate) const END_HEADERS: Flags = Flags(0x4);
    /// For DATA and HEADERS.
    pub(crate) const PADDED: Flags = Flags(0x8);
    /// For HEADERS.
    pub(crate) const PRIORITY: Flags = Flags(0x20);

    pub(crate) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) const fn with(self, flag: Flags) -> Flags {
        Flags(self.0 | flag.0)
    }

    /// `flag` if it applies, otherwise nothing.
    pub(crate) const fn only_if(flag: Flags, applies: bool) -> Flags {
        if applies { flag } else { Flags::NONE }
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// The nine bytes at the beginning of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The length of the payload: 24 bits.
    pub(crate) len: u32,
    pub(crate) kind: Kind,
    pub(crate) flags: Flags,
    /// The stream, or 0 for the connection.
    pub(crate) stream: u32,
}

impl Head {
    /// The number of bytes in a head.
    pub(crate) const LEN: usize = 9;

    /// Reads a head. The reserved bit is ignored (RFC 9113 §4.1).
    #[inline]
    pub(crate) fn read(bytes: &[u8; Head::LEN]) -> Head {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Head {
            len: u32::from_be_bytes([0, a, b, c]),
            kind: Kind(kind),
            flags: Flags(flags),
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        }
    }

    /// The nine bytes.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; Head::LEN] {
        debug_assert!(self.len < 1 << 24, "a length of {} bytes", self.len);
        let [_, a, b, c] = self.len.to_be_bytes();
        let [d, e, f, g] = self.stream.to_be_bytes();
        [a, b, c, self.kind.0, self.flags.0, d, e, f, g]
    }

    pub(crate) fn write(self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.bytes());
    }

    /// The stream of a frame whose type must name one.
    #[inline]
    fn of_stream(self, section: &str) -> Result<StreamId, ConnectionError> {
        StreamId::new(self.stream).ok_or_else(|| {
            let kind = self.kind;
            ConnectionError::protocol(format!(
                "a {kind} frame on stream 0, but it belongs to a stream ({section})"
            ))
        })
    }

    /// Refuses a stream on a frame whose type belongs to the connection.
    fn of_connection(self, section: &str) -> Result<(), ConnectionError> {
        if self.stream == 0 {
            return Ok(());
        }
        let Head { kind, stream, .. } = self;
        Err(ConnectionError::protocol(format!(
            "a {kind} frame on stream {stream}, but it belongs to stream 0 ({section})"
        )))
    }

    /// Refuses any other length.
    fn of_length(self, expected: u32, section: &str) -> Result<(), ConnectionError> {
        if self.len == expected {
            return Ok(());
        }
        let Head { kind, len, .. } = self;
        Err(ConnectionError::frame_size(format!(
            "a {kind} frame of {len} bytes, {expected} were expected ({section})"
        )))
    }

    /// Refuses a shorter length.
    fn of_at_least(self, expected: usize, section: &str) -> Result<(), ConnectionError> {
        if self.len as usize >= expected { Ok(()) } else { Err(self.too_short(expected, section)) }
    }

    /// Splits the payload into its first `N` bytes and the rest.
    #[inline]
    fn split<'a, const N: usize>(
        self,
        payload: &'a [u8],
        section: &str,
    ) -> Result<([u8; N], &'a [u8]), ConnectionError> {
        match payload.split_first_chunk() {
            Some((first, rest)) => Ok((*first, rest)),
            None => Err(self.too_short(N, section)),
        }
    }

    #[cold]
    fn too_short(self, expected: usize, section: &str) -> ConnectionError {
        let Head { kind, len, .. } = self;
        ConnectionError::frame_size(format!(
            "a {kind} frame of {len} bytes, at least {expected} were expected ({section})"
        ))
    }
}

/// The number in four bytes, without its reserved highest bit.
fn number_31(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_nine_bytes() {
        let head = Head {
            len: 0x01_02_03,
            kind: Kind::HEADERS,
            flags: Flags::END_STREAM.with(Flags::END_HEADERS),
            stream: 0x7fff_fffe,
        };
        let bytes = head.bytes();
        assert_eq!(bytes, [1, 2, 3, 1, 5, 0x7f, 0xff, 0xff, 0xfe]);
        assert_eq!(Head::read(&bytes), head);
    }

    #[test]
    fn the_reserved_bit_is_ignored() {
        assert_eq!(Head::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]).stream, 1);
    }

    #[test]
    fn unknown_types_and_flags_are_kept() {
        let head = Head::read(&[0, 0, 0, 0xfe, 0xff, 0, 0, 0, 0]);
        assert_eq!((head.kind, head.flags), (Kind(0xfe), Flags(0xff)));
        assert_eq!(head.kind.to_string(), "type 0xfe");
    }
}
