//! Heads of requests (RFC 9113 §8.3.1, §8.5; RFC 8441).

use http::{Method, Version};

use super::*;
use crate::Protocol;

/// The common request with one pseudo-header field changed.
fn get_with(name: &str, value: &str) -> Result<ReceivedRequest, Refused> {
    let fields: Vec<_> =
        GET.iter().map(|&field| if field.0 == name { (name, value) } else { field }).collect();
    request(&[&fields])
}

/// The fields without that one.
fn without<'a>(fields: Fields<'a>, name: &str) -> Vec<(&'a str, &'a str)> {
    fields.iter().copied().filter(|field| field.0 != name).collect()
}

#[test]
fn a_request_has_all_that_was_sent() {
    let received = request(&[GET, &[("accept", "text/plain"), ("x-y", "z")]]).unwrap();
    let request = received.request;
    assert_eq!(request.method(), Method::GET);
    assert_eq!(request.uri(), "https://example.com/chat?room=1");
    assert_eq!(request.version(), Version::HTTP_2);
    assert_eq!(request.headers().len(), 2);
    assert_eq!(request.headers()["x-y"], "z");
    assert_eq!(received.content_length, None);
}

#[test]
fn the_values_of_a_head_lie_in_one_buffer_if_it_is_as_large_as_the_last() {
    let long = "long".repeat(20);
    let fields = [("x", &*long), ("y", "short")];
    let of = |expected| {
        let mut head = RequestHead::new(LIMITS, expected, false);
        feed(&[GET, &fields], |field| head.field(field));
        head.finish().unwrap()
    };
    let first = of(0);
    let second = of(first.values);
    for received in [&first, &second] {
        assert_eq!(received.request.uri(), "https://example.com/chat?room=1");
        let headers = received.request.headers();
        assert_eq!([&headers["x"], &headers["y"]], [&*long, "short"]);
    }
    let (uri, headers) = (second.request.uri(), second.request.headers());
    let authority = uri.authority().unwrap().as_str();
    let path = uri.path_and_query().unwrap().as_str();
    let mut next = authority.as_ptr();
    let [x, y] = ["x", "y"].map(|name| headers[name].as_bytes());
    for value in [authority.as_bytes(), path.as_bytes(), x, y] {
        assert_eq!(value.as_ptr(), next);
        next = value.as_ptr_range().end;
    }
    assert_eq!(second.values, authority.len() + path.len() + long.len() + 5);
}

/// h2spec 8.1.2.1/1 and 8.1.2.1/2.
#[test]
fn unknown_pseudo_header_fields_are_refused() {
    for name in [":test", ":", ":status", ":Method", "::path", ":path "] {
        assert_malformed(request(&[GET, &[(name, "200")]]), "RFC 9113 §8.3");
    }
}

/// h2spec 8.1.2.3/2 to 8.1.2.3/4.
#[test]
fn method_scheme_and_path_are_needed() {
    for name in [":method", ":scheme", ":path"] {
        assert_malformed(request(&[&without(GET, name)]), "RFC 9113 §8.3.1");
    }
    assert_malformed(request(&[]), "RFC 9113 §8.3.1");
}

/// h2spec 8.1.2.3/5 to 8.1.2.3/7.
#[test]
fn pseudo_header_fields_come_once() {
    for field in EXTENDED {
        assert_malformed(request(&[EXTENDED, &[*field]]), "RFC 9113 §8.3");
    }
}

/// h2spec 8.1.2.3/1.
#[test]
fn a_path_is_absolute() {
    for path in ["", "chat", "?room=1", "https://example.com/", "**", "/a b", "/\u{7f}", "/a#b"] {
        assert_malformed(get_with(":path", path), "RFC 9113 §8.3.1");
    }
    for path in ["/", "//", "/?", "/%20", "/a?b?c", "/\u{e9}"] {
        let received = get_with(":path", path).unwrap();
        assert_eq!(received.request.uri().path_and_query().unwrap().as_str(), path);
    }
}

