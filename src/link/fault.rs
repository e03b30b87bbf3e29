//! Says in our terms what h2 reports, with the help of what the wire has seen.

use std::io;
use std::sync::Arc;

use crate::error::{Ending, Reason};

/// Why a link has ended.
pub(super) fn link_end(result: Result<(), h2::Error>, first: &[u8], seen_settings: bool) -> Ending {
    if !seen_settings && !first.is_empty() {
        return Ending::NotHttp2(what_was_seen(first).into());
    }
    match result {
        Ok(()) => Ending::Gone(None),
        Err(error) if error.is_go_away() && error.is_remote() => {
            Ending::GoAway(reason(&error), debug_data(&error).into())
        }
        Err(error) if error.is_io() => Ending::Gone(error.into_io().map(Arc::new)),
        Err(error) => Ending::Violation(reason(&error), error.to_string().into()),
    }
}

/// What the peer has said before it ended the link in good order, as a cause of what that costs.
pub(super) fn farewell(text: &str) -> Option<Arc<io::Error>> {
    if text.is_empty() {
        return None;
    }
    let message = format!("the peer said in its GOAWAY: {text:?}");
    Some(Arc::new(io::Error::new(io::ErrorKind::UnexpectedEof, message)))
}

/// Why a stream has ended. `link_end` is the link's own reason, if it has ended; `answered` says
/// whether the peer has shown that it processes the stream.
pub(super) fn stream_end(error: h2::Error, link_end: Option<&Ending>, answered: bool) -> Ending {
    if error.is_reset() && error.is_remote() {
        return Ending::Reset(reason(&error));
    }
    if error.is_go_away() && error.is_remote() && !answered {
        // h2 gives this to the streams above the last one that the GOAWAY names, and to no other.
        let said = match debug_data(&error) {
            text if text.is_empty() => String::new(),
            text => format!(": {text:?}"),
        };
        let message = format!(
            "the server takes no more requests on this link and has not looked at this one \
             (GOAWAY, {}{said}); try again",
            reason(&error)
        );
        return Ending::NotProcessed(message.into());
    }
    if let Some(ending) = link_end {
        return ending.clone();
    }
    if error.is_io() {
        return Ending::Gone(error.into_io().map(Arc::new));
    }
    if error.is_go_away() && error.is_remote() {
        return Ending::GoAway(reason(&error), debug_data(&error).into());
    }
    Ending::Violation(reason(&error), error.to_string().into())
}

/// Whether h2 refuses to send on a stream because the peer has reset it. It says so as if the caller had
/// made a mistake, without a reason.
pub(super) fn is_of_a_stream_that_is_over(error: &h2::Error) -> bool {
    error.reason().is_none() && !error.is_io()
}

pub(super) fn reason(error: &h2::Error) -> Reason {
    error.reason().map_or(Reason::PROTOCOL_ERROR, from_h2)
}

pub(super) fn from_h2(reason: h2::Reason) -> Reason {
    Reason::from_code(reason.into())
}

pub(super) fn to_h2(reason: Reason) -> h2::Reason {
    h2::Reason::from(reason.code())
}

/// The text in a GOAWAY, which h2 only prints: `… (b"text")`.
fn debug_data(error: &h2::Error) -> String {
    let text = error.to_string();
    let quoted = text.split_once("(b\"").and_then(|(_, rest)| rest.strip_suffix("\")"));
    quoted.unwrap_or("").to_owned()
}

/// Names what a peer that does not speak HTTP/2 seems to speak.
fn what_was_seen(first: &[u8]) -> String {
    const ALERT: u8 = 0x15;
    if first.starts_with(b"HTTP/1") {
        let line = first.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or(first);
        return format!(
            "the server speaks HTTP/1, not HTTP/2: it answered {:?}; a connection needs HTTP/2, \
             so ask for it there, or use the port that has it",
            String::from_utf8_lossy(line)
        );
    }
    if first.starts_with(&[ALERT, 0x03]) {
        return "the server speaks TLS (it answered with a TLS alert); use https:// in the URL"
            .to_owned();
    }
    format!(
        "the server does not speak HTTP/2: its first bytes are \"{}\", where a SETTINGS frame was \
         expected; check the address and the port",
        first[..first.len().min(32)].escape_ascii()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_speaks_something_else_is_named() {
        let seen = |first: &[u8]| link_end(Ok(()), first, false).to_string();
        let http = seen(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n");
        assert!(http.contains("\"HTTP/1.1 400 Bad Request\""), "{http}");
        assert!(seen(&[0x15, 3, 3, 0, 2, 2, 10]).contains("https://"));
        let ssh = seen(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert!(ssh.contains("SSH-2.0-OpenSSH_9.2\\r\\n"), "{ssh}");
    }

    #[test]
    fn reasons_keep_their_codes_on_the_way_to_h2_and_back() {
        for code in [0, 1, 8, 13, 14, 0xffff_ffff] {
            assert_eq!(from_h2(to_h2(Reason::from_code(code))).code(), code);
        }
    }
}
