//! The text of a refusal: the words of the server, or of a proxy before it, and advice.

mod page;

use http::{HeaderMap, HeaderName, StatusCode, header, response};

/// The characters of a peer's text that an error shows.
const SHOWN: usize = 200;

/// The bytes of a refusal's body that are searched for words. They are at its beginning.
const LOOKED_AT: usize = 8 << 10;

/// A proxy that can be recognized, and its directives.
struct Proxy {
    /// Parts of the fields `server` and `via`, in lower case.
    marks: &'static [&'static str],
    name: &'static str,
    /// HTTP/2 to the server behind it.
    http2: &'static str,
    /// The time for the server's response.
    response_time: &'static str,
    /// The time for the client's content.
    content_time: &'static str,
    /// The length of the client's content.
    length: &'static str,
    /// The size of header fields.
    fields: &'static str,
}

const PROXIES: [Proxy; 6] = [
    Proxy {
        marks: &["nginx", "openresty"],
        name: "nginx",
        http2: "grpc_pass, or from 1.29.4 proxy_http_version 2",
        response_time: "grpc_read_timeout or proxy_read_timeout",
        content_time: "client_body_timeout",
        length: "client_max_body_size 0",
        fields: "large_client_header_buffers",
    },
    Proxy {
        marks: &["envoy"],
        name: "Envoy",
        http2: "http2_protocol_options of the cluster",
        response_time: "timeout 0s of the route",
        content_time: "request_timeout and stream_idle_timeout",
        length: "no filter that buffers",
        fields: "max_request_headers_kb",
    },
    Proxy {
        marks: &["caddy"],
        name: "Caddy",
        http2: "reverse_proxy to h2c://, or the transport's versions 2",
        response_time: "response_header_timeout",
        content_time: "read_body and read_body_idle",
        length: "request_body max_size",
        fields: "max_header_size",
    },
    Proxy {
        marks: &["apache/", "apache httpd"],
        name: "Apache",
        http2: "ProxyPass to h2c:// or h2://",
        response_time: "ProxyTimeout",
        content_time: "RequestReadTimeout",
        length: "LimitRequestBody 0",
        fields: "LimitRequestFieldSize",
    },
    Proxy {
        marks: &["nghttpx"],
        name: "nghttpx",
        http2: "proto=h2 of the backend",
        response_time: "backend-read-timeout",
        content_time: "frontend-read-timeout",
        length: "none is known",
        fields: "request-header-field-buffer",
    },
    Proxy {
        marks: &["awselb"],
        name: "AWS ALB",
        http2: "a target group with the protocol version HTTP/2 or gRPC",
        response_time: "the idle timeout",
        content_time: "the idle timeout",
        length: "none is known",
        fields: "none is known",
    },
];

/// The words of a refusal for people, if it says more than its status.
pub(super) fn said(head: &response::Parts, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(LOOKED_AT)]);
    let server = field(&head.headers, header::SERVER);
    let says_more = |text: &String| {
        !text.is_empty() && !is_status(text, head.status) && Some(text) != server.as_ref()
    };
    let is_page = text.trim_start().starts_with('<')
        || field(&head.headers, header::CONTENT_TYPE).is_some_and(|kind| kind.contains("html"));
    // A page may have other words for the status.
    let is_status_line = |text: &String| text.starts_with(head.status.as_str());
    let line = match is_page {
        true => page::texts(&text).find(|text| says_more(text) && !is_status_line(text)),
        false => text.lines().map(|line| line.trim().to_owned()).find(says_more),
    };
    line.map(shortened)
}

/// The advice in the error of a refusal.
pub(super) fn advice(head: &response::Parts) -> String {
    let who = who(&head.headers);
    let with = |directive: fn(&Proxy) -> &'static str| {
        recognized(&head.headers)
            .map_or_else(String::new, |proxy| format!(" ({}: {})", proxy.name, directive(proxy)))
    };
    match head.status.as_u16() {
        401 | 403 => "check the token, or what else shows the server who asks".to_owned(),
        405 => "check the method".to_owned(),
        408 => format!(
            "{who} may limit the time of a request, and a connection is a request that stays open: \
             lift that limit{}",
            with(|proxy| proxy.content_time)
        ),
        413 => format!(
            "{who} may limit the length of a request: lift that limit{}",
            with(|proxy| proxy.length)
        ),
        426 | 505 => format!(
            "{who} may speak HTTP/1 to the server behind it, and a connection needs HTTP/2 on the \
             whole way: use HTTP/2 there{}",
            with(|proxy| proxy.http2)
        ),
        429 => {
            format!("{who} may limit the number of requests: try again later, or raise that limit")
        }
        431 => format!(
            "{who} may limit the size of header fields: send fewer or shorter ones, or raise that \
             limit{}",
            with(|proxy| proxy.fields)
        ),
        502 => format!(
            "{who} may not reach the server behind it, or not speak HTTP/2 to it: check that \
             server, and use HTTP/2 there{}",
            with(|proxy| proxy.http2)
        ),
        503 => format!(
            "{who} may have no server behind it that is ready, or be at a limit: check that \
             server, or try again later"
        ),
        504 => format!(
            "{who} may have waited too long for the server behind it: check that the server answers \
             at once, and raise that timeout{}",
            with(|proxy| proxy.response_time)
        ),
        _ => "check the path, and what the server asks of a request".to_owned(),
    }
}

