//! Every type of frame in every state of a stream (RFC 9113 §5.1), with the error code that the RFC
//! requires.

use h2conn_engine::Reason;

use crate::support::*;

/// The answer to a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    /// RST_STREAM, and the visitor gets an event if it knows the stream.
    Stream(Reason),
    /// GOAWAY.
    Connection(Reason),
}

use Fate::{Connection, Fine, Stream};

/// The frames, all on stream 1.
fn all() -> [(&'static str, Vec<u8>); 12] {
    [
        ("DATA", data(1, false, b"x")),
        ("DATA with END_STREAM", data(1, true, b"x")),
        ("HEADERS", frame(HEADERS, END_HEADERS, 1, POST)),
        ("trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS)),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0])),
        ("RST_STREAM", rst(1, CANCEL)),
        ("SETTINGS", frame(SETTINGS, 0, 1, &[])),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], GET].concat())),
        ("PING", frame(PING, 0, 1, &[0; 8])),
        ("WINDOW_UPDATE", window_update(1, 1)),
        ("CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, GET)),
        ("unknown", frame(0xfa, 0xff, 1, b"x")),
    ]
}

fn fate(end: &mut End, bytes: &[u8]) -> Fate {
    if end.feed(bytes).is_err() {
        let sent = end.sent();
        let last = sent.last().expect("a GOAWAY");
        assert_eq!(last.kind, GOAWAY);
        return Connection(Reason::from_code(last.number(4)));
    }
    match end.sent().iter().find(|sent| sent.kind == RST_STREAM) {
        Some(reset) => Stream(Reason::from_code(reset.number(0))),
        None => Fine,
    }
}

#[track_caller]
fn check(state: &str, make: impl Fn() -> End, expected: [Fate; 12]) {
    for ((name, bytes), expected) in all().into_iter().zip(expected) {
        let mut end = make();
        end.take();
        assert_eq!(fate(&mut end, &bytes), expected, "{name} in state {state}");
    }
}

const PROTOCOL: Fate = Connection(PROTOCOL_ERROR);
const CLOSED: Fate = Connection(STREAM_CLOSED);

