//! Peers that cause work: each gets ENHANCE_YOUR_CALM, but only after more frames than an honest
//! peer could send.

use std::time::Duration;

use h2conn_engine::Config;

use crate::support::*;

/// Feeds pieces and removes the output until the connection ends. Returns how many pieces it took,
/// and the text of the GOAWAY.
fn flood(end: &mut End, most: u32, mut piece: impl FnMut(u32) -> Vec<u8>) -> (u32, String) {
    for number in 0..most {
        if let Err(error) = end.feed(&piece(number)) {
            assert_eq!(error.reason(), CALM, "{error}");
            return (number, error.what().to_owned());
        }
        end.take();
        end.heard();
    }
    panic!("{most} of them end nothing");
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn every_type_of_frame_that_takes_no_window_and_no_place_has_its_end() {
    // The payloads of the frames, where they matter.
    let payload = |kind: u8| -> Vec<u8> {
        match kind {
            DATA | SETTINGS => vec![],
            PRIORITY => vec![0, 0, 0, 9, 1],
            RST_STREAM => CANCEL.code().to_be_bytes().to_vec(),
            PING | GOAWAY => vec![0; 8],
            WINDOW_UPDATE => vec![0, 0, 0, 1],
            PRIORITY_UPDATE => b"\0\0\0\x01u=3".to_vec(),
            _ => b"anything".to_vec(),
        }
    };
    for kind in 0..=255_u8 {
        if matches!(kind, HEADERS | CONTINUATION | PUSH_PROMISE) {
            continue;
        }
        let mut end = End::server();
        end.ok(&open(1, false));
        if kind == RST_STREAM {
            end.ok(&rst(1, CANCEL));
        }
        let to = match kind {
            SETTINGS | PING | GOAWAY | PRIORITY_UPDATE => 0,
            _ => 1,
        };
        let bytes = frame(kind, 0, to, &payload(kind));
        let (count, _) = flood(&mut end, 30_000, |_| bytes.clone());
        assert!((90..=20_000).contains(&count), "type {kind:#x}: {count}");
    }
}

#[test]
fn long_priority_updates_have_their_end_sooner_than_short_ones() {
    let update = |value: &[u8]| frame(PRIORITY_UPDATE, 0, 0, &[&[0, 0, 0, 1], value].concat());
    // With parameters that are not known, up to 64 bytes, and as long as a frame may be.
    let values = [&b"u=3"[..], &[&b"u=3"[..], &b";a".repeat(28)].concat(), &b";a".repeat(8_190)];
    let counts = values.map(|value| {
        let (count, what) = flood(&mut End::server(), 20_000, |_| update(value));
        assert!(what.contains("PRIORITY_UPDATE"), "{what}");
        count
    });
    assert_eq!(counts, [10_000, 10_000, 10_000 / 257]);
}

#[test]
fn acknowledgements_that_nobody_asked_for_have_their_end() {
    for bytes in [frame(PING, ACK, 0, &[0; 8]), frame(SETTINGS, ACK, 0, &[])] {
        let (count, what) = flood(&mut End::server(), 2_000, |_| bytes.clone());
        assert_eq!(count, 1_000, "{what}");
    }
    let mut end = End::server();
    for _ in 0..100_000 {
        end.connection.ping([1; 8]);
        end.take();
        end.ok(&frame(PING, ACK, 0, &[1; 8]));
    }
}

#[test]
fn rapid_reset_has_its_end() {
    let reset = |number| [open(stream(number), false), rst(stream(number), CANCEL)].concat();
    let (count, what) = flood(&mut End::server(), 30_000, reset);
    assert!(what.contains("RST_STREAM") && count == 20_000, "{count}: {what}");
}

#[test]
fn resets_of_streams_that_were_answered_are_honest() {
    let mut client = End::client();
    let mut server = End::server();
    for number in 0..50_000 {
        let id = client.request(false).get();
        let answer = frame(HEADERS, END_HEADERS | END_STREAM, id, OK);
        client.ok(&[answer, rst(id, NO_ERROR)].concat());
        client.heard();

        server.ok(&open(stream(number), false));
        match number % 2 {
            0 => server.answer(stream(number), true),
            _ => {
                server.answer(stream(number), false);
                server.send(stream(number), 0, true);
            }
        }
        server.ok(&rst(stream(number), NO_ERROR));
        server.heard();
    }
}

#[test]
fn rapid_reset_that_is_no_faster_than_honest_clients_goes_on() {
    let mut end = End::server();
    for number in 0..100_000 {
        end.ok(&[open(stream(number), false), rst(stream(number), CANCEL)].concat());
        end.take();
        end.heard();
        end.pass(Duration::from_micros(500));
    }
}

#[test]
fn made_you_reset_has_its_end_in_every_way() {
    type Provoke = fn(u32) -> Vec<u8>;
    let ways: [(&str, Provoke); 8] = [
        ("a window that overflows", |s| [open(s, false), window_update(s, 0x7fff_ffff)].concat()),
        ("an update of 0", |s| [open(s, false), window_update(s, 0)].concat()),
        ("a malformed head", |s| frame(HEADERS, END_HEADERS | END_STREAM, s, b"\x82")),
        ("DATA after the end", |s| [open(s, true), data(s, false, b"x")].concat()),
        ("a second head", |s| [open(s, false), open(s, false)].concat()),
        ("a PRIORITY of 4 bytes", |s| [open(s, false), frame(PRIORITY, 0, s, &[0; 4])].concat()),
        ("DATA after a reset", |s| [open(s, false), rst(s, CANCEL), data(s, false, b"x")].concat()),
        ("a head that is too large", |s| {
            let fields = b"\x00\x01x\x01y".repeat(101);
            frame(HEADERS, END_HEADERS, s, &[GET, &fields[..]].concat())
        }),
    ];
    for (way, provoke) in ways {
        let (count, what) = flood(&mut End::server(), 30_000, |number| provoke(stream(number)));
        assert!((10_000..=20_000).contains(&count), "{way}: {count}: {what}");
    }
    let mut end = End::server_with(&Config { max_concurrent_streams: 10, ..Config::default() });
    let (count, what) = flood(&mut end, 30_000, |number| open(stream(number), false));
    assert_eq!(count, 20_010, "{what}");
}

#[test]
fn continuations_have_their_end() {
    let mut end = End::server();
    end.ok(&frame(HEADERS, 0, 1, &POST[..1]));
    let (count, _) = flood(&mut end, 100, |_| frame(CONTINUATION, 0, 1, &[]));
    assert_eq!(count, 8);
    let mut end = End::server();
    let (count, what) = flood(&mut end, 2_000, |number| {
        let first = frame(HEADERS, END_STREAM, stream(number), &GET[..1]);
        let reset = rst(stream(number), CANCEL);
        [first, frame(CONTINUATION, END_HEADERS, stream(number), &GET[1..]), reset].concat()
    });
    assert!(what.contains("CONTINUATION") && count == 1_000, "{count}: {what}");
}

#[test]
fn continuations_of_large_heads_are_honest() {
    let config = Config { max_header_list_size: 64 << 10, ..Config::default() };
    let mut end = End::server_with(&config);
    // A field of 40,000 bytes, which its client may put into no table.
    let block = [GET, b"\x00\x01x\x7f\xc1\xb7\x02", &[b'~'; 40_000]].concat();
    for stream in (0..3_000).map(stream) {
        let bytes = [
            frame(HEADERS, END_STREAM, stream, &block[..16_384]),
            frame(CONTINUATION, 0, stream, &block[16_384..32_768]),
            frame(CONTINUATION, END_HEADERS, stream, &block[32_768..]),
        ];
        end.ok(&bytes.concat());
        end.answer(stream, true);
        end.ear = Ear::default();
    }
}

#[test]
fn a_block_that_never_ends_is_bounded_in_bytes() {
    let mut end = End::server();
    let part = vec![0x82; 60_000];
    end.ok(&frame(HEADERS, 0, 1, &part));
    assert!(end.connection.held() <= 70_000);
    assert_eq!(end.fails(&frame(CONTINUATION, 0, 1, &part)), CALM);
}

#[test]
fn a_head_that_has_come_is_not_kept() {
    let block = [GET, b"\x00\x01x\x7f\x81\x63", &[b'a'; 12_800]].concat();
    let frames = [
        frame(HEADERS, END_STREAM, 1, &block[..5_000]),
        frame(CONTINUATION, END_HEADERS, 1, &block[5_000..]),
    ];
    for bytes in [frames.concat(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)] {
        let mut end = End::server();
        end.ok(&bytes[..bytes.len() - 1]);
        assert!(end.connection.held() >= 7_000);
        end.ok(&bytes[bytes.len() - 1..]);
        assert_eq!(end.heard().len(), 1);
        assert_eq!(end.connection.held(), 0, "the connection can idle for long now");
    }
}

#[test]
fn a_bomb_of_compression_is_decoded_and_not_kept() {
    let mut end = End::server();
    // One field of 3,900 bytes enters the table. After that one byte names it each time.
    let value = vec![b'a'; 3_900];
    let mut bomb = [GET, b"\x40\x01x\x7f\xbd\x1d", &value].concat();
    bomb.extend([0xbe; 10_000]);
    for number in 0..100 {
        end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &bomb));
        assert_eq!(end.heard(), [Heard::Broken(stream(number), PROTOCOL_ERROR)]);
        assert_eq!(end.sent()[0].flags, END_HEADERS | END_STREAM);
    }
}

