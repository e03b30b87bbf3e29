//! The meaning of a close frame's status, in both directions (RFC 6455 §7.4).

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::error::{Ending, Error, ErrorKind, Reason};

/// A reset's status is the number of its reason plus this, in the range that is free for programs.
const RESET: u16 = 4000;

/// The highest status.
const LAST: u16 = 4999;

/// The close frame of a good end, including the end of the server.
pub(super) fn end(server_ends: bool) -> CloseFrame {
    if server_ends { frame(CloseCode::Away, "") } else { frame(CloseCode::Normal, "") }
}

/// The close frame of a reset on this side.
pub(super) fn reset(reason: Reason) -> CloseFrame {
    let code = u16::try_from(reason.code()).ok().map(|code| RESET.saturating_add(code));
    let code = code.filter(|code| *code <= LAST).map_or(CloseCode::Error, CloseCode::from);
    frame(code, &format!("reset ({reason})"))
}

/// The close frame for a client's violation. `why` is cut after 123 bytes.
pub(super) fn refusal(code: CloseCode, why: &str) -> CloseFrame {
    frame(code, why)
}

fn frame(code: CloseCode, why: &str) -> CloseFrame {
    // A control frame holds 125 bytes, and the status takes two of them (§5.5).
    let end = (0..=why.len().min(123)).rev().find(|end| why.is_char_boundary(*end)).unwrap_or(0);
    CloseFrame { code, reason: why[..end].to_owned().into() }
}

/// How a client's close frame ends its side. `Ok` is a good end.
pub(super) fn meaning(frame: Option<&CloseFrame>) -> Result<(), Ending> {
    let Some(frame) = frame else { return Ok(()) };
    let code = u16::from(frame.code);
    let reason = match frame.code {
        CloseCode::Normal | CloseCode::Away => return Ok(()),
        CloseCode::Protocol | CloseCode::Invalid => Reason::PROTOCOL_ERROR,
        CloseCode::Error => Reason::INTERNAL_ERROR,
        _ if (RESET..=LAST).contains(&code) => Reason::from_code(u32::from(code - RESET)),
        _ => Reason::CANCEL,
    };
    let why = match frame.reason.as_str() {
        "" => String::new(),
        why => format!(", {why:?}"),
    };
    let message = format!("the peer closed the WebSocket with the status {code}{why} ({reason})");
    let error = Error::new(ErrorKind::Reset, message).with_reason(reason).by_the_peer();
    Err(Ending::Failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_comes_back_from_its_status() {
        for code in [0, 1, 8, 13, 14, 999] {
            let frame = reset(Reason::from_code(code));
            let Err(Ending::Failed(error)) = meaning(Some(&frame)) else {
                panic!("{frame:?} is a reset")
            };
            assert_eq!(error.reason(), Some(Reason::from_code(code)));
        }
        assert_eq!(u16::from(reset(Reason::CANCEL).code), 4008);
        assert_eq!(u16::from(reset(Reason::from_code(1000)).code), 1011);
        assert_eq!(u16::from(reset(Reason::from_code(u32::MAX)).code), 1011);
    }

    #[test]
    fn only_an_orderly_status_is_an_end() {
        assert!(meaning(None).is_ok());
        for (code, reason) in [
            (1000, None),
            (1001, None),
            (1002, Some(Reason::PROTOCOL_ERROR)),
            // This status must not be sent (§7.4.1).
            (1005, Some(Reason::CANCEL)),
            (1008, Some(Reason::CANCEL)),
            (1011, Some(Reason::INTERNAL_ERROR)),
            (3000, Some(Reason::CANCEL)),
            (4001, Some(Reason::PROTOCOL_ERROR)),
        ] {
            let seen = match meaning(Some(&frame(CloseCode::from(code), "why"))) {
                Ok(()) => None,
                Err(Ending::Failed(error)) => {
                    assert!(error.to_string().contains(&format!("{code}, \"why\"")), "{error}");
                    error.reason()
                }
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(seen, reason, "{code}");
        }
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_two_characters() {
        let frame = refusal(CloseCode::Size, &"ö".repeat(100));
        assert_eq!(frame.reason.len(), 122);
    }
}
