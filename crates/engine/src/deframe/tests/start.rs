//! The preface, the first frame, and bytes of other protocols (RFC 9113 §3.4).

use super::*;

#[test]
fn a_client_begins_with_the_preface_and_settings() {
    let bytes = [PREFACE.as_slice(), &empty_settings()].concat();
    let (told, error) = at_every_cut(true, &bytes);
    assert_eq!(error, None);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[1].starts_with("Settings"), "{told:?}");
}

#[test]
fn a_server_begins_with_settings() {
    let (told, error) = at_every_cut(false, &empty_settings());
    assert_eq!(error, None);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn the_first_bytes_of_another_protocol_are_kept() {
    let http1 = b"GET /chat HTTP/1.1\r\nhost: example.com\r\nupgrade: websocket\r\nx: y\r\n\r\n";
    let (told, error) = at_every_cut(true, http1);
    let error = error.expect("not HTTP/2");
    assert_eq!(told, [""; 0]);
    assert_eq!(error.reason(), Reason::PROTOCOL_ERROR);
    assert_eq!(error.first_bytes(), Some(&http1[..64]));
}

#[test]
fn a_preface_that_goes_wrong_later_is_kept_from_its_beginning() {
    let (_, error) = at_every_cut(true, b"PRI * HTTP/3.0\r\n\r\n");
    assert_eq!(error.unwrap().first_bytes(), Some(&b"PRI * HTTP/3.0\r\n\r\n"[..]));
    let mut transcript = transcript(true);
    transcript.feed(b"PRI");
    transcript.feed(b" * HTTP/1.1");
    let (_, error) = transcript.end();
    assert_eq!(error.unwrap().first_bytes(), Some(&b"PRI * HTTP/1.1"[..]));
}

#[test]
fn the_alert_of_a_tls_server_is_shorter_than_a_head_and_is_seen() {
    let alert = [0x15, 3, 1, 0, 2, 2, 0x46];
    let (_, error) = at_every_cut(false, &alert);
    assert_eq!(error.unwrap().first_bytes(), Some(&alert[..]));
}

#[test]
fn the_answer_of_an_http_1_server_is_seen() {
    let (_, error) = at_every_cut(false, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(error.unwrap().first_bytes(), Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]));
}

#[test]
fn another_first_frame_of_a_server_is_no_http2() {
    for kind in (0..=255).map(Kind).filter(|&kind| kind != Kind::SETTINGS) {
        let first = raw(kind, Flags::NONE, 0, &[]);
        let (told, error) = at_every_cut(false, &first);
        assert_eq!(told, [""; 0]);
        assert_eq!(error.unwrap().first_bytes(), Some(&first[..]));
    }
}

#[test]
fn another_first_frame_of_a_client_is_an_error() {
    for first in [
        raw(Kind::PING, Flags::NONE, 0, &[0; 8]),
        raw(Kind::SETTINGS, Flags::ACK, 0, &[]),
        raw(Kind(0xfe), Flags::NONE, 0, &[]),
    ] {
        let (told, error) = at_every_cut(true, &[PREFACE.as_slice(), &first].concat());
        let error = error.expect("no SETTINGS");
        assert_eq!(told, [""; 0]);
        assert_eq!(error.reason(), Reason::PROTOCOL_ERROR);
        assert!(error.what().contains("RFC 9113 §3.4"), "{error}");
    }
}

#[test]
fn settings_of_a_server_that_acknowledge_nothing_are_an_error() {
    let (_, error) = at_every_cut(false, &raw(Kind::SETTINGS, Flags::ACK, 0, &[]));
    assert_eq!(error.unwrap().reason(), Reason::PROTOCOL_ERROR);
}

#[test]
fn half_of_anything_is_not_between_frames() {
    let mut transcript = transcript(true);
    let headers = raw(Kind::HEADERS, Flags::NONE, 1, b"x");
    for (bytes, between) in [
        (&PREFACE[..5], false),
        (&PREFACE[5..], true),
        (&empty_settings()[..], true),
        (&headers[..3], false),
        (&headers[3..9], false),
        // The block is still open.
        (&headers[9..], false),
        (&raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b"")[..], true),
    ] {
        transcript.feed(bytes);
        assert_eq!(transcript.is_between_frames(), between, "after {bytes:?}");
    }
}
