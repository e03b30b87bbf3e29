//! Requests and responses in all their forms (RFC 9113 §8).

use h2conn_engine::{Config, OpenError, Protocol, SendError};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use crate::support::*;

#[test]
fn a_request_has_content_and_trailers() {
    let mut end = End::server();
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS);
    end.ok(&[open(1, false), data(1, false, b"con"), data(1, false, b"tent"), trailers].concat());
    let expected = [
        Heard::Request(1, "POST http://a/".into(), false),
        Heard::Data(1, b"content".into()),
        Heard::Trailers(1, 1),
        Heard::End(1),
    ];
    assert_eq!(end.heard(), expected);
    assert_eq!(end.connection.open_streams(), 1);
    end.answer(1, true);
    assert_eq!(end.connection.open_streams(), 0);
}

#[test]
fn a_response_has_interim_ones_before_it_and_trailers_behind() {
    let (mut client, mut server) = (End::client(), End::server());
    client.ok(b"");
    let request = Request::get("http://a/").body(()).unwrap();
    let stream = client.connection.open(&request, true).unwrap();
    server.ok(&client.take());
    let early = Response::builder().status(103).header("link", "<x>").body(()).unwrap();
    server.connection.inform(stream, &early).unwrap();
    server.connection.respond(stream, &Response::new(()), false).unwrap();
    client.ok(&server.take());
    let head = server.connection.send_data(stream, 2, false).unwrap();
    client.ok(&[&head.header[..], b"ok"].concat());
    let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("7"))]);
    server.connection.trailers(stream, &trailers).unwrap();
    client.ok(&server.take());
    let expected = [
        Heard::Informational(1, 103),
        Heard::Response(1, 200, false),
        Heard::Data(1, b"ok".into()),
        Heard::Trailers(1, 1),
        Heard::End(1),
    ];
    assert_eq!(client.heard(), expected);
    assert_eq!((client.connection.open_streams(), server.connection.open_streams()), (0, 0));
    assert!(client.connection.is_idle());
}

#[test]
fn heads_are_sent_in_their_order_or_not_at_all() {
    let mut end = End::server();
    let (ok, none) = (Response::new(()), HeaderMap::new());
    assert_eq!(end.connection.respond(id(1), &ok, true), Err(SendError::Over));
    end.ok(&open(1, false));
    assert_eq!(end.connection.trailers(id(1), &none), Err(SendError::Order));
    assert_eq!(end.connection.inform(id(1), &ok), Err(SendError::Order));
    for status in [100, 101] {
        let interim = Response::builder().status(status).body(()).unwrap();
        assert_eq!(end.connection.respond(id(1), &interim, true), Err(SendError::Order));
    }
    assert_eq!(end.send(1, 1, false), None, "no content before the head");
    end.answer(1, false);
    assert_eq!(end.connection.respond(id(1), &ok, false), Err(SendError::Order));
    assert_eq!(end.send(1, 1, true), Some(1));
    assert_eq!(end.send(1, 1, true), None);
    assert_eq!(end.connection.trailers(id(1), &none), Err(SendError::Order));
    assert!(end.sent().is_empty(), "an error sends nothing");
}

#[test]
fn content_must_be_as_long_as_its_head_says() {
    // `content-length: 3` behind the head.
    let head = |stream, end: u8| {
        frame(HEADERS, END_HEADERS | end, stream, &[POST, b"\x0f\x0d\x013"].concat())
    };
    let broken = [
        vec![head(1, END_STREAM)],
        vec![head(1, 0), data(1, true, b"ab")],
        vec![head(1, 0), data(1, false, b"ab"), data(1, true, b"")],
        vec![head(1, 0), data(1, false, b"abcd")],
        vec![head(1, 0), frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS)],
    ];
    for bytes in broken {
        let mut end = End::server();
        end.ok(&bytes.concat());
        assert_eq!(end.heard().last(), Some(&Heard::Broken(1, PROTOCOL_ERROR)), "{bytes:?}");
        assert_eq!(end.sent().last().map(|sent| sent.kind), Some(RST_STREAM));
    }
    let mut end = End::server();
    end.ok(&[head(1, 0), data(1, false, b"abc"), data(1, true, b"")].concat());
    assert_eq!(end.heard().last(), Some(&Heard::End(1)));
}

