//! A table of the rules of RFC 9113 §8, and round trips.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod h2;
mod limits;
mod outgoing;
mod request;
mod response;
mod round_trip;
mod trailers;

use http::{HeaderMap, Request};

use super::{
    Limits, Outgoing, ReceivedRequest, ReceivedResponse, Refused, RequestHead, ResponseHead,
    Trailers,
};
use crate::hpack::Field;
use crate::{Reason, UnsendableHead};

/// Larger than any test needs.
const LIMITS: Limits = Limits { size: 1 << 14, count: 100 };

/// Names and values. The names and values for the rules are text.
type Fields<'a> = &'a [(&'a str, &'a str)];

/// The pseudo-header fields of a common request.
const GET: Fields<'_> = &[
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "example.com"),
    (":path", "/chat?room=1"),
];

/// Those of an extended CONNECT.
const EXTENDED: Fields<'_> = &[
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "example.com"),
    (":path", "/chat"),
];

fn feed(fields: &[Fields<'_>], mut sink: impl FnMut(Field<'_>)) {
    for (name, value) in fields.iter().copied().flatten() {
        sink(Field { name: name.as_bytes(), value: value.as_bytes(), never_indexed: false });
    }
}

fn request(fields: &[Fields<'_>]) -> Result<ReceivedRequest, Refused> {
    let mut head = RequestHead::new(LIMITS, 20, true);
    feed(fields, |field| head.field(field));
    head.finish()
}

/// The head for this request.
fn of(request: &Request<()>) -> Result<Outgoing<'_>, UnsendableHead> {
    let protocol = request.extensions().get();
    Outgoing::request(request.method(), request.uri(), request.headers(), protocol)
}

fn response(fields: &[Fields<'_>]) -> Result<ReceivedResponse, Refused> {
    let mut head = ResponseHead::new(LIMITS, 20);
    feed(fields, |field| head.field(field));
    head.finish(false)
}

fn trailers(fields: &[Fields<'_>]) -> Result<HeaderMap, Refused> {
    let mut trailers = Trailers::new(LIMITS);
    feed(fields, |field| trailers.field(field));
    trailers.finish()
}

/// Asserts that the result is malformed by the rule of that section.
#[track_caller]
fn assert_malformed<T: std::fmt::Debug>(result: Result<T, Refused>, section: &str) {
    match result {
        Err(Refused::Malformed(error)) => {
            assert_eq!(error.reason(), Reason::PROTOCOL_ERROR);
            assert!(error.what().ends_with(&format!("({section})")), "{error}, not {section}");
        }
        other => panic!("{other:?}, not malformed by {section}"),
    }
}

/// Asserts that all three kinds of blocks refuse the field, by the rule of that section.
#[track_caller]
fn assert_never(name: &str, value: &str, section: &str) {
    let field: Fields<'_> = &[(name, value)];
    assert_malformed(request(&[GET, field]), section);
    assert_malformed(response(&[&[(":status", "200")], field]), section);
    assert_malformed(trailers(&[field]), section);
}

/// Rules for all kinds of blocks.
mod every_block {
    use super::*;

    /// h2spec 8.1.2/1.
    #[test]
    fn names_are_lower_case() {
        for name in ["X-Test", "x-tEst", "Host", "Connection"] {
            assert_never(name, "x", "RFC 9113 §8.2.1");
        }
    }

    #[test]
    fn names_are_tokens() {
        for name in ["", "a b", " a", "a\t", "a:b", "a\0", "a\r\n", "\u{7f}", "é", "a\"", "(a)"] {
            assert_never(name, "x", "RFC 9113 §8.2.1");
        }
    }

    #[test]
    fn no_name_has_any_byte_that_the_rfc_forbids() {
        let forbidden = (0..=0x20).chain(0x41..=0x5a).chain(0x7f..=0xff).chain([b':']);
        for byte in forbidden {
            let mut trailers = Trailers::new(LIMITS);
            trailers.field(Field { name: &[b'x', byte], value: b"", never_indexed: false });
            assert_malformed(trailers.finish(), "RFC 9113 §8.2.1");
        }
    }

    #[test]
    fn values_have_no_control_characters() {
        for byte in (0..0x20).chain([0x7f]).filter(|&byte| byte != b'\t') {
            let mut trailers = Trailers::new(LIMITS);
            trailers.field(Field { name: b"x", value: &[b'a', byte, b'b'], never_indexed: false });
            assert_malformed(trailers.finish(), "RFC 9113 §8.2.1");
        }
    }

    #[test]
    fn values_begin_and_end_with_no_blank() {
        for value in [" x", "x ", "\tx", "x\t", " ", "\t"] {
            assert_never("x", value, "RFC 9113 §8.2.1");
        }
    }

    #[test]
    fn values_may_be_empty_or_have_blanks_inside_or_bytes_beyond_ascii() {
        let value = &[b'a', b' ', b'\t', 0x80, 0xff, b'~'][..];
        for value in [b"", value] {
            let mut trailers = Trailers::new(LIMITS);
            trailers.field(Field { name: b"x", value, never_indexed: false });
            assert_eq!(trailers.finish().unwrap()["x"].as_bytes(), value);
        }
    }

    /// h2spec 8.1.2.2/1.
    #[test]
    fn fields_of_http_1_connections_are_refused() {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
        {
            assert_never(name, "x", "RFC 9113 §8.2.2");
        }
    }

    /// h2spec 8.1.2.1/4.
    #[test]
    fn pseudo_header_fields_come_first() {
        let late: Fields<'_> = &[(":path", "/")];
        let x: Fields<'_> = &[("x", "y")];
        assert_malformed(request(&[&GET[..3], x, late]), "RFC 9113 §8.3");
        assert_malformed(response(&[x, &[(":status", "200")]]), "RFC 9113 §8.3");
        assert_malformed(trailers(&[x, late]), "RFC 9113 §8.3");
    }

    #[test]
    fn repeated_fields_keep_their_order() {
        let trailers = trailers(&[&[("a", "1"), ("b", "2"), ("a", "3")]]).unwrap();
        assert_eq!(trailers.get_all("a").iter().collect::<Vec<_>>(), ["1", "3"]);
    }

    #[test]
    fn never_indexed_fields_stay_secrets() {
        let mut trailers = Trailers::new(LIMITS);
        trailers.field(Field { name: b"a", value: b"1", never_indexed: true });
        trailers.field(Field { name: b"b", value: b"2", never_indexed: false });
        let trailers = trailers.finish().unwrap();
        assert!(trailers["a"].is_sensitive());
        assert!(!trailers["b"].is_sensitive());
    }

    #[test]
    fn the_first_fault_counts() {
        let fields: Fields<'_> = &[("A", "x"), ("connection", "x"), (":path", "/")];
        assert_malformed(trailers(&[fields]), "RFC 9113 §8.2.1");
    }

    #[test]
    fn an_error_shows_the_beginning_of_what_it_is_about() {
        let name = format!("A\"\n{}", "x".repeat(100));
        let Err(Refused::Malformed(error)) = trailers(&[&[(&name, "")]]) else {
            panic!("an upper-case name was taken");
        };
        assert_eq!(
            error.to_string(),
            "PROTOCOL_ERROR: the field name \"A\\\"\\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" (103 \
             bytes) has an upper-case letter, lower case was expected (RFC 9113 §8.2.1)"
        );
    }
}
