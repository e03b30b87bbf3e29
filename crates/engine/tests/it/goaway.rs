//! GOAWAY in all its forms (RFC 9113 §6.8).

use h2conn_engine::{OpenError, StreamId};
use http::Request;

use crate::support::*;

fn request() -> Request<()> {
    Request::get("http://a/").body(()).unwrap()
}

#[test]
fn a_graceful_end_begins_with_the_highest_and_comes_down_to_the_last() {
    let mut end = End::server();
    end.ok(&open(1, true));
    end.connection.go_away(Some(StreamId::MAX), NO_ERROR, b"bye");
    assert_eq!(end.sent()[0].payload, b"\x7f\xff\xff\xff\0\0\0\0bye");
    end.ok(&open(3, true));
    assert_eq!(end.connection.last_peer_stream(), Some(id(3)));
    end.connection.go_away(end.connection.last_peer_stream(), NO_ERROR, b"");
    assert_eq!(end.sent()[0].number(0), 3);
    // This stream is ignored, and so is its content.
    end.ok(&[open(5, false), data(5, true, b"x")].concat());
    let expected = [
        Heard::Request(1, "GET http://a/".into(), true),
        Heard::Request(3, "GET http://a/".into(), true),
    ];
    assert_eq!(end.heard(), expected);
    assert_eq!((end.sent().len(), end.connection.unreleased()), (0, 0));
    end.connection.go_away(Some(StreamId::MAX), NO_ERROR, b"");
    assert_eq!(end.sent()[0].number(0), 3, "it never rises");
    end.answer(1, true);
    end.answer(3, true);
    assert!(end.connection.is_idle() && end.connection.is_going_away());
}

#[test]
fn streams_above_the_last_were_not_processed_and_the_others_go_on() {
    let mut end = End::client();
    for _ in 0..4 {
        end.request(false);
    }
    end.ok(&frame(GOAWAY, 0, 0, b"\0\0\0\x03\0\0\0\x0bcalm"));
    let expected =
        [Heard::GoAway(3, CALM, b"calm".into()), Heard::NotProcessed(5), Heard::NotProcessed(7)];
    assert_eq!(end.heard(), expected);
    assert_eq!(end.connection.open_streams(), 2);
    assert_eq!(end.connection.open(&request(), true), Err(OpenError::GoingAway));
    end.ok(&frame(HEADERS, END_HEADERS, 3, OK)).ok(&data(3, true, b"x"));
    assert_eq!(end.send(3, 1, true), Some(1));
    end.ok(&go_away(1, NO_ERROR));
    assert_eq!(end.connection.open_streams(), 1);
    end.ok(&go_away(0, NO_ERROR));
    assert_eq!(end.connection.open_streams(), 0);
    assert_eq!(end.heard().last(), Some(&Heard::NotProcessed(1)));
}

#[test]
fn a_last_stream_that_rises_changes_nothing() {
    let mut end = End::client();
    end.request(false);
    end.ok(&[go_away(1, NO_ERROR), go_away(7, NO_ERROR)].concat());
    assert_eq!(
        end.heard(),
        [Heard::GoAway(1, NO_ERROR, vec![]), Heard::GoAway(1, NO_ERROR, vec![])]
    );
}

#[test]
fn a_client_that_goes_away_opens_nothing_more() {
    let mut end = End::client();
    end.connection.go_away(None, NO_ERROR, b"");
    assert_eq!(end.sent()[0].number(0), 0);
    assert_eq!(end.connection.open(&request(), true), Err(OpenError::GoingAway));
}

#[test]
fn a_client_that_leaves_takes_no_stream_of_its_own_along() {
    let mut end = End::server();
    end.ok(&[open(1, true), go_away(0, NO_ERROR)].concat());
    assert_eq!(end.heard().last(), Some(&Heard::GoAway(0, NO_ERROR, vec![])));
    end.answer(1, false);
    assert_eq!(end.send(1, 5, true), Some(5));
}

#[test]
fn a_text_is_cut() {
    let mut end = End::server();
    end.connection.go_away(None, NO_ERROR, &[b'x'; 100_000]);
    assert_eq!(end.sent()[0].payload.len(), 8 + 1_024);
}

#[test]
fn bytes_that_are_no_http2_are_told_apart() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03",
        b"PRI * HTTP/2.0\r\n\r\nXX",
    ] {
        let mut end = End::new(h2conn_engine::Connection::server(&Default::default()));
        let error = end.feed(bytes).unwrap_err();
        assert!(bytes.starts_with(error.first_bytes().expect("they are kept")), "{error}");
    }
    let mut end = End::new(h2conn_engine::Connection::client(&Default::default()));
    let error = end.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert!(error.first_bytes().is_some_and(|bytes| bytes.starts_with(b"HTTP/1.1 400")));
    // A valid frame, but not the right one.
    let mut end = End::new(h2conn_engine::Connection::server(&Default::default()));
    assert_eq!(end.fails(&[PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()), PROTOCOL_ERROR);
}