#[test]
fn a_star_is_only_for_options() {
    let options: Fields<'_> = &[
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":authority", "example.com"),
        (":path", "*"),
    ];
    let request = request(&[options]).unwrap().request;
    assert_eq!(request.uri().path(), "*");
    assert_eq!(request.uri().authority().unwrap(), "example.com");
    assert_malformed(get_with(":path", "*"), "RFC 9113 §8.3.1");
}

#[test]
fn a_method_is_a_token() {
    assert_eq!(get_with(":method", "x-ray").unwrap().request.method(), "x-ray");
    for method in ["", "G T", "GET\r\n", "é", "\"GET\""] {
        assert_malformed(get_with(":method", method), "RFC 9110 §9.1");
    }
}

#[test]
fn a_scheme_is_one() {
    for scheme in ["", "ht tp", "1http", "http:", "é"] {
        assert_malformed(get_with(":scheme", scheme), "RFC 9113 §8.3.1");
    }
    assert_eq!(get_with(":scheme", "coap").unwrap().request.uri().scheme_str(), Some("coap"));
}

#[test]
fn an_authority_is_a_host_and_at_most_a_port() {
    for authority in [
        "",
        "user@example.com",
        "user:secret@example.com",
        "@example.com",
        "a b",
        "a/b",
        "a:port",
        "a:65536",
        "a:+1",
        "a:1:2",
        "[::1",
        "a?b",
    ] {
        assert_malformed(get_with(":authority", authority), "RFC 9113 §8.3.1");
    }
    for authority in ["example.com", "example.com:1", "example.com:", "127.0.0.1:65535", "[::1]:1"]
    {
        let received = get_with(":authority", authority).unwrap();
        assert_eq!(received.request.uri().authority().unwrap(), authority);
    }
}

#[test]
fn a_host_can_stand_for_the_authority() {
    let bare = without(GET, ":authority");
    let request_of = |host| request(&[&bare, &[("host", host)]]);
    let received = request_of("example.com:8080").unwrap();
    // The same as in h2: no URI of `http` has a scheme without an authority.
    assert_eq!(received.request.uri(), "/chat?room=1");
    assert_eq!(received.request.headers()["host"], "example.com:8080");
    for host in ["", "user@example.com", "a b", "a:b"] {
        assert_malformed(request_of(host), "RFC 9113 §8.3.1");
    }
}

#[test]
fn one_of_both_is_needed_where_the_scheme_has_hosts() {
    let bare = without(GET, ":authority");
    assert_malformed(request(&[&bare]), "RFC 9113 §8.3.1");
    let other: Fields<'_> = &[(":method", "GET"), (":scheme", "urn"), (":path", "/x")];
    assert_eq!(request(&[other]).unwrap().request.uri(), "/x");
}

#[test]
fn a_host_may_not_contradict_the_authority() {
    for host in ["example.org", "example.com:80", "example.com:444", "www.example.com"] {
        assert_malformed(request(&[GET, &[("host", host)]]), "RFC 9113 §8.3.1");
    }
    for host in ["example.com", "EXAMPLE.com", "example.com:443"] {
        assert!(request(&[GET, &[("host", host)]]).is_ok(), "{host}");
    }
    let twice: Fields<'_> = &[("host", "example.com"), ("host", "example.com")];
    assert_malformed(request(&[GET, twice]), "RFC 9110 §7.2");
}

/// h2spec 8.1.2.2/2.
#[test]
fn te_says_trailers_or_nothing() {
    assert!(request(&[GET, &[("te", "trailers")]]).is_ok());
    for value in ["trailers, deflate;q=0.5", "gzip", ""] {
        assert_malformed(request(&[GET, &[("te", value)]]), "RFC 9113 §8.2.2");
    }
}

#[test]
fn crumbs_of_a_cookie_are_joined() {
    let crumbs: Fields<'_> = &[("cookie", "a=b"), ("x", "y"), ("cookie", "c=d"), ("cookie", "e=f")];
    let request_ = request(&[GET, crumbs]).unwrap().request;
    let cookies: Vec<_> = request_.headers().get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=b; c=d; e=f"]);
    assert_malformed(request(&[GET, &[("cookie", "a=b ")]]), "RFC 9113 §8.2.1");
    assert_malformed(request(&[GET, &[("cookie", "a=b"), ("cookie", "\0")]]), "RFC 9113 §8.2.1");
}

