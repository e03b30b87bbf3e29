//! The enforcement of flow control (RFC 9113 §5.2, §6.9).

use h2conn_engine::Config;

use crate::support::*;

#[test]
fn a_stream_that_gets_more_than_its_window_is_reset() {
    let config = Config { stream_window: 100, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&[open(1, false), data(1, false, &[0; 100])].concat());
    end.ok(&data(1, false, b""));
    end.ok(&data(1, false, b"x"));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FLOW_CONTROL_ERROR)));
    assert_eq!(end.sent()[0].number(0), FLOW_CONTROL_ERROR.code());
    assert_eq!(end.connection.unreleased(), 100, "what the visitor has not got came back");
}

#[test]
fn a_connection_that_gets_more_than_its_window_ends() {
    let config = Config { connection_window: 65_535, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&[open(1, false), open(3, false), data(1, false, &[0; 40_000])].concat());
    end.ok(&data(3, false, &[0; 25_535]));
    assert_eq!(end.fails(&data(3, false, b"x")), FLOW_CONTROL_ERROR);
}

#[test]
fn padding_counts() {
    let config = Config { stream_window: 100, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&open(1, false));
    end.ok(&frame(DATA, PADDED, 1, &[&[50][..], &[0; 50]].concat()));
    assert_eq!(end.connection.stream_credit(id(1)), 49);
    assert_eq!(
        end.sent(),
        [Raw { kind: WINDOW_UPDATE, flags: 0, stream: 1, payload: vec![0, 0, 0, 51] }]
    );
    end.ok(&frame(DATA, PADDED, 1, &[&[100][..], &[0; 100]].concat()));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FLOW_CONTROL_ERROR)));
}

#[test]
fn a_window_of_a_stream_that_overflows_ends_the_stream() {
    let mut end = End::server();
    end.ok(&[open(1, false), window_update(1, 0x7fff_ffff - 65_535)].concat());
    end.ok(&window_update(1, 1));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FLOW_CONTROL_ERROR)));
    assert_eq!(end.sent()[0].number(0), FLOW_CONTROL_ERROR.code());
}

#[test]
fn a_window_of_the_connection_that_overflows_ends_it() {
    let mut end = End::server();
    end.ok(&window_update(0, 0x7fff_ffff - 65_535));
    assert_eq!(end.fails(&window_update(0, 1)), FLOW_CONTROL_ERROR);
}

#[test]
fn credit_of_nothing_is_an_error() {
    let mut end = End::server();
    end.ok(&[open(1, false), window_update(1, 0)].concat());
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, PROTOCOL_ERROR)));
    assert_eq!(end.fails(&window_update(0, 0)), PROTOCOL_ERROR);
}

#[test]
fn content_for_streams_that_were_reset_here_leaks_no_window() {
    let config = Config { connection_window: 100_000, ..Config::default() };
    let mut end = End::server_with(&config);
    for stream in (1..4_001).step_by(2) {
        end.ok(&open(stream, false));
        end.connection.reset(id(stream), CANCEL);
        end.ok(&data(stream, false, &[0; 1_000])).ok(&data(stream, true, &[0; 1_000]));
        end.take();
    }
    assert_eq!(end.connection.unreleased(), 0);
    assert!(end.connection.connection_credit() > 50_000);
}

#[test]
fn a_stream_that_is_reset_in_the_middle_of_a_frame_leaks_no_window() {
    let mut end = End::server();
    let bytes = data(1, false, &[7; 1_000]);
    end.ok(&open(1, false)).ok(&bytes[..509]);
    assert_eq!(end.connection.unreleased(), 1_000);
    end.connection.reset(id(1), CANCEL);
    end.ok(&bytes[509..]);
    assert_eq!(end.connection.unreleased(), 500);
    end.connection.release_connection(500);
    assert_eq!(end.connection.unreleased(), 0);
    assert_eq!(end.heard().last(), Some(&Heard::Data(1, vec![7; 500])));
}

#[test]
fn a_window_can_be_made_larger_and_smaller() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.set_stream_window(id(1), 3 << 20);
    end.connection.set_connection_window(20 << 20);
    let mut sent = end.sent();
    sent.sort_by_key(|sent| sent.stream);
    assert_eq!((sent[0].stream, sent[0].number(0)), (0, 4 << 20));
    assert_eq!((sent[1].stream, sent[1].number(0)), (1, 2 << 20));
    end.connection.set_stream_window(id(1), 1_000);
    assert_eq!(end.connection.stream_credit(id(1)), 3 << 20, "nothing can be taken back");
    end.ok(&data(1, false, &[0; 50_000]));
    end.connection.release_stream(id(1), 50_000);
    assert!(end.sent().is_empty());
}
