//! Turns, frames, and the moments at which output is produced.

use h2conn_engine::{Config, OpenError, Output, Priority, Reason};
use http::Request;

use crate::support::*;

fn turns(end: &mut End) -> Vec<u32> {
    std::iter::from_fn(|| end.connection.next_to_send().map(|id| id.get())).collect()
}

#[test]
fn content_is_cut_to_what_the_peer_takes_in_a_frame() {
    let mut end = End::server();
    end.ok(&open(1, true));
    end.answer(1, false);
    let head = end.connection.send_data(id(1), 20_000, true).unwrap();
    assert_eq!((head.len, head.end), (16_384, false), "the end goes with the last byte");
    assert_eq!(head.header, [0, 0x40, 0, 0, 0, 0, 0, 0, 1]);
    end.ok(&frame(SETTINGS, 0, 0, &setting(5, 1 << 20)));
    assert_eq!(end.send(1, 40_000, false), Some(40_000));
}

#[test]
fn a_frame_that_is_not_yet_written_takes_in_more() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.answer(1, false);
    let mut head = end.connection.send_data(id(1), 10, false).unwrap();
    assert_eq!(end.connection.extend_data(id(1), &mut head, 5, false), 5);
    assert_eq!((head.len, head.header[2]), (15, 15));
    assert_eq!(end.connection.extend_data(id(1), &mut head, 100_000, false), 16_384 - 15);
    assert_eq!(end.connection.extend_data(id(1), &mut head, 1, false), 0, "it is full");
    assert_eq!(end.connection.connection_capacity(), 65_535 - 16_384);
    let mut last = end.connection.send_data(id(1), 1, false).unwrap();
    assert_eq!(end.connection.extend_data(id(1), &mut last, 2, true), 2);
    assert_eq!((last.end, last.header[4]), (true, END_STREAM));
    assert_eq!(end.connection.extend_data(id(1), &mut last, 2, false), 0, "it has ended");
}

#[test]
fn a_frame_that_was_never_written_can_be_taken_back() {
    let mut end = End::server();
    end.ok(&[open(1, true), open(3, false), open(5, true)].concat());
    for stream in [1, 3, 5] {
        end.answer(stream, false);
    }
    for (stream, last) in [(1, true), (3, true), (5, false)] {
        let head = end.connection.send_data(id(stream), 100, last).unwrap();
        end.connection.withdraw(id(stream), head, CANCEL);
        let sent = end.sent();
        assert_eq!((sent.len(), sent[0].kind, sent[0].stream), (1, RST_STREAM, stream));
    }
    assert_eq!(end.connection.connection_capacity(), 65_535);
    assert_eq!(end.connection.open_streams(), 0);
}

#[test]
fn a_last_frame_can_be_taken_back_when_its_stream_is_long_forgotten() {
    let mut end = End::server();
    end.ok(&open(1, true));
    end.answer(1, false);
    let head = end.connection.send_data(id(1), 100, true).unwrap();
    for number in 1..5_000 {
        end.ok(&open(2 * number + 1, true));
        end.answer(2 * number + 1, true);
    }
    end.connection.withdraw(id(1), head, CANCEL);
    assert_eq!(end.sent().last().map(|sent| (sent.kind, sent.stream)), Some((RST_STREAM, 1)));
}

#[test]
fn streams_have_turns_by_urgency_and_come_back_when_their_window_opens() {
    let mut end = End::client();
    end.ok(&frame(SETTINGS, 0, 0, &setting(4, 100)));
    let urgent = Request::post("http://a/").header("priority", "u=1").body(()).unwrap();
    let (first, second) = (end.request(false), end.request(false));
    let third = end.connection.open(&urgent, false).unwrap();
    for stream in [first, second, third] {
        end.connection.want_send(stream);
    }
    assert_eq!(turns(&mut end), [5, 1, 3]);
    assert_eq!(end.send(1, 1_000, false), Some(100));
    assert_eq!(end.send(1, 900, false), None);
    end.connection.want_send(second);
    assert_eq!(turns(&mut end), [3]);
    end.ok(&window_update(1, 50));
    assert_eq!(turns(&mut end), [1], "it is remembered");
    assert_eq!(end.connection.send_capacity(first), 50);
    // A larger setting gives credit too.
    assert_eq!(end.send(1, 900, false), Some(50));
    end.connection.want_send(first);
    assert_eq!(turns(&mut end), [0; 0]);
    end.ok(&frame(SETTINGS, 0, 0, &setting(4, 101)));
    assert_eq!(turns(&mut end), [1]);
}

