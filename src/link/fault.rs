//! Broken rules, GOAWAY and unsendable heads as endings (a reset of the peer is one already).

use std::io;
use std::sync::Arc;

use h2conn_engine::{ConnectionError, UnsendableHead};
use http::StatusCode;

use crate::error::{Ending, Error, ErrorKind, Reason};

/// The content of the peer's GOAWAY.
#[derive(Clone, Debug)]
pub(super) struct GoAway {
    pub(super) reason: Reason,
    /// A text for people, with arbitrary content.
    pub(super) text: String,
}

/// The peer has broken a rule that ends the link.
pub(super) fn violation(error: &ConnectionError) -> Ending {
    match error.first_bytes() {
        Some(first) => not_http2(first),
        None => Ending::Violation(error.reason(), error.what().into()),
    }
}

/// The peer's first bytes show that it does not speak HTTP/2.
pub(super) fn not_http2(first: &[u8]) -> Ending {
    Ending::NotHttp2(what_was_seen(first).into())
}

/// The peer's text before it ended the link in good order, as the cause of losses by that end.
pub(super) fn farewell(goaway: Option<&GoAway>) -> Option<Arc<io::Error>> {
    let text = goaway.map(|goaway| &goaway.text).filter(|text| !text.is_empty())?;
    let message = format!("the peer said in its GOAWAY: {text:?}");
    Some(Arc::new(io::Error::new(io::ErrorKind::UnexpectedEof, message)))
}

/// A request that the server has not looked at, and will not.
pub(super) fn not_processed(goaway: &GoAway) -> Ending {
    let said = match &goaway.text {
        text if text.is_empty() => String::new(),
        text => format!(": {text:?}"),
    };
    let message = format!(
        "the server takes no more requests on this link and has not looked at this one (GOAWAY, \
         {}{said}); try again",
        goaway.reason
    );
    Ending::NotProcessed(message.into())
}

/// The server's SETTINGS have come, and do not allow `:protocol` (RFC 8441 §3).
pub(super) fn not_offered(protocol: &str) -> Ending {
    let message = format!(
        "the server does not offer extended CONNECT (RFC 8441), which the protocol {protocol:?} \
         needs: its SETTINGS came without SETTINGS_ENABLE_CONNECT_PROTOCOL = 1; let the server, and \
         each proxy before it, offer it (Listener: ListenerBuilder::protocols), or connect by an \
         ordinary request"
    );
    Ending::Failed(Error::new(ErrorKind::Unsupported, message).by_the_peer())
}

/// A head that the peer would have to refuse.
pub(super) fn unsendable(head: &str, error: &UnsendableHead) -> Ending {
    let message = format!("the {head} cannot be sent: {error}");
    Ending::Failed(Error::new(ErrorKind::InvalidInput, message))
}

/// A status that is no final answer: the response itself must still follow it (RFC 9110 §15.2).
pub(super) fn no_response(status: StatusCode) -> Ending {
    let message =
        format!("{status} is no response: it is interim, and a final status was expected");
    Ending::Failed(Error::new(ErrorKind::InvalidInput, message))
}

/// Names the protocol that a peer without HTTP/2 seems to speak.
fn what_was_seen(first: &[u8]) -> String {
    const ALERT: u8 = 0x15;
    if first.starts_with(b"HTTP/1") {
        let line = first.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or(first);
        let line = String::from_utf8_lossy(line);
        // nginx, Apache and servers in Go answer so on a port with TLS.
        let tls = match line.contains(" 400") {
            true => "; if this is the port with TLS, use https:// in the URL",
            false => "",
        };
        return format!(
            "the server speaks HTTP/1, not HTTP/2: it answered {line:?}; a connection needs \
             HTTP/2, so ask for it there, or use the port that has it{tls}"
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
        let seen = |first: &[u8]| not_http2(first).to_string();
        let http = seen(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n");
        assert!(http.contains("\"HTTP/1.1 400 Bad Request\""), "{http}");
        assert!(http.contains("if this is the port with TLS, use https://"), "{http}");
        assert!(!seen(b"HTTP/1.1 505 HTTP Version Not Supported\r\n").contains("https://"));
        assert!(seen(&[0x15, 3, 3, 0, 2, 2, 10]).contains("https://"));
        let ssh = seen(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert!(ssh.contains("SSH-2.0-OpenSSH_9.2\\r\\n"), "{ssh}");
    }
}