#[test]
fn interim_responses_have_their_end_and_due_ones_none() {
    let mut end = End::client();
    end.request(true);
    let interim = frame(HEADERS, END_HEADERS, 1, b"\x08\x03103");
    let (count, what) = flood(&mut end, 2_000, |_| interim.clone());
    assert!(what.contains("HEADERS") && count == 1_004, "{count}: {what}");
    let mut end = End::client();
    for _ in 0..30_000 {
        let stream = end.request(true).get();
        end.ok(&frame(HEADERS, END_HEADERS, stream, b"\x08\x03100"));
        end.ok(&frame(HEADERS, END_HEADERS, stream, b"\x08\x03103"));
        end.ok(&frame(HEADERS, END_HEADERS, stream, OK));
        end.ok(&frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILERS));
        end.heard();
    }
}

#[test]
fn credit_for_every_byte_is_honest() {
    let mut end = End::client();
    end.request(false);
    for _ in 0..100_000 {
        assert_eq!(end.send(1, 1, false), Some(1));
        end.ok(&[window_update(0, 1), window_update(1, 1)].concat());
    }
    let (count, what) = flood(&mut end, 30_000, |_| window_update(1, 1));
    assert!(what.contains("WINDOW_UPDATE") && count <= 20_000, "{count}: {what}");
}

