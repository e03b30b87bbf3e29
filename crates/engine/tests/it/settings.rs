//! SETTINGS of both ends, at any time (RFC 9113 §6.5).

use std::time::Duration;

use h2conn_engine::{Config, Connection, Reason};

use crate::support::*;

#[test]
fn both_ends_begin_with_what_they_choose() {
    let config = Config { stream_window: 1_000, max_frame_size: 20_000, ..Config::default() };
    let mut client = End::new(Connection::client(&config));
    let bytes = client.take();
    let sent = frames(bytes.strip_prefix(PREFACE).expect("a preface"));
    assert_eq!((sent[0].kind, sent[0].stream), (SETTINGS, 0));
    let values = [setting(2, 0), setting(4, 1_000), setting(5, 20_000), setting(6, 16_384)];
    assert_eq!(sent[0].payload, [&values.concat()[..], &setting(9, 1)].concat());
    assert_eq!((sent[1].kind, sent[1].number(0)), (WINDOW_UPDATE, (16 << 20) - 65_535));

    let config = Config { extended_connect: true, ..config };
    let mut server = End::new(Connection::server(&config));
    let sent = server.sent();
    assert!(sent[0].payload.starts_with(&setting(3, 1_000)), "{sent:?}");
    assert!(sent[0].payload.chunks(6).any(|value| value == setting(8, 1)));
    server.ok(&bytes);
    assert_eq!(server.connection.peer_settings().initial_window_size, 1_000);
    assert!(server.connection.has_peer_settings());
    assert!(!server.connection.are_settings_acknowledged());
    client.ok(&frame(SETTINGS, ACK, 0, &[]).split_off(9));
}

#[test]
fn each_is_acknowledged_and_acknowledgements_are_heard() {
    let mut end = End::new(Connection::server(&Config::default()));
    end.take();
    end.ok(&[PREFACE, &frame(SETTINGS, 0, 0, &setting(0xfafa, 7))].concat());
    assert_eq!(end.sent(), [Raw { kind: SETTINGS, flags: ACK, stream: 0, payload: vec![] }]);
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(end.heard().last(), Some(&Heard::Acknowledged));
    assert!(end.connection.are_settings_acknowledged());
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert!(!end.heard().contains(&Heard::Acknowledged), "this one was not asked for");
}

#[test]
fn values_out_of_range_end_the_connection() {
    for (value, reason) in [
        (setting(2, 2), PROTOCOL_ERROR),
        (setting(4, 1 << 31), FLOW_CONTROL_ERROR),
        (setting(5, 16_383), PROTOCOL_ERROR),
        (setting(5, 1 << 24), PROTOCOL_ERROR),
        (setting(8, 2), PROTOCOL_ERROR),
    ] {
        let mut end = End::server();
        assert_eq!(end.fails(&frame(SETTINGS, 0, 0, &value)), reason, "{value:?}");
    }
    assert_eq!(End::client().fails(&frame(SETTINGS, 0, 0, &setting(2, 1))), PROTOCOL_ERROR);
}

#[test]
fn a_lower_window_makes_those_of_streams_negative() {
    let mut end = End::client();
    let stream = end.request(false);
    assert_eq!(end.send(1, 1_000, false), Some(1_000));
    end.ok(&frame(SETTINGS, 0, 0, &setting(4, 0)));
    assert_eq!(end.connection.send_capacity(stream), 0);
    end.ok(&window_update(1, 1_000));
    assert_eq!(end.send(1, 1, false), None, "it has only come to 0");
    end.ok(&window_update(1, 1));
    assert_eq!(end.send(1, 9, false), Some(1));
    end.ok(&frame(SETTINGS, 0, 0, &setting(4, 100)));
    assert_eq!(end.connection.send_capacity(stream), 100);
}

#[test]
fn a_window_that_overflows_by_settings_ends_the_connection() {
    let mut end = End::client();
    end.request(false);
    end.ok(&window_update(1, 0x7fff_ffff - 65_535));
    end.ok(&frame(SETTINGS, 0, 0, &[setting(4, 65_536), setting(4, 65_535)].concat()));
    assert_eq!(end.fails(&frame(SETTINGS, 0, 0, &setting(4, 65_536))), FLOW_CONTROL_ERROR);
}

#[test]
fn this_sides_window_rises_at_once_and_falls_when_it_is_acknowledged() {
    let config = Config { stream_window: 1_000, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&open(1, false));
    assert_eq!(end.connection.stream_credit(id(1)), 1_000);
    end.connection.set_initial_window(2_000);
    assert_eq!(end.sent()[0].payload, setting(4, 2_000));
    assert_eq!(end.connection.stream_credit(id(1)), 2_000);
    end.connection.set_initial_window(500);
    end.connection.set_initial_window(600);
    assert!(end.sent().is_empty(), "one at a time");
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(end.sent()[0].payload, setting(4, 600));
    end.ok(&[open(3, false), data(1, false, &[0; 2_000])].concat());
    assert_eq!(end.connection.stream_credit(id(3)), 2_000, "the client may not know yet");
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(end.connection.stream_credit(id(3)), 600);
    assert_eq!(end.connection.stream_credit(id(1)), -1_400);
    end.connection.release_stream(id(1), 2_000);
    assert_eq!(end.sent()[0].number(0), 2_000);
    assert_eq!(end.connection.stream_credit(id(1)), 600);
}

