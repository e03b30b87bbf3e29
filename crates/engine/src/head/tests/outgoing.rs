//! Heads to send: the refused ones, and the bytes of the others.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use super::{LIMITS, of};
use crate::head::Outgoing;
use crate::hpack::{Decoder, Encoder};
use crate::{Protocol, UnsendableHead};

fn written(outgoing: &Outgoing<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    outgoing.write(&mut Encoder::new(), &mut block);
    block
}

/// The fields of a block as text. Fields that are never indexed have a mark.
fn fields(outgoing: &Outgoing<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    let mut size = 0;
    Decoder::new(4096)
        .decode(&written(outgoing), &mut |field| {
            size += field.size();
            fields.push(format!(
                "{}{}: {}",
                if field.never_indexed { "!" } else { "" },
                field.name.escape_ascii(),
                field.value.escape_ascii()
            ));
        })
        .unwrap();
    assert_eq!(outgoing.size(), size);
    fields
}

fn request_to(method: Method, uri: &str) -> Request<()> {
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

#[track_caller]
fn assert_refused(result: Result<Outgoing<'_>, UnsendableHead>, section: &str) {
    let error = result.expect_err("it was not refused");
    assert!(error.what().ends_with(&format!("({section})")), "{error}, not {section}");
}

#[track_caller]
fn assert_sent(request: &Request<()>, expected: &[&str]) {
    assert_eq!(fields(&of(request).unwrap()), expected);
}

#[test]
fn pseudo_header_fields_go_first() {
    let mut request = request_to(Method::GET, "https://example.com/chat?room=1");
    request.headers_mut().insert("x-y", HeaderValue::from_static("z"));
    let expected = [
        ":method: GET",
        ":scheme: https",
        ":path: /chat?room=1",
        ":authority: example.com",
        "x-y: z",
    ];
    assert_sent(&request, &expected);
}

#[test]
fn a_missing_path_is_a_slash() {
    for uri in ["http://example.com", "http://example.com/"] {
        let expected = [":method: GET", ":scheme: http", ":path: /", ":authority: example.com"];
        assert_sent(&request_to(Method::GET, uri), &expected);
    }
    let query = request_to(Method::GET, "http://example.com?a=b");
    let expected = [":method: GET", ":scheme: http", ":path: /?a=b", ":authority: example.com"];
    assert_sent(&query, &expected);
}

#[test]
fn options_may_go_to_a_star() {
    let uri = Uri::builder().scheme("https").authority("a").path_and_query("*").build().unwrap();
    let mut request = Request::new(());
    *request.method_mut() = Method::OPTIONS;
    *request.uri_mut() = uri;
    let expected = [":method: OPTIONS", ":scheme: https", ":path: *", ":authority: a"];
    assert_sent(&request, &expected);
    *request.method_mut() = Method::GET;
    assert_refused(of(&request), "RFC 9113 §8.3.1");
}

#[test]
fn a_host_becomes_the_authority() {
    let mut request = request_to(Method::GET, "/chat");
    assert_refused(of(&request), "RFC 9113 §8.3.1");
    request.headers_mut().insert("host", HeaderValue::from_static("example.com:8080"));
    let expected =
        [":method: GET", ":scheme: http", ":path: /chat", ":authority: example.com:8080"];
    assert_sent(&request, &expected);
    request.headers_mut().append("host", HeaderValue::from_static("example.com:8080"));
    assert_refused(of(&request), "RFC 9110 §7.2");
}

#[test]
fn a_host_that_says_the_same_is_left_out_and_another_is_refused() {
    let mut request = request_to(Method::GET, "https://example.com/");
    request.headers_mut().insert("host", HeaderValue::from_static("Example.com:443"));
    let expected = [":method: GET", ":scheme: https", ":path: /", ":authority: example.com"];
    assert_sent(&request, &expected);
    request.headers_mut().insert("host", HeaderValue::from_static("example.org"));
    assert_refused(of(&request), "RFC 9113 §8.3.1");
}

#[test]
fn a_host_in_a_response_is_a_field_like_others() {
    let response = Response::builder().header("host", "example.com").body(()).unwrap();
    let expected = [":status: 200", "host: example.com"];
    assert_eq!(fields(&Outgoing::response(&response).unwrap()), expected);
}

#[test]
fn secrets_in_a_uri_are_not_sent() {
    let request = request_to(Method::GET, "https://user:secret@example.com/");
    let error = of(&request).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_refused(of(&request), "RFC 9113 §8.3.1");
}

#[test]
fn a_tunnel_has_only_an_authority() {
    for uri in ["example.com:443", "https://example.com:443/chat"] {
        let expected = [":method: CONNECT", ":authority: example.com:443"];
        assert_sent(&request_to(Method::CONNECT, uri), &expected);
    }
    let no_port = request_to(Method::CONNECT, "https://example.com/");
    assert_refused(of(&no_port), "RFC 9113 §8.5");
}

#[test]
fn an_extended_connect_has_a_protocol() {
    let mut request = request_to(Method::CONNECT, "https://example.com/chat");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let expected = [
        ":method: CONNECT",
        ":protocol: websocket",
        ":scheme: https",
        ":path: /chat",
        ":authority: example.com",
    ];
    assert_sent(&request, &expected);
    *request.method_mut() = Method::GET;
    assert_refused(of(&request), "RFC 8441 §4");
}

#[test]
fn fields_of_http_1_connections_are_refused() {
    for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static("x"));
        assert_refused(Outgoing::trailers(&headers), "RFC 9113 §8.2.2");
        let mut request = request_to(Method::GET, "https://example.com/");
        *request.headers_mut() = headers.clone();
        assert_refused(of(&request), "RFC 9113 §8.2.2");
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        assert_refused(Outgoing::response(&response), "RFC 9113 §8.2.2");
    }
}