#[test]
fn the_connections_window_holds_up_content_and_no_ends() {
    let mut end = End::client();
    end.ok(&frame(SETTINGS, 0, 0, &setting(4, 1 << 20)));
    let (first, second) = (end.request(false), end.request(false));
    let mut sent = 0;
    while let Some(len) = end.send(1, 100_000, false) {
        sent += len;
    }
    assert_eq!(sent, 65_535);
    end.connection.want_send_end(second);
    assert_eq!(turns(&mut end), [3]);
    assert_eq!(end.send(3, 0, true), Some(0));
    end.ok(&window_update(0, 10));
    assert_eq!(turns(&mut end), [1]);
    assert_eq!(end.send(1, 100, false), Some(10));
    end.connection.reset(first, CANCEL);
    assert!(!end.connection.has_turns());
}

#[test]
fn a_priority_update_counts_before_and_after_its_stream_is_opened() {
    let update = |stream: u32, value: &[u8]| {
        frame(PRIORITY_UPDATE, 0, 0, &[&stream.to_be_bytes(), value].concat())
    };
    let mut end = End::server();
    end.ok(&[update(5, b"u=0"), open(1, true), open(3, true), open(5, true)].concat());
    let want = |end: &mut End| {
        for stream in [1, 3, 5] {
            end.connection.want_send(id(stream));
        }
    };
    want(&mut end);
    assert_eq!(turns(&mut end), [5, 1, 3]);
    end.ok(&update(3, b"u=2"));
    end.connection.set_urgency(id(5), 7);
    want(&mut end);
    assert_eq!(turns(&mut end), [3, 1, 5]);
}

#[test]
fn a_priority_update_for_a_push_stream_ends_the_connection() {
    let mut end = End::server();
    assert_eq!(end.fails(&frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x02u=1")), PROTOCOL_ERROR);
}

#[test]
fn a_client_tells_how_soon_it_wants_a_stream() {
    let mut end = End::client();
    let stream = end.request(true);
    end.connection.prioritize(stream, Priority::new(1));
    let sent = end.sent();
    assert_eq!((sent[0].kind, sent[0].stream), (PRIORITY_UPDATE, 0));
    assert_eq!(sent[0].payload, b"\0\0\0\x01u=1");
}

#[test]
fn streams_are_opened_up_to_the_peers_limit_and_the_last_identifier() {
    let request = Request::get("http://a/").body(()).unwrap();
    let mut end = End::client();
    end.ok(&frame(SETTINGS, 0, 0, &setting(3, 2)));
    end.request(true);
    end.request(true);
    assert_eq!(end.connection.open(&request, true), Err(OpenError::Limit { max: 2 }));
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK));
    end.request(true);
    assert_eq!(end.connection.remaining_ids(), (1 << 30) - 3);
    assert_eq!(End::server().connection.open(&request, true), Err(OpenError::Server));
}

#[test]
fn a_head_that_no_peer_would_take_is_not_sent() {
    let request = Request::get("http://a/").header("connection", "close").body(()).unwrap();
    let mut end = End::client();
    assert!(matches!(end.connection.open(&request, true), Err(OpenError::Unsendable(_))));
    assert!(end.sent().is_empty());
    assert_eq!(end.request(true).get(), 1, "its number is not used up");
}

