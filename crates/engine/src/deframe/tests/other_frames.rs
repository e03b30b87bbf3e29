//! All other types (RFC 9113 §6.3 to §6.9, RFC 9218 §7.1).

use super::*;

#[test]
fn priority_is_read_and_says_nothing() {
    let bytes = raw(Kind::PRIORITY, Flags::NONE, 3, &[0, 0, 0, 1, 16]);
    assert_eq!(payloads(&bytes), said(&[Frame::Priority { stream: id(3) }]));
}

/// h2spec 6.3/1.
#[test]
fn priority_on_stream_0_is_an_error() {
    let bytes = raw(Kind::PRIORITY, Flags::NONE, 0, &[0, 0, 0, 1, 16]);
    assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.3");
}

/// h2spec 6.3/2, 5.3.1/2.
#[test]
fn a_bad_priority_breaks_its_stream_only() {
    for (payload, reason) in [
        (&[0, 0, 0, 1][..], Reason::FRAME_SIZE_ERROR),
        (&[0; 6], Reason::FRAME_SIZE_ERROR),
        (&[], Reason::FRAME_SIZE_ERROR),
        (&[0, 0, 0, 3, 0], Reason::PROTOCOL_ERROR),
        (&[0x80, 0, 0, 3, 0], Reason::PROTOCOL_ERROR),
    ] {
        let told = payloads(&raw(Kind::PRIORITY, Flags::NONE, 3, payload));
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("Broken { stream: 3,"), "{told:?}");
        assert!(told[0].contains(&format!("reason: {reason}")), "{told:?}");
    }
}

#[test]
fn a_reset_has_a_reason() {
    let mut bytes = vec![];
    rst_stream::write(id(5), Reason::from_code(0xdead_beef), &mut bytes);
    let reset = Frame::Reset { stream: id(5), reason: Reason::from_code(0xdead_beef) };
    assert_eq!(payloads(&bytes), said(&[reset]));
}

/// h2spec 6.4/1 and 6.4/3.
#[test]
fn a_bad_reset_is_an_error() {
    let on_0 = raw(Kind::RST_STREAM, Flags::NONE, 0, &[0; 4]);
    assert_error(&on_0, Reason::PROTOCOL_ERROR, "RFC 9113 §6.4");
    for payload in [&[][..], &[0; 3], &[0; 5]] {
        let bytes = raw(Kind::RST_STREAM, Flags::NONE, 1, payload);
        assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.4");
    }
}