#[test]
fn one_secret_crumb_makes_the_cookie_a_secret() {
    for secret in [None, Some(0), Some(1)] {
        let mut head = RequestHead::new(LIMITS, 20, false);
        feed(&[GET], |field| head.field(field));
        for (at, value) in [b"a=b", b"c=d"].into_iter().enumerate() {
            head.field(Field { name: b"cookie", value, never_indexed: secret == Some(at) });
        }
        let request = head.finish().unwrap().request;
        assert_eq!(request.headers()["cookie"].is_sensitive(), secret.is_some());
    }
}

#[test]
fn a_content_length_is_one_number() {
    let of = |fields: Fields<'_>| request(&[GET, fields]);
    assert_eq!(of(&[("content-length", "0")]).unwrap().content_length, Some(0));
    let largest = u64::MAX.to_string();
    assert_eq!(of(&[("content-length", &largest)]).unwrap().content_length, Some(u64::MAX));
    let twice = of(&[("content-length", "42"), ("content-length", "042")]).unwrap();
    assert_eq!(twice.content_length, Some(42));
    assert_eq!(twice.request.headers().get_all("content-length").iter().count(), 1);
    for value in ["", "+1", "-1", "1.0", "0x1", "1, 1", "18446744073709551616", "one"] {
        assert_malformed(of(&[("content-length", value)]), "RFC 9110 §8.6");
    }
    let different: Fields<'_> = &[("content-length", "1"), ("content-length", "2")];
    assert_malformed(of(different), "RFC 9110 §8.6");
}

#[test]
fn a_tunnel_has_only_an_authority() {
    let connect: Fields<'_> = &[(":method", "CONNECT"), (":authority", "example.com:443")];
    let received = request(&[connect, &[("content-length", "7")]]).unwrap();
    assert_eq!(received.request.uri(), "example.com:443");
    assert_eq!(received.request.uri().scheme(), None);
    assert_eq!(received.request.extensions().get::<Protocol>(), None);
    assert_eq!(received.content_length, None);
    assert_malformed(request(&[connect, &[(":scheme", "https")]]), "RFC 9113 §8.5");
    assert_malformed(request(&[connect, &[(":path", "/")]]), "RFC 9113 §8.5");
    assert_malformed(request(&[&connect[..1]]), "RFC 9113 §8.3.1");
    for authority in ["example.com", "example.com:"] {
        let fields: Fields<'_> = &[(":method", "CONNECT"), (":authority", authority)];
        assert_malformed(request(&[fields]), "RFC 9113 §8.5");
    }
}

#[test]
fn an_extended_connect_has_a_place_and_a_protocol() {
    let received = request(&[EXTENDED]).unwrap();
    let request_ = received.request;
    assert_eq!(request_.method(), Method::CONNECT);
    assert_eq!(request_.uri(), "https://example.com/chat");
    assert_eq!(request_.extensions().get::<Protocol>().unwrap().as_str(), "websocket");
    for name in [":scheme", ":path", ":authority"] {
        assert_malformed(request(&[&without(EXTENDED, name)]), "RFC 9113 §8.3.1");
    }
    assert_malformed(request(&[GET, &[(":protocol", "websocket")]]), "RFC 8441 §4");
    for protocol in ["", "web socket"] {
        let fields = [(":protocol", protocol)];
        let extended = without(EXTENDED, ":protocol");
        assert_malformed(request(&[&fields, &extended]), "RFC 8441 §4");
    }
}

#[test]
fn an_extended_connect_needs_an_announcement() {
    let mut head = RequestHead::new(LIMITS, 20, false);
    feed(&[EXTENDED], |field| head.field(field));
    assert_malformed(head.finish(), "RFC 8441 §4");
}
