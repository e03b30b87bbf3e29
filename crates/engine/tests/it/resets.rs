//! RST_STREAM in both directions, and the limit of streams (RFC 9113 §5.1.2, §5.4.2, §6.4).

use h2conn_engine::Config;

use crate::support::*;

#[test]
fn a_reset_of_the_peers_is_heard_once() {
    let mut end = End::server();
    end.ok(&[open(1, false), rst(1, CALM), rst(1, CANCEL)].concat());
    assert_eq!(end.heard()[1..], [Heard::Reset(1, CALM)]);
    assert_eq!(end.connection.open_streams(), 0);
    assert!(end.sent().is_empty(), "a reset is not answered");
}

#[test]
fn a_reset_after_the_end_is_heard_while_this_side_is_open() {
    let mut end = End::client();
    end.request(false);
    end.ok(&[frame(HEADERS, END_HEADERS | END_STREAM, 1, OK), rst(1, NO_ERROR)].concat());
    assert_eq!(end.heard(), [Heard::Response(1, 200, true), Heard::Reset(1, NO_ERROR)]);
}

#[test]
fn a_reset_after_both_ends_is_heard_once_and_apart() {
    let mut end = End::client();
    end.request(false);
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK));
    assert_eq!(end.send(1, 100, true), Some(100));
    assert_eq!(end.connection.open_streams(), 0);
    end.heard();
    // The server has not read the content, nor seen its end.
    end.ok(&[rst(1, CANCEL), rst(1, CANCEL), window_update(1, 1)].concat());
    assert_eq!(end.heard(), [Heard::LateReset(1, CANCEL)]);
    assert!(end.sent().is_empty());
    // This stream lives longer than thousands of others, of which the engine no longer knows
    // anything.
    end.request(false);
    for _ in 0..5_000 {
        let id = end.request(true).get();
        end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, id, OK));
    }
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, OK));
    end.send(3, 100, true);
    end.heard();
    end.ok(&rst(3, CANCEL));
    assert_eq!(end.heard(), [Heard::LateReset(3, CANCEL)]);
    let id = end.request(false);
    end.connection.reset(id, CANCEL);
    end.take();
    end.ok(&rst(id.get(), CANCEL));
    assert!(end.heard().is_empty(), "resets that cross say nothing");
}

#[test]
fn resets_that_cross_are_no_fault_of_anybody() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.reset(id(1), CANCEL);
    end.connection.reset(id(1), CANCEL);
    assert_eq!(end.sent().len(), 1);
    end.ok(&[window_update(1, 1), data(1, false, b"x"), rst(1, CANCEL)].concat());
    assert_eq!(end.heard().len(), 1, "the request alone");
    assert!(end.sent().is_empty());
}

#[test]
fn streams_past_the_limit_are_refused_and_their_frames_dropped() {
    let config = Config { max_concurrent_streams: 2, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&[open(1, false), open(3, false), open(5, false), data(5, true, b"x")].concat());
    let sent = end.sent();
    assert_eq!((sent.len(), sent[0].stream, sent[0].number(0)), (1, 5, REFUSED_STREAM.code()));
    assert_eq!((end.connection.open_streams(), end.connection.unreleased()), (2, 0));
    end.ok(&rst(1, CANCEL)).ok(&open(7, false));
    assert_eq!(end.connection.open_streams(), 2);
    end.connection.set_max_concurrent_streams(3);
    assert_eq!(end.sent()[0].payload, setting(3, 3));
    end.ok(&open(9, false));
    assert_eq!(end.connection.open_streams(), 3);
}

#[test]
fn compression_goes_on_past_heads_that_nobody_wants() {
    let config = Config { max_concurrent_streams: 1, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&open(1, false));
    // This stream is refused, but `x: 1` is in the table.
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[GET, b"\x40\x01x\x011"].concat()));
    end.connection.reset(id(1), CANCEL);
    // Trailers for a stream that is over put `z: 2` into the table.
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x40\x01z\x012"));
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 5, &[GET, b"\xbf\xbe"].concat()));
    let headers = end.ear.requests[1].headers();
    assert_eq!((&headers["x"], &headers["z"]), (&"1".parse().unwrap(), &"2".parse().unwrap()));
}

#[test]
fn what_is_on_its_way_to_ten_thousand_aborted_streams_ends_nothing() {
    // As many streams as a client may have. Messages are on their way on each when it is reset
    // here.
    let config = Config { max_concurrent_streams: 10_000, ..Config::default() };
    let mut end = End::server_with(&config);
    for round in 0..3 {
        let streams = || (0..10_000_u32).map(|number| 20_000 * round + 2 * number + 1);
        for stream in streams() {
            end.ok(&open(stream, false));
        }
        for stream in streams() {
            end.connection.reset(id(stream), CANCEL);
        }
        end.take();
        for stream in streams() {
            for _ in 0..8 {
                end.ok(&data(stream, false, b"a message"));
            }
            end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS));
        }
        assert!(end.sent().iter().all(|sent| sent.kind == WINDOW_UPDATE));
    }
    assert_eq!(end.connection.unreleased(), 0);
    assert!(!end.heard().iter().any(|heard| matches!(heard, Heard::Broken(..))));
}