#[test]
fn a_large_head_goes_in_several_frames() {
    let mut end = End::client();
    let value = "~".repeat(60_000);
    let request = Request::get("http://a/").header("x", &value).body(()).unwrap();
    end.connection.open(&request, true).unwrap();
    let bytes = end.take();
    let sent = frames(&bytes);
    let kinds: Vec<u8> = sent.iter().map(|frame| frame.kind).collect();
    assert_eq!(kinds, [HEADERS, CONTINUATION, CONTINUATION, CONTINUATION]);
    assert!(sent.iter().all(|frame| frame.payload.len() <= 16_384));
    assert_eq!((sent[0].flags, sent[3].flags), (END_STREAM, END_HEADERS));
    let mut server =
        End::server_with(&Config { max_header_list_size: 100_000, ..Config::default() });
    server.ok(&bytes);
    assert_eq!(server.ear.requests[0].headers()["x"], value);
}

#[test]
fn credit_waits_until_a_quarter_of_the_window_and_is_urgent_at_half() {
    let config = Config { stream_window: 100, connection_window: 65_535, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&[open(1, false), data(1, false, &[0; 100])].concat());
    end.connection.release_connection(100);
    end.connection.release_stream(id(1), 24);
    assert_eq!(end.connection.output(), Output::Nothing);
    end.connection.release_stream(id(1), 1);
    assert_eq!(end.connection.output(), Output::CanWait);
    end.connection.release_stream(id(1), 25);
    assert_eq!(end.connection.output(), Output::Now);
    let sent = end.sent();
    assert_eq!(
        sent,
        [Raw { kind: WINDOW_UPDATE, flags: 0, stream: 1, payload: vec![0, 0, 0, 50] }]
    );
    assert_eq!(end.connection.output(), Output::Nothing);
}

#[test]
fn pings_go_out_and_come_back() {
    let mut end = End::client();
    end.connection.ping(*b"12345678");
    assert_eq!(end.sent()[0].payload, b"12345678");
    end.ok(&frame(PING, ACK, 0, b"12345678"));
    assert_eq!(end.heard(), [Heard::Pong(*b"12345678")]);
    end.ok(&frame(PING, 0, 0, b"87654321"));
    assert_eq!(
        end.sent(),
        [Raw { kind: PING, flags: ACK, stream: 0, payload: b"87654321".into() }]
    );
}

#[test]
fn nothing_can_be_done_with_a_connection_that_has_failed() {
    let mut end = End::client();
    let stream = end.request(false);
    end.fails(&frame(PING, 0, 0, b"short"));
    assert_eq!(end.connection.error().map(|error| error.reason()), Some(FRAME_SIZE_ERROR));
    let request = Request::get("http://a/").body(()).unwrap();
    assert_eq!(end.connection.open(&request, true), Err(OpenError::GoingAway));
    end.connection.want_send(stream);
    end.connection.reset(stream, CANCEL);
    end.connection.ping([0; 8]);
    end.connection.go_away(None, Reason::NO_ERROR, b"");
    end.connection.set_initial_window(7);
    assert_eq!(end.connection.next_to_send(), None);
    assert_eq!(end.send(1, 1, true), None);
    assert!(end.sent().is_empty());
    assert!(end.connection.tick(end.now).is_err());
}

#[test]
fn nothing_follows_the_last_go_away_not_even_credit() {
    let mut end = End::server();
    end.ok(&[open(1, false), data(1, false, &[0; 60_000]).repeat(17)].concat());
    end.connection.release_stream(id(1), 17 * 60_000);
    assert_ne!(end.connection.output(), Output::Nothing);
    let mut bytes = frame(PING, 0, 0, b"short");
    bytes.truncate(9);
    assert_eq!(end.feed(&bytes).map_err(|error| error.reason()), Err(FRAME_SIZE_ERROR));
    end.connection.release_connection(17 * 60_000);
    let sent = end.sent();
    assert_eq!((sent.len(), sent[0].kind), (1, GOAWAY));
    assert_eq!(end.connection.output(), Output::Nothing);
}

#[test]
fn what_waits_can_be_weighed() {
    let mut end = End::server();
    assert_eq!(end.connection.waiting(), 0);
    end.ok(&open(1, true));
    end.connection.respond(id(1), &http::Response::new(()), true).unwrap();
    assert_eq!(end.connection.waiting(), 10);
    assert_eq!(end.take().len(), 10);
    assert_eq!(end.connection.waiting(), 0);
}