#[test]
fn te_is_only_for_trailers_of_a_request() {
    let mut request = request_to(Method::GET, "https://example.com/");
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    assert!(of(&request).is_ok());
    assert_refused(Outgoing::trailers(request.headers()), "RFC 9113 §8.2.2");
    request.headers_mut().insert("te", HeaderValue::from_static("gzip"));
    assert_refused(of(&request), "RFC 9113 §8.2.2");
}

#[test]
fn names_are_tokens() {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_lowercase(b"x\"").unwrap(), HeaderValue::from_static("x"));
    assert_refused(Outgoing::trailers(&headers), "RFC 9113 §8.2.1");
}

#[test]
fn values_begin_and_end_with_no_blank() {
    for value in [" x", "x\t"] {
        let mut headers = HeaderMap::new();
        headers.insert("x", HeaderValue::from_static(value));
        assert_refused(Outgoing::trailers(&headers), "RFC 9113 §8.2.1");
    }
}

#[test]
fn a_content_length_is_told() {
    let mut response = Response::new(());
    assert_eq!(Outgoing::response(&response).unwrap().content_length(), None);
    response.headers_mut().insert("content-length", HeaderValue::from_static("42"));
    assert_eq!(Outgoing::response(&response).unwrap().content_length(), Some(42));
    response.headers_mut().append("content-length", HeaderValue::from_static("43"));
    assert_refused(Outgoing::response(&response), "RFC 9110 §8.6");
    response.headers_mut().insert("content-length", HeaderValue::from_static("-1"));
    assert_refused(Outgoing::response(&response), "RFC 9110 §8.6");
}

#[test]
fn protocols_are_not_switched() {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    assert_refused(Outgoing::response(&response), "RFC 9113 §8.6");
}

#[test]
fn common_heads_are_single_bytes() {
    for (status, byte) in
        [(200, 0x88), (204, 0x89), (206, 0x8a), (304, 0x8b), (400, 0x8c), (404, 0x8d), (500, 0x8e)]
    {
        let response = Response::builder().status(status).body(()).unwrap();
        let outgoing = Outgoing::response(&response).unwrap();
        assert_eq!(written(&outgoing), [byte]);
        assert_eq!(fields(&outgoing), [format!(":status: {status}")]);
    }
    let request = request_to(Method::POST, "https://a/");
    assert_eq!(written(&of(&request).unwrap())[..3], [0x83, 0x87, 0x84]);
    let request = request_to(Method::GET, "http://a/");
    assert_eq!(written(&of(&request).unwrap())[..3], [0x82, 0x86, 0x84]);
}

#[test]
fn secrets_are_never_indexed() {
    let mut headers = HeaderMap::new();
    for name in ["authorization", "proxy-authorization", "cookie", "set-cookie"] {
        headers.insert(name, HeaderValue::from_static("secret"));
    }
    let mut sensitive = HeaderValue::from_static("secret");
    sensitive.set_sensitive(true);
    headers.insert("x-token", sensitive);
    headers.insert("x-open", HeaderValue::from_static("open"));
    let mut fields = fields(&Outgoing::trailers(&headers).unwrap());
    fields.sort();
    let expected = [
        "!authorization: secret",
        "!cookie: secret",
        "!proxy-authorization: secret",
        "!set-cookie: secret",
        "!x-token: secret",
        "x-open: open",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn the_second_request_is_shorter() {
    let mut request = request_to(Method::CONNECT, "https://example.com/chat");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.headers_mut().insert("user-agent", HeaderValue::from_static("h2conn"));
    request.headers_mut().insert("content-length", HeaderValue::from_static("0"));
    let outgoing = of(&request).unwrap();
    let mut encoder = Encoder::new();
    let mut blocks = [vec![], vec![]];
    blocks.iter_mut().for_each(|block| outgoing.write(&mut encoder, block));
    // Six from a table, and the length as a literal with an indexed name.
    assert_eq!(blocks[1].len(), 6 + 4, "{:x?}", blocks[1]);
    assert!(blocks[0].len() > 2 * blocks[1].len());
    assert!(LIMITS.size > outgoing.size());
}