/// Names the box that has probably answered.
fn who(fields: &HeaderMap) -> String {
    match (field(fields, header::SERVER), field(fields, header::VIA)) {
        (Some(server), Some(via)) => {
            format!("{server:?} (the field server), or {via:?} (via) before it,")
        }
        (Some(server), None) => format!("{server:?} (the field server)"),
        (None, Some(via)) => format!("{via:?} (the field via)"),
        (None, None) => "a proxy before the server".to_owned(),
    }
}

fn recognized(fields: &HeaderMap) -> Option<&'static Proxy> {
    // The field server names the box that has written the answer.
    [header::SERVER, header::VIA].into_iter().find_map(|name| {
        let text = field(fields, name)?.to_ascii_lowercase();
        PROXIES.iter().find(|proxy| proxy.marks.iter().any(|mark| text.contains(mark)))
    })
}

fn field(fields: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = fields.get(name)?;
    Some(shortened(String::from_utf8_lossy(value.as_bytes()).trim().to_owned()))
}

/// Whether a text is only the status itself, as `502 Bad Gateway`.
fn is_status(text: &str, status: StatusCode) -> bool {
    let reason = status.canonical_reason().unwrap_or_default();
    let text = text.trim_start_matches(status.as_str()).trim();
    text.is_empty() || text.eq_ignore_ascii_case(reason)
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn head(status: u16, fields: &[(&str, &str)]) -> response::Parts {
        let response = Response::builder().status(status);
        let response =
            fields.iter().fold(response, |head, (name, value)| head.header(*name, *value));
        response.body(()).expect("a plain response").into_parts().0
    }

    #[test]
    fn the_box_is_named_with_what_must_be_changed_there() {
        let nginx = [("server", "nginx/1.22.1")];
        for (status, fields, parts) in [
            (502, &nginx[..], &["\"nginx/1.22.1\" (the field server)", "HTTP/2", "grpc_pass"][..]),
            (413, &nginx, &["length of a request", "(nginx: client_max_body_size 0)"]),
            (504, &nginx, &["waited too long", "grpc_read_timeout"]),
            (408, &nginx, &["client_body_timeout"]),
            (431, &nginx, &["large_client_header_buffers"]),
            (505, &[("server", "Apache/2.4.57 (Debian)")], &["HTTP/1", "ProxyPass to h2c://"]),
            (502, &[("via", "1.1 Caddy")], &["\"1.1 Caddy\" (the field via)", "h2c://"]),
            (
                503,
                &[("server", "x"), ("via", "1.1 y")],
                &["\"x\" (the field server), or \"1.1 y\""],
            ),
            (504, &[("server", "istio-envoy")], &["(Envoy: timeout 0s of the route)"]),
            (502, &[], &["a proxy before the server may not reach"]),
            (429, &[("server", "cloudflare")], &["\"cloudflare\"", "try again later"]),
        ] {
            let advice = advice(&head(status, fields));
            for part in parts {
                assert!(advice.contains(part), "{status} {fields:?}: {advice}");
            }
        }
    }

    #[test]
    fn other_refusals_keep_their_advice_and_name_no_box() {
        for (status, part) in [(401, "token"), (403, "token"), (405, "method"), (404, "path")] {
            let advice = advice(&head(status, &[("server", "nginx")]));
            assert!(advice.contains(part) && !advice.contains("nginx"), "{advice}");
        }
    }

    #[test]
    fn only_words_beyond_the_status_are_shown() {
        let said = |status, fields: &[(&str, &str)], body: &str| {
            said(&head(status, fields), body.as_bytes())
        };
        let nginx = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center>\
                     <h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n\
                     </body>\r\n</html>\r\n";
        assert_eq!(said(502, &[("server", "nginx/1.22.1")], nginx), None);
        let haproxy = "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in \
                       time.\n</body></html>\n";
        let text = said(504, &[], haproxy);
        assert_eq!(text.as_deref(), Some("The server didn't respond in time."));
        assert_eq!(said(413, &[], "<h1>413 Request Entity Too Large</h1>"), None);
        assert_eq!(said(502, &[], "Bad Gateway"), None);
        assert_eq!(said(502, &[], ""), None);
        let page = [("content-type", "text/html")];
        assert_eq!(said(404, &page, "No such room").as_deref(), Some("No such room"));
        assert_eq!(said(404, &[], " no such\nroom").as_deref(), Some("no such"));
        let long = said(404, &[], &"ä".repeat(1000)).expect("a text");
        assert_eq!(long.chars().count(), SHOWN + 1);
    }
}