#[test]
fn a_stream_with_a_window_of_its_own_keeps_it_when_the_setting_falls() {
    for own_first in [true, false] {
        let mut end = End::server();
        end.ok(&open(1, false));
        if own_first {
            end.connection.set_stream_window(id(1), 256 << 10);
        }
        end.connection.set_initial_window(64 << 10);
        if !own_first {
            end.connection.set_stream_window(id(1), 256 << 10);
        }
        end.take();
        end.ok(&frame(SETTINGS, ACK, 0, &[]));
        // WINDOW_UPDATE gives back the bytes that SETTINGS have taken away.
        end.take();
        assert_eq!(end.connection.stream_credit(id(1)), 256 << 10);
        for _ in 0..100 {
            end.ok(&data(1, false, &[0; 60_000]));
            end.connection.release_stream(id(1), 60_000);
            end.connection.release_connection(60_000);
            end.take();
        }
        assert_eq!(end.connection.unreleased(), 0);
    }
}

#[test]
fn no_setting_lifts_a_window_above_what_the_peer_can_take() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.set_stream_window(id(1), 0x7fff_ffff - 10);
    end.take();
    end.connection.set_initial_window(2 << 20);
    assert_eq!(end.sent()[0].payload, setting(4, (1 << 20) + 10));
    assert_eq!(end.connection.stream_credit(id(1)), 0x7fff_ffff);
}

#[test]
fn a_window_below_the_initial_one_counts_once_it_is_acknowledged() {
    let config = Config { stream_window: 10, ..Config::default() };
    let mut end = End::new(Connection::server(&config));
    end.ok(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &open(1, false)].concat());
    end.ok(&data(1, false, &[0; 20]));
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(end.connection.stream_credit(id(1)), -10);
    end.ok(&data(1, false, &[0; 1]));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FLOW_CONTROL_ERROR)));
}

#[test]
fn settings_that_are_not_acknowledged_in_time_end_the_connection() {
    let mut end = End::new(Connection::client(&Config::default()));
    assert_eq!(end.connection.deadline(), None, "nothing is handed out yet");
    end.take();
    assert_eq!(end.connection.deadline(), Some(end.now + Duration::from_secs(10)));
    end.pass(Duration::from_millis(9_999));
    assert_eq!(end.connection.tick(end.now), Ok(()));
    end.pass(Duration::from_millis(1));
    let error = end.connection.tick(end.now).unwrap_err();
    assert_eq!(error.reason(), Reason::SETTINGS_TIMEOUT);
    assert_eq!(end.sent()[0].number(4), Reason::SETTINGS_TIMEOUT.code());
    assert_eq!(end.connection.deadline(), None);
    assert_eq!(End::client().connection.deadline(), None, "acknowledged");
}

#[test]
fn the_longest_frame_follows_the_settings() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.set_max_frame_size(1 << 20);
    end.ok(&data(1, false, &[0; 100_000]));
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    end.connection.set_max_frame_size(0);
    assert_eq!(end.sent().last().map(|sent| sent.payload.clone()), Some(setting(5, 16_384)));
    end.ok(&data(1, false, &[0; 100_000])).ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(end.fails(&data(1, false, &[0; 16_385])), FRAME_SIZE_ERROR);
}

#[test]
fn the_tables_of_compression_follow_the_settings() {
    // Our table falls to 0: once this is acknowledged, the next block must begin with an update.
    let mut end = End::server();
    end.connection.set_header_table_size(0);
    end.take();
    end.ok(&open(1, true));
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &[b"\x20", GET].concat()));
    assert_eq!(end.connection.open_streams(), 2);
    let mut late = End::server();
    late.connection.set_header_table_size(0);
    late.ok(&frame(SETTINGS, ACK, 0, &[]));
    assert_eq!(late.fails(&open(1, true)), Reason::COMPRESSION_ERROR);
    // The peer's table falls to 0 and rises again: the block announces both.
    let mut end = End::client();
    end.ok(&frame(SETTINGS, 0, 0, &[setting(1, 0), setting(1, 4_096)].concat()));
    end.take();
    let request = http::Request::get("http://a/").body(()).unwrap();
    end.connection.open(&request, true).unwrap();
    assert_eq!(end.sent()[0].payload[..4], [0x20, 0x3f, 0xe1, 0x1f]);
}

#[test]
fn an_acknowledgement_is_requested_once_until_it_has_come() {
    let mut end = End::client();
    for _ in 0..2 {
        end.connection.request_settings_acknowledgement();
        end.connection.request_settings_acknowledgement();
        let sent = end.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!((sent[0].kind, sent[0].flags), (SETTINGS, 0));
        assert_eq!(sent[0].payload, setting(4, Config::default().stream_window));
        assert!(!end.connection.are_settings_acknowledged());
        // A change waits, as it does behind SETTINGS with values.
        end.connection.set_max_frame_size(1 << 20);
        end.connection.set_max_frame_size(Config::default().max_frame_size);
        assert!(end.sent().is_empty());
        end.ok(&frame(SETTINGS, ACK, 0, &[]));
        assert!(end.connection.are_settings_acknowledged());
    }
    end.connection.set_max_frame_size(1 << 20);
    end.connection.request_settings_acknowledgement();
    assert_eq!(end.sent().len(), 1, "the changed value asks for one");
}