#[test]
fn the_answer_to_a_head_request_may_name_a_length_and_has_no_content() {
    let mut end = End::client();
    let request = Request::head("http://a/").body(()).unwrap();
    for stream in [1, 3] {
        end.connection.open(&request, true).unwrap();
        let last = if stream == 1 { END_STREAM } else { 0 };
        let block = [OK, b"\x0f\x0d\x013"].concat();
        end.ok(&frame(HEADERS, END_HEADERS | last, stream, &block));
    }
    end.ok(&data(3, true, b"abc"));
    let expected = [
        Heard::Response(1, 200, true),
        Heard::Response(3, 200, false),
        Heard::Broken(3, PROTOCOL_ERROR),
    ];
    assert_eq!(end.heard(), expected);
}

#[test]
fn padding_is_no_content_and_comes_back_at_once() {
    let mut end = End::server();
    end.ok(&open(1, false));
    let padded = frame(DATA, PADDED | END_STREAM, 1, &[&[200][..], b"content", &[0; 200]].concat());
    end.ok(&padded);
    assert_eq!(end.heard()[1..], [Heard::Data(1, b"content".into()), Heard::End(1)]);
    assert_eq!(end.connection.unreleased(), 7);
    let mut end = End::server();
    end.ok(&open(1, false));
    assert_eq!(end.fails(&frame(DATA, PADDED, 1, &[7; 7])), PROTOCOL_ERROR);
}

#[test]
fn crumbs_of_a_cookie_are_joined() {
    let mut end = End::server();
    // `cookie` has index 32.
    let block = [GET, b"\x0f\x11\x03a=1", b"\x0f\x11\x03b=2"].concat();
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
    assert_eq!(end.ear.requests[0].headers()["cookie"], "a=1; b=2");
    let block = [GET, b"\x0f\x11\x03a=1", b"\x0f\x11\x00", b"\x0f\x11\x03b=2", b"\x0f\x11\x00"];
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &block.concat()));
    assert_eq!(end.ear.requests[1].headers()["cookie"], "a=1; b=2", "no blank at its end");
}

#[test]
fn malformed_heads_end_their_stream_and_leave_the_tables_in_step() {
    let mut end = End::server();
    // `X: 1` with a capital letter, which enters the table. Later a request names the newest entry.
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &[GET, b"\x40\x01X\x011"].concat()));
    assert_eq!(end.heard(), [Heard::Broken(1, PROTOCOL_ERROR)]);
    // The newest entry is `x: 1` now.
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[GET, b"\x40\x01x\x011"].concat()));
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 5, &[GET, b"\xbe"].concat()));
    assert_eq!(end.ear.requests[1].headers()["x"], "1");
    assert_eq!(end.sent()[0].number(0), PROTOCOL_ERROR.code());
}

#[test]
fn a_request_that_is_too_large_is_answered_431_and_the_connection_lives() {
    let config = Config { max_header_list_size: 1_000, max_fields: 10, ..Config::default() };
    let large = [GET, b"\x00\x01x\x7f\xe8\x07", &[b'a'; 1_127][..]].concat();
    let many = [GET, &b"\x00\x01x\x01y".repeat(8)[..]].concat();
    for block in [large, many] {
        let mut end = End::server_with(&config);
        end.ok(&frame(HEADERS, END_HEADERS, 1, &block));
        assert_eq!(end.heard(), [Heard::Broken(1, PROTOCOL_ERROR)]);
        let sent = end.sent();
        assert_eq!((sent[0].kind, sent[0].flags), (HEADERS, END_HEADERS | END_STREAM));
        assert_eq!((sent[1].kind, sent[1].number(0)), (RST_STREAM, NO_ERROR.code()));
        // Its content is dropped, and its window is given back.
        end.ok(&data(1, true, b"content"));
        assert_eq!(end.connection.unreleased(), 0);
        end.ok(&open(3, true));
        assert_eq!(end.heard(), [Heard::Request(3, "GET http://a/".into(), true)]);

        let mut end = End::server_with(&config);
        end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block));
        assert_eq!(end.sent().len(), 1, "a request that has ended needs no reset");
    }
    let block = [OK, &b"\x00\x01x\x01y".repeat(10)[..]].concat();
    let mut end = End::client_with(&config);
    end.request(true);
    end.ok(&frame(HEADERS, END_HEADERS, 1, &block));
    assert_eq!(end.heard(), [Heard::Broken(1, PROTOCOL_ERROR)]);
}