#[test]
fn idle_at_a_server() {
    check(
        "idle",
        End::server,
        // Trailers are a malformed request here.
        [
            PROTOCOL,
            PROTOCOL,
            Fine,
            Stream(PROTOCOL_ERROR),
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn idle_at_a_client() {
    check(
        "idle",
        End::client,
        [
            PROTOCOL, PROTOCOL, PROTOCOL, PROTOCOL, Fine, PROTOCOL, PROTOCOL, PROTOCOL, PROTOCOL,
            PROTOCOL, PROTOCOL, Fine,
        ],
    );
}

#[test]
fn open_at_a_server() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(1, false));
        end
    };
    check(
        "open",
        make,
        // A second head must be trailers (RFC 9113 §8.1).
        [
            Fine,
            Fine,
            Stream(PROTOCOL_ERROR),
            Fine,
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn open_at_a_client_before_the_response() {
    let make = || {
        let mut end = End::client();
        end.request(false);
        end
    };
    check(
        "open, unanswered",
        make,
        // The field blocks are not responses.
        [
            Stream(PROTOCOL_ERROR),
            Stream(PROTOCOL_ERROR),
            Stream(PROTOCOL_ERROR),
            Stream(PROTOCOL_ERROR),
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn open_at_a_client_after_the_response() {
    let make = || {
        let mut end = End::client();
        end.request(false);
        end.ok(&frame(HEADERS, END_HEADERS, 1, OK));
        end
    };
    check(
        "open, answered",
        make,
        [
            Fine,
            Fine,
            Stream(PROTOCOL_ERROR),
            Fine,
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn half_closed_local() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(1, false));
        end.answer(1, true);
        end
    };
    check(
        "half-closed (local)",
        make,
        [
            Fine,
            Fine,
            Stream(PROTOCOL_ERROR),
            Fine,
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn half_closed_remote() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(1, true));
        end
    };
    check(
        "half-closed (remote)",
        make,
        [
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn closed_by_the_end_of_both_sides() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(1, true));
        end.answer(1, true);
        end
    };
    check(
        "closed by END_STREAM",
        make,
        [
            CLOSED, CLOSED, CLOSED, CLOSED, Fine, Fine, PROTOCOL, PROTOCOL, PROTOCOL, Fine,
            PROTOCOL, Fine,
        ],
    );
}

#[test]
fn closed_by_the_peers_reset() {
    let make = || {
        let mut end = End::server();
        end.ok(&[open(1, false), rst(1, CANCEL)].concat());
        end
    };
    check(
        "closed by the peer's RST_STREAM",
        make,
        [
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Stream(STREAM_CLOSED),
            Fine,
            Fine,
            PROTOCOL,
            PROTOCOL,
            PROTOCOL,
            Fine,
            PROTOCOL,
            Fine,
        ],
    );
}

#[test]
fn closed_by_a_reset_of_this_side() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(1, false));
        end.connection.reset(id(1), CANCEL);
        end
    };
    check(
        "closed by this side's RST_STREAM",
        make,
        // Frames that were on their way are dropped.
        [Fine, Fine, Fine, Fine, Fine, Fine, PROTOCOL, PROTOCOL, PROTOCOL, Fine, PROTOCOL, Fine],
    );
}

#[test]
fn closed_because_a_higher_one_was_opened() {
    let make = || {
        let mut end = End::server();
        end.ok(&open(3, false));
        end
    };
    check(
        "passed over",
        make,
        // HEADERS have a rule of their own (RFC 9113 §5.1.1).
        [
            CLOSED, CLOSED, PROTOCOL, PROTOCOL, Fine, Fine, PROTOCOL, PROTOCOL, PROTOCOL, Fine,
            PROTOCOL, Fine,
        ],
    );
}

#[test]
fn a_peer_that_has_ended_a_stream_that_was_reset_here_sends_nothing_more() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.reset(id(1), CANCEL);
    end.ok(&data(1, false, b"on its way"));
    end.ok(&data(1, true, b""));
    assert_eq!(end.fails(&data(1, false, b"x")), STREAM_CLOSED);
}

#[test]
fn streams_of_a_server_and_of_zero_are_nobodys() {
    let mut end = End::server();
    assert_eq!(end.fails(&open(2, false)), PROTOCOL_ERROR);
    for kind in [DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION] {
        let payload: &[u8] = match kind {
            PRIORITY => &[0; 5],
            RST_STREAM => &[0; 4],
            _ => GET,
        };
        let mut end = End::server();
        assert_eq!(end.fails(&frame(kind, END_HEADERS, 0, payload)), PROTOCOL_ERROR, "{kind}");
    }
    let mut end = End::client();
    assert_eq!(end.fails(&frame(HEADERS, END_HEADERS, 2, OK)), PROTOCOL_ERROR);
}

#[test]
fn nothing_comes_between_the_frames_of_a_block() {
    for (name, bytes) in all() {
        let mut end = End::server();
        end.ok(&frame(HEADERS, 0, 1, &POST[..2]));
        if name == "CONTINUATION" {
            end.ok(&frame(CONTINUATION, END_HEADERS, 1, &POST[2..]));
        } else {
            assert_eq!(end.fails(&bytes), PROTOCOL_ERROR, "{name}");
        }
    }
    let mut end = End::server();
    end.ok(&frame(HEADERS, 0, 1, &POST[..2]));
    assert_eq!(end.fails(&frame(CONTINUATION, END_HEADERS, 3, &POST[2..])), PROTOCOL_ERROR);
}

#[test]
fn frames_of_a_wrong_size_end_the_connection_or_their_stream() {
    let wrong = [
        frame(RST_STREAM, 0, 1, &[0; 3]),
        frame(SETTINGS, 0, 0, &[0; 5]),
        frame(SETTINGS, ACK, 0, &[0; 6]),
        frame(PING, 0, 0, &[0; 7]),
        frame(GOAWAY, 0, 0, &[0; 7]),
        frame(WINDOW_UPDATE, 0, 1, &[0; 5]),
        frame(DATA, 0, 1, &vec![0; (64 << 10) + 1]),
        frame(HEADERS, END_HEADERS, 3, &vec![0; (64 << 10) + 1]),
    ];
    for bytes in wrong {
        let mut end = End::server();
        end.ok(&open(1, false));
        assert_eq!(end.fails(&bytes), FRAME_SIZE_ERROR, "{:?}", &bytes[..9]);
    }
    let mut end = End::server();
    end.ok(&open(1, false)).ok(&frame(PRIORITY, 0, 1, &[0; 4]));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FRAME_SIZE_ERROR)));
    // The same applies if the stream is already over.
    let mut end = End::server();
    end.ok(&open(1, true));
    end.answer(1, true);
    end.ok(&[frame(PRIORITY, 0, 1, &[0; 4]), window_update(1, 0)].concat());
    let sent = end.sent();
    let codes: Vec<u32> = sent.iter().map(|sent| sent.number(0)).collect();
    assert_eq!(codes, [FRAME_SIZE_ERROR.code(), PROTOCOL_ERROR.code()]);
}