#[test]
fn credit_for_every_byte_that_comes_late_is_honest() {
    let mut end = End::client();
    end.request(false);
    for _ in 0..65_535 {
        assert_eq!(end.send(1, 1, false), Some(1));
    }
    for _ in 0..65_535 {
        end.ok(&[window_update(0, 1), window_update(1, 1)].concat());
    }
}

#[test]
fn thousands_of_streams_that_are_closed_at_once_with_a_ping_each_are_honest() {
    let config = Config { max_concurrent_streams: 10_000, ..Config::default() };
    let mut end = End::server_with(&config);
    let streams = || (0..10_000).map(stream);
    end.ok(&streams().flat_map(|stream| open(stream, false)).collect::<Vec<u8>>());
    let close = |stream| [data(stream, true, b""), frame(PING, 0, 0, &[0; 8])].concat();
    for bytes in streams().flat_map(close).collect::<Vec<u8>>().chunks(64 << 10) {
        end.ok(bytes);
        assert!(end.sent().len() > 1_000);
    }
}

#[test]
fn a_ping_for_every_frame_and_credit_for_every_stream_are_honest() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.answer(1, false);
    for _ in 0..50_000 {
        assert_eq!(end.send(1, 1, false), Some(1));
        end.ok(&[window_update(0, 1), window_update(1, 1), frame(PING, 0, 0, &[0; 8])].concat());
        end.take();
    }
    for number in 1..50_000 {
        end.ok(&[open(stream(number), true), window_update(stream(number), 1 << 20)].concat());
        end.answer(stream(number), true);
        end.heard();
    }
}