/// h2spec 6.5/1 to 6.5/3.
#[test]
fn bad_settings_are_an_error() {
    let ack = raw(Kind::SETTINGS, Flags::ACK, 0, &[0]);
    assert_error(&ack, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.5");
    let on_a_stream = raw(Kind::SETTINGS, Flags::NONE, 1, &[]);
    assert_error(&on_a_stream, Reason::PROTOCOL_ERROR, "RFC 9113 §6.5");
    for len in [1, 5, 7] {
        let bytes = raw(Kind::SETTINGS, Flags::NONE, 0, &vec![0; len]);
        assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.5");
    }
}

#[test]
fn too_many_entries_of_settings_are_an_error() {
    let entries = |count| raw(Kind::SETTINGS, Flags::NONE, 0, &[0xff; 6].repeat(count));
    assert_eq!(payloads(&entries(32)).len(), 1);
    assert_error(&entries(33), Reason::ENHANCE_YOUR_CALM, "RFC 9113 §10.5");
}

/// h2spec 6.5.2/1 to 6.5.2/4; RFC 8441 §3, RFC 9218 §2.1.
#[test]
fn bad_values_of_settings_are_an_error() {
    for (id, value, reason, section) in [
        (0x2_u16, 2_u32, Reason::PROTOCOL_ERROR, "RFC 9113 §6.5.2"),
        (0x4, 0x8000_0000, Reason::FLOW_CONTROL_ERROR, "RFC 9113 §6.5.2"),
        (0x5, 16_383, Reason::PROTOCOL_ERROR, "RFC 9113 §6.5.2"),
        (0x5, 16_777_216, Reason::PROTOCOL_ERROR, "RFC 9113 §6.5.2"),
        (0x8, 2, Reason::PROTOCOL_ERROR, "RFC 8441 §3"),
        (0x9, 2, Reason::PROTOCOL_ERROR, "RFC 9218 §2.1"),
    ] {
        // Behind a good one.
        let payload = [&[0, 1, 0, 0, 0, 0][..], &id.to_be_bytes(), &value.to_be_bytes()];
        let bytes = raw(Kind::SETTINGS, Flags::NONE, 0, &payload.concat());
        assert_error(&bytes, reason, section);
    }
}

#[test]
fn a_server_cannot_ask_for_pushes() {
    let settings = |value| raw(Kind::SETTINGS, Flags::NONE, 0, &[0, 2, 0, 0, 0, value]);
    let (_, error) = at_every_cut(false, &settings(1));
    assert_eq!(error.unwrap().reason(), Reason::PROTOCOL_ERROR);
    assert_eq!(at_every_cut(false, &settings(0)).1, None);
    assert_eq!(payloads(&settings(1)).len(), 1);
}

#[test]
fn settings_are_acknowledged() {
    let mut bytes = vec![];
    settings::write_ack(&mut bytes);
    assert_eq!(payloads(&bytes), said(&[Frame::SettingsAck]));
}

/// h2spec 8.2/1.
#[test]
fn a_push_is_refused_on_both_sides() {
    let push = raw(Kind::PUSH_PROMISE, Flags::END_HEADERS, 1, &[0, 0, 0, 2]);
    assert_error(&push, Reason::PROTOCOL_ERROR, "RFC 9113 §8.4");
    let (_, error) = at_every_cut(false, &[empty_settings(), push].concat());
    let error = error.expect("refused");
    assert_eq!(error.reason(), Reason::PROTOCOL_ERROR);
    assert!(error.what().contains("RFC 9113 §6.6"), "{error}");
}

#[test]
fn a_ping_is_eight_bytes() {
    for (ack, frame) in [(false, Frame::Ping(*b"heretics")), (true, Frame::Pong(*b"heretics"))] {
        let mut bytes = vec![];
        ping::write(*b"heretics", ack, &mut bytes);
        assert_eq!(payloads(&bytes), said(&[frame]));
    }
}

/// h2spec 6.7/3 and 6.7/4.
#[test]
fn a_bad_ping_is_an_error() {
    let on_a_stream = raw(Kind::PING, Flags::NONE, 1, &[0; 8]);
    assert_error(&on_a_stream, Reason::PROTOCOL_ERROR, "RFC 9113 §6.7");
    for len in [0, 6, 7, 9] {
        let bytes = raw(Kind::PING, Flags::ACK, 0, &vec![0; len]);
        assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.7");
    }
}

#[test]
fn a_goodbye_has_a_last_stream_a_reason_and_some_text() {
    let mut bytes = vec![];
    go_away::write(0x7fff_ffff, Reason::NO_ERROR, b"restart", &mut bytes);
    bytes[9] |= 0x80;
    let (last, reason, debug) = (0x7fff_ffff, Reason::NO_ERROR, &b"restart"[..]);
    let frame = Frame::GoAway(GoAway { last, reason, debug });
    assert_eq!(payloads(&bytes), said(&[frame]));
}

/// h2spec 6.8/1.
#[test]
fn a_bad_goodbye_is_an_error() {
    let on_a_stream = raw(Kind::GOAWAY, Flags::NONE, 1, &[0; 8]);
    assert_error(&on_a_stream, Reason::PROTOCOL_ERROR, "RFC 9113 §6.8");
    let short = raw(Kind::GOAWAY, Flags::NONE, 0, &[0; 7]);
    assert_error(&short, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.8");
}

#[test]
fn a_window_grows_by_31_bits() {
    for stream in [None, Some(id(9))] {
        for increment in [1, 0x7fff_ffff] {
            let mut bytes = vec![];
            window_update::write(stream, increment, &mut bytes);
            bytes[9] |= 0x80;
            let frame = Frame::WindowUpdate { stream, increment };
            assert_eq!(payloads(&bytes), said(&[frame]));
        }
    }
}

/// h2spec 6.9/1 to 6.9/3.
#[test]
fn a_window_cannot_grow_by_nothing() {
    let connection = raw(Kind::WINDOW_UPDATE, Flags::NONE, 0, &[0x80, 0, 0, 0]);
    assert_error(&connection, Reason::PROTOCOL_ERROR, "RFC 9113 §6.9");
    let stream = raw(Kind::WINDOW_UPDATE, Flags::NONE, 1, &[0; 4]);
    let told = payloads(&stream);
    assert!(told[0].starts_with("Broken { stream: 1,"), "{told:?}");
    assert!(told[0].contains("reason: PROTOCOL_ERROR"), "{told:?}");
    for len in [0, 3, 5] {
        let bytes = raw(Kind::WINDOW_UPDATE, Flags::NONE, 1, &vec![1; len]);
        assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.9");
    }
}

#[test]
fn a_priority_can_be_updated() {
    let priority = Priority::new(1).incremental(true);
    let mut bytes = vec![];
    priority_update::write(id(7), priority, &mut bytes);
    let update = |priority| said(&[Frame::PriorityUpdate { stream: id(7), priority }]);
    assert_eq!(payloads(&bytes), update(priority));
    // The reserved bit.
    bytes[9] |= 0x80;
    assert_eq!(payloads(&bytes), update(priority));
    let nonsense = raw(Kind::PRIORITY_UPDATE, Flags::NONE, 0, b"\0\0\0\x07u=");
    assert_eq!(payloads(&nonsense), update(Priority::default()));
}

#[test]
fn a_bad_update_of_a_priority_is_an_error() {
    let section = "RFC 9218 §7.1";
    let on_a_stream = raw(Kind::PRIORITY_UPDATE, Flags::NONE, 1, b"\0\0\0\x07u=1");
    assert_error(&on_a_stream, Reason::PROTOCOL_ERROR, section);
    let of_0 = raw(Kind::PRIORITY_UPDATE, Flags::NONE, 0, b"\x80\0\0\0u=1");
    assert_error(&of_0, Reason::PROTOCOL_ERROR, section);
    let short = raw(Kind::PRIORITY_UPDATE, Flags::NONE, 0, b"\0\0\0");
    assert_error(&short, Reason::FRAME_SIZE_ERROR, section);
    let of_a_server = raw(Kind::PRIORITY_UPDATE, Flags::NONE, 0, b"\0\0\0\x01u=1");
    let (_, error) = at_every_cut(false, &[empty_settings(), of_a_server].concat());
    assert_eq!(error.unwrap().reason(), Reason::PROTOCOL_ERROR);
}
