//! Heads of responses (RFC 9113 §8.3.2).

use http::{Method, StatusCode, Version};

use super::*;
use crate::head::Asked;

fn with_status(status: &str) -> Result<ReceivedResponse, Refused> {
    response(&[&[(":status", status)]])
}

#[test]
fn a_response_has_all_that_was_sent() {
    let received = response(&[&[(":status", "418"), ("x-y", "z")]]).unwrap();
    let response = received.response;
    assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.headers().len(), 1);
    assert_eq!(response.headers()["x-y"], "z");
}

#[test]
fn a_status_is_three_digits() {
    for status in ["", "20", "2000", "2 0", "abc", "+20", "000", "099"] {
        assert_malformed(with_status(status), "RFC 9113 §8.3.2");
    }
    for status in ["100", "200", "599", "999"] {
        assert_eq!(with_status(status).unwrap().response.status().as_str(), status);
    }
}

#[test]
fn a_status_is_needed_once() {
    assert_malformed(response(&[]), "RFC 9113 §8.3.2");
    assert_malformed(response(&[&[("x", "y")]]), "RFC 9113 §8.3.2");
    assert_malformed(response(&[&[(":status", "200"), (":status", "200")]]), "RFC 9113 §8.3");
}

#[test]
fn other_pseudo_header_fields_are_refused() {
    for name in [":method", ":scheme", ":authority", ":path", ":protocol", ":test", ":"] {
        assert_malformed(response(&[&[(":status", "200"), (name, "x")]]), "RFC 9113 §8.3.2");
    }
}

#[test]
fn protocols_are_not_switched() {
    assert_malformed(with_status("101"), "RFC 9113 §8.6");
}

#[test]
fn te_is_not_for_responses() {
    let te: Fields<'_> = &[(":status", "200"), ("te", "trailers")];
    assert_malformed(response(&[te]), "RFC 9113 §8.2.2");
}

#[test]
fn an_interim_response_does_not_end_its_stream() {
    for (status, interim) in [("100", true), ("103", true), ("200", false)] {
        assert_eq!(with_status(status).unwrap().is_interim(), interim);
        let mut head = ResponseHead::new(LIMITS, 20);
        feed(&[&[(":status", status)]], |field| head.field(field));
        let result = head.finish(true);
        if interim {
            assert_malformed(result, "RFC 9113 §8.1");
        } else {
            assert!(result.is_ok());
        }
    }
}

#[test]
fn cookies_are_not_joined() {
    let cookies: Fields<'_> = &[(":status", "200"), ("set-cookie", "a"), ("set-cookie", "b")];
    let response = response(&[cookies]).unwrap().response;
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
}

#[test]
fn content_depends_on_the_request_and_the_status() {
    let connect = Asked::from(&Method::CONNECT);
    let head = Asked::from(&Method::HEAD);
    let other = Asked::from(&Method::GET);
    for (status, asked, content) in [
        ("200", other, Some(5)),
        ("200", head, Some(0)),
        ("404", head, Some(0)),
        ("200", connect, None),
        ("299", connect, None),
        ("404", connect, Some(5)),
        ("103", other, Some(0)),
        ("204", other, Some(0)),
        ("304", other, Some(0)),
    ] {
        let fields: Fields<'_> = &[(":status", status), ("content-length", "5")];
        let received = response(&[fields]).unwrap();
        assert_eq!(received.content_length(asked), content, "{status} {asked:?}");
        assert_eq!(received.response.headers()["content-length"], "5");
    }
    assert_eq!(with_status("200").unwrap().content_length(other), None);
}

#[test]
fn a_bad_content_length_is_refused() {
    let fields: Fields<'_> = &[(":status", "204"), ("content-length", "five")];
    assert_malformed(response(&[fields]), "RFC 9110 §8.6");
}