#[test]
fn tiny_frames_are_bounded_by_the_window_and_by_nothing_else() {
    let mut end = End::server();
    end.ok(&open(1, false));
    for _ in 0..500_000 {
        end.ok(&data(1, false, b"x"));
        end.connection.release_stream(id(1), 1);
        end.connection.release_connection(1);
        end.take();
    }
    let config = Config { stream_window: 1_000, ..Config::default() };
    let mut end = End::server_with(&config);
    end.ok(&open(1, false));
    for _ in 0..1_000 {
        end.ok(&data(1, false, b"x"));
    }
    end.ok(&data(1, false, b"x"));
    assert_eq!(end.heard().last(), Some(&Heard::Broken(1, FLOW_CONTROL_ERROR)));
}

#[test]
fn frames_of_padding_alone_have_their_end() {
    let mut end = End::server();
    end.ok(&open(1, false));
    let padding = frame(DATA, PADDED, 1, &[&[255][..], &[0; 255]].concat());
    let (count, what) = flood(&mut end, 2_000, |_| padding.clone());
    assert_eq!(count, 1_000, "{what}");
}

#[test]
fn content_for_streams_that_are_over_has_its_end() {
    let mut end = End::server();
    end.ok(&open(1, false));
    end.connection.reset(id(1), CANCEL);
    let bytes = data(1, false, &[0; 60_000]);
    let (count, what) = flood(&mut end, 2_000, |_| bytes.clone());
    // The bytes on their way when the stream was reset, and 64 MiB.
    assert!((1_100..1_200).contains(&count), "{count}: {what}");
}

#[test]
fn empty_ends_of_streams_that_are_long_over_have_their_end() {
    let mut end = End::server_with(&Config { stream_window: 0, ..Config::default() });
    end.ok(&frame(SETTINGS, ACK, 0, &[]));
    for stream in (0..5_000).map(stream) {
        end.ok(&open(stream, false));
        end.connection.reset(id(stream), CANCEL);
        end.take();
    }
    let bytes = data(1, true, b"").repeat(10_000);
    let (count, what) = flood(&mut end, 1_000, |_| bytes.clone());
    assert!((700..800).contains(&count), "{count}: {what}");
}

#[test]
fn a_peer_that_never_reads_its_answers_is_cut_off() {
    let mut end = End::server();
    let mut count = 0;
    while end.feed(&frame(PING, 0, 0, &[0; 8])).is_ok() {
        count += 1;
        assert!(count < 20_000);
    }
    assert_eq!(count, 10_000);
    assert!(end.take().len() < 200_000);
    // Resets are shorter than the frames that provoke them, and are limited in bytes.
    let mut end = End::server_with(&Config { max_concurrent_streams: 0, ..Config::default() });
    let mut number = 0;
    while end.feed(&open(stream(number), true)).is_ok() {
        number += 1;
    }
    assert!((10_000..=20_165).contains(&number), "{number}");
    assert!(end.take().len() < 300_000);
}

#[test]
fn settings_with_thousands_of_values_cost_as_many() {
    let values = setting(3, 1).repeat(2_000);
    let (count, what) = flood(&mut End::server(), 1_000, |_| frame(SETTINGS, 0, 0, &values));
    assert!(what.contains("SETTINGS") && count < 20, "{count}: {what}");
}

#[test]
fn goaways_and_announcements_have_their_end() {
    let mut end = End::client();
    let (count, what) = flood(&mut end, 200, |_| go_away(0, NO_ERROR));
    assert!(what.contains("GOAWAY") && count == 100, "{what}");
    for kind in [0xa, 0xc] {
        let (count, what) = flood(&mut End::client(), 2_000, |_| frame(kind, 0, 0, b"x"));
        assert!(what.contains("ALTSVC") && count == 1_000, "{what}");
    }
}
