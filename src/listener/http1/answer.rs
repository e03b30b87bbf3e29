//! The answer to a request over HTTP/1, which no listener takes.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::config::{NO_H2C, Origins, asks_to_upgrade, no_websockets_at_a_listener};

/// Whether the request with this head asks for a WebSocket.
#[cfg(feature = "websocket")]
pub(in crate::listener) fn asks_for_websocket(head: &[u8]) -> bool {
    asks_to_upgrade(&parse(head).1, "websocket")
}

/// The status and the text for a request whose head has come, or the beginning of it. The origin is
/// checked first, as for the requests that a listener takes.
pub(in crate::listener) fn answer(head: &[u8], origins: &Origins) -> (&'static str, String) {
    let (uri, headers) = parse(head);
    if let Some(text) = origins.refusal(&uri, &headers) {
        return ("403 Forbidden", format!("{text}\n"));
    }
    // A WebSocket over HTTP/1.0 comes from a proxy that has lowered the version. The advice is the
    // same.
    if asks_to_upgrade(&headers, "websocket") {
        let text = format!("{}\n", no_websockets_at_a_listener());
        return ("501 Not Implemented", text);
    }
    let h2c = match asks_to_upgrade(&headers, "h2c") {
        true => format!(" And {NO_H2C}."),
        false => String::new(),
    };
    let text = format!(
        "This is an h2conn server. A full-duplex connection needs HTTP/2, and this request came by HTTP/1. Over TLS, \
         offer \"h2\" in ALPN; without TLS, begin with HTTP/2 right away (curl: --http2-prior-knowledge).{h2c}\n"
    );
    ("505 HTTP Version Not Supported", text)
}

/// The status and the text for a request whose first line names another version of HTTP, or none.
pub(in crate::listener) fn other_version() -> (&'static str, String) {
    let text = "This is an h2conn server, and it does not know the version of HTTP that the first line of this request \
                names. HTTP/2 has no such line: over TLS, offer \"h2\" in ALPN; without TLS, begin with HTTP/2 right \
                away (curl: --http2-prior-knowledge).\n";
    ("505 HTTP Version Not Supported", text.to_owned())
}

/// The target and the fields of a request's head (RFC 9112 §3, §5), as far as they are valid.
fn parse(head: &[u8]) -> (Uri, HeaderMap) {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let target = lines.next().and_then(|line| line.split(|byte| *byte == b' ').nth(1));
    let uri = target.and_then(|target| Uri::try_from(target).ok()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let (name, value) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    (uri, headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_gets_the_answer_that_fits_it() {
        let upgrade = |to| format!("host: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: {to}");
        let (websocket, h2c) = (upgrade("WebSocket"), upgrade("h2c"));
        let foreign = format!("{websocket}\r\norigin: https://b");
        let ours = format!("{websocket}\r\norigin: http://a");
        for (fields, status, parts) in [
            ("", "505", &["HTTP/2", "ALPN", "--http2-prior-knowledge"][..]),
            ("host: a\r\nupgrade: websocket", "505", &["came by HTTP/1"]),
            (
                &websocket,
                "501",
                &["ListenerBuilder::websockets", "\"websocket\"", "POST over HTTP/2"],
            ),
            (&ours, "501", &["Listener of h2conn takes no WebSockets"]),
            (&h2c, "505", &["RFC 9113 has removed it", "in place of --http2"]),
            (&foreign, "403", &["\"https://b\"", "\"a\""]),
            ("host: a\r\nsec-fetch-site: cross-site", "403", &["cross-site"]),
            ("no field\r\n: b\r\nsec-fetch-site:cross-site", "403", &["cross-site"]),
            ("host: a\r\n\r\norigin: https://b", "505", &["HTTP/2"]),
        ] {
            let head = format!("GET /path HTTP/1.1\r\n{fields}\r\n\r\n");
            let (seen, text) = answer(head.as_bytes(), &Origins::Same);
            assert!(seen.starts_with(status), "{fields}: {seen}");
            assert!(parts.iter().all(|part| text.contains(part)), "{fields}: {text}");
            assert!(text.ends_with('\n') && !text.trim_end().contains('\n'), "{text:?}");
        }
    }

    #[test]
    fn the_host_of_an_absolute_target_counts() {
        let head = b"GET http://a/ HTTP/1.1\r\nhost: b\r\norigin: http://a\r\n\r\n";
        assert!(answer(head, &Origins::Same).0.starts_with("505"));
        for head in [&b""[..], b"GET", b"GET / HTTP/1.1\r\nhos"] {
            assert!(answer(head, &Origins::Same).0.starts_with("505"));
        }
    }
}