#[test]
fn an_extended_connect_is_taken_where_it_is_offered() {
    let request = Request::connect("http://a/chat")
        .extension(Protocol::from_static("websocket"))
        .body(())
        .unwrap();
    let mut end = End::client();
    assert_eq!(end.connection.open(&request, false), Err(OpenError::NotOffered));
    end.ok(&frame(SETTINGS, 0, 0, &setting(8, 1)));
    end.take();
    end.connection.open(&request, false).unwrap();
    let bytes = end.take();

    let mut server = End::server_with(&Config { extended_connect: true, ..Config::default() });
    server.ok(&bytes);
    assert_eq!(server.heard(), [Heard::Request(1, "CONNECT http://a/chat".into(), false)]);
    let protocol = server.ear.requests[0].extensions().get::<Protocol>();
    assert_eq!(protocol.map(Protocol::as_str), Some("websocket"));

    let mut server = End::server();
    server.ok(&bytes);
    assert_eq!(server.heard(), [Heard::Broken(1, PROTOCOL_ERROR)]);
    assert_eq!(end.fails(&frame(SETTINGS, 0, 0, &setting(8, 0))), PROTOCOL_ERROR);
}

#[test]
fn a_connect_stream_has_data_and_no_trailers() {
    let request = Request::connect("a:1").body(()).unwrap();
    let mut end = End::client();
    for stream in [1, 3] {
        end.connection.open(&request, false).unwrap();
        let status: &[u8] = if stream == 1 { OK } else { b"\x8d" };
        end.ok(&frame(HEADERS, END_HEADERS, stream, status));
        end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS));
    }
    let expected = [
        Heard::Response(1, 200, false),
        Heard::Broken(1, PROTOCOL_ERROR),
        // The refusal is a normal response.
        Heard::Response(3, 404, false),
        Heard::Trailers(3, 1),
        Heard::End(3),
    ];
    assert_eq!(end.heard(), expected);
    let trailers = HeaderMap::new();
    assert_eq!(end.connection.trailers(id(3), &trailers), Ok(()), "no tunnel, so trailers may go");
    let mut server = End::server();
    server.ok(&frame(HEADERS, END_HEADERS, 1, b"\x02\x07CONNECT\x01\x03a:1"));
    server.answer(1, false);
    assert_eq!(server.connection.trailers(id(1), &trailers), Err(SendError::Order));
    server.ok(&frame(HEADERS, END_HEADERS, 3, b"\x02\x07CONNECT\x01\x03a:1"));
    let refusal = Response::builder().status(404).body(()).unwrap();
    server.connection.respond(id(3), &refusal, false).unwrap();
    assert_eq!(server.connection.trailers(id(3), &trailers), Ok(()));
}

#[test]
fn an_answer_before_the_end_of_the_request_leaves_the_rest_to_be_read() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection
        .respond(
            id(1),
            Response::builder().status(StatusCode::CONFLICT).body(()).as_ref().unwrap(),
            true,
        )
        .unwrap();
    end.ok(&data(1, true, b"late"));
    assert_eq!(end.heard()[1..], [Heard::Data(1, b"late".into()), Heard::End(1)]);
    assert_eq!(end.connection.open_streams(), 0);
}

#[test]
fn heads_that_the_peer_would_refuse_are_told_before() {
    let mut end = End::client();
    end.ok(&frame(SETTINGS, 0, 0, &setting(6, 1_000)));
    let large = Request::get("http://a/").header("x", "y".repeat(1_000)).body(()).unwrap();
    assert!(matches!(end.connection.open(&large, true), Err(OpenError::Unsendable(_))));
    let promise = Request::post("http://a/").header("content-length", 5).body(()).unwrap();
    assert!(matches!(end.connection.open(&promise, true), Err(OpenError::Unsendable(_))));
    assert!(end.connection.open(&promise, false).is_ok());
    let mut end = End::server();
    end.ok(&[open(1, true), frame(HEADERS, 5, 3, b"\x02\x04HEAD\x86\x84\x01\x01a")].concat());
    let promise = Response::builder().header("content-length", 5).body(()).unwrap();
    assert!(matches!(end.connection.respond(id(1), &promise, true), Err(SendError::Unsendable(_))));
    assert_eq!(
        end.connection.respond(id(3), &promise, true),
        Ok(()),
        "a HEAD request has no content"
    );
    assert_eq!(end.connection.open_streams(), 1);
    end.ok(&open(5, true));
    let known = Response::builder().status(304).header("content-length", 5).body(()).unwrap();
    assert_eq!(end.connection.respond(id(5), &known, true), Ok(()), "nor has a 304");
}
