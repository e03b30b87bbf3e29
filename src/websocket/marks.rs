//! The subprotocol `h2conn.v1`, which two ends of this library speak over a WebSocket: it has the half-close, the
//! resets and the drain that a WebSocket lacks. Each binary message begins with a byte that says what the message is.

use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

use crate::error::Reason;

/// The name of the subprotocol.
pub(crate) const SUBPROTOCOL: &str = "h2conn.v1";

/// A subprotocol that a client offers before the other, if it offers nothing else. It means plain messages. Some servers
/// choose the first subprotocol that they are offered, whatever it is.
pub(crate) const PLAIN: &str = "h2conn.plain";

const DATA: u8 = 0;
const END: u8 = 1;
const RESET: u8 = 2;
const DRAINING: u8 = 3;
const HERE: u8 = 4;

/// The meaning of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Bytes of the stream.
    Data(Bytes),
    /// The end of the sender's side, as END_STREAM is one.
    End,
    /// The sender has reset the stream.
    Reset(Reason),
    /// The sender takes no more connections, as a GOAWAY says it.
    Draining,
    /// A sign of life. `true` if content has come since the sender's last one, and `false` if it cannot read on.
    Here(bool),
    /// Something that a later version says, and this one need not understand.
    Unknown,
}

impl Mark {
    /// # Errors
    ///
    /// Why the message is none of this subprotocol.
    pub(super) fn of(mut message: Bytes) -> Result<Mark, &'static str> {
        let Some(&first) = message.first() else {
            return Err(
                "an empty message has no mark, which each message of h2conn.v1 begins with",
            );
        };
        let rest = message.split_off(1);
        match (first, rest.len()) {
            (DATA, _) => Ok(Mark::Data(rest)),
            (END, 0) => Ok(Mark::End),
            (RESET, 4) => {
                let code = <[u8; 4]>::try_from(&rest[..]).map_or(0, u32::from_be_bytes);
                Ok(Mark::Reset(Reason::from_code(code)))
            }
            (DRAINING, 0) => Ok(Mark::Draining),
            (HERE, 1) => Ok(Mark::Here(rest[0] != 0)),
            (END | RESET | DRAINING | HERE, _) => {
                Err("a message of h2conn.v1 has the wrong length")
            }
            _ => Ok(Mark::Unknown),
        }
    }

    pub(super) fn message(&self) -> Message {
        let (mark, rest) = match self {
            Mark::Data(bytes) => (DATA, bytes.clone()),
            Mark::End => (END, Bytes::new()),
            Mark::Reset(reason) => (RESET, Bytes::copy_from_slice(&reason.code().to_be_bytes())),
            Mark::Draining => (DRAINING, Bytes::new()),
            Mark::Here(has_received) => (HERE, Bytes::copy_from_slice(&[u8::from(*has_received)])),
            // It is never sent.
            Mark::Unknown => (u8::MAX, Bytes::new()),
        };
        let mut message = BytesMut::with_capacity(1 + rest.len());
        message.put_u8(mark);
        message.put(rest);
        Message::Binary(message.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mark_comes_back_from_its_message() {
        for mark in [
            Mark::Data(Bytes::new()),
            Mark::Data(Bytes::from_static(b"\x01abc")),
            Mark::End,
            Mark::Reset(Reason::CANCEL),
            Mark::Reset(Reason::from_code(u32::MAX)),
            Mark::Draining,
            Mark::Here(true),
            Mark::Here(false),
        ] {
            let Message::Binary(bytes) = mark.message() else { panic!("{mark:?} is binary") };
            assert_eq!(Mark::of(bytes), Ok(mark));
        }
    }

    #[test]
    fn what_is_no_mark_is_refused_and_what_is_new_is_not() {
        for wrong in [&b""[..], b"\x01x", b"\x02", b"\x02abc", b"\x02abcde", b"\x03x", b"\x04"] {
            assert!(Mark::of(Bytes::from_static(wrong)).is_err(), "{wrong:?}");
        }
        for new in [&b"\x05"[..], b"\x05abc", b"\xff"] {
            assert_eq!(Mark::of(Bytes::from_static(new)), Ok(Mark::Unknown), "{new:?}");
        }
    }
}
