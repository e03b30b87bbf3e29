//! HEADERS and CONTINUATION (RFC 9113 §4.3, §6.2, §6.10).

use super::*;

#[test]
fn one_frame_is_a_block() {
    let flags = Flags::END_HEADERS.with(Flags::END_STREAM);
    let bytes = raw(Kind::HEADERS, flags, 1, b"block");
    assert_eq!(payloads(&bytes), said(&[whole_headers(1, b"block", true)]));
}

/// h2spec 6.10/1.
#[test]
fn continuations_are_joined() {
    let bytes = [
        raw(Kind::HEADERS, Flags::END_STREAM, 1, b"a"),
        raw(Kind::CONTINUATION, Flags::NONE, 1, b"bc"),
        raw(Kind::CONTINUATION, Flags::NONE, 1, b""),
        raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b"def"),
        raw(Kind::HEADERS, Flags::NONE, 3, b""),
        raw(Kind::CONTINUATION, Flags::END_HEADERS, 3, b"x"),
    ]
    .concat();
    assert_eq!(
        payloads(&bytes),
        said(&[whole_headers(1, b"abcdef", true), whole_headers(3, b"x", false)])
    );
}

#[test]
fn padding_and_priority_are_no_part_of_it() {
    let flags = Flags::END_HEADERS.with(Flags::PADDED).with(Flags::PRIORITY);
    let bytes = raw(Kind::HEADERS, flags, 3, b"\x02\x80\0\0\x01\xffblock..");
    assert_eq!(payloads(&bytes), said(&[whole_headers(3, b"block", false)]));
    // The flags of HEADERS have no meaning on CONTINUATION.
    let bytes = [
        raw(Kind::HEADERS, Flags::PADDED, 3, b"\x02a.."),
        raw(Kind::CONTINUATION, flags, 3, b"\x02bc"),
    ]
    .concat();
    assert_eq!(payloads(&bytes), said(&[whole_headers(3, b"a\x02bc", false)]));
}

/// h2spec 6.2/3.
#[test]
fn headers_on_stream_0_are_an_error() {
    let bytes = raw(Kind::HEADERS, Flags::END_HEADERS, 0, b"x");
    assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.2");
}

/// h2spec 6.2/4.
#[test]
fn padding_longer_than_the_payload_is_an_error() {
    for (flags, payload) in [
        (Flags::PADDED.with(Flags::END_HEADERS), &b"\x06block"[..]),
        (Flags::PADDED, b"\x06block"),
        // The priority does not fit beside the padding.
        (Flags::PADDED, b"\x01"),
    ] {
        let bytes = raw(Kind::HEADERS, flags, 1, payload);
        assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.2");
    }
}

#[test]
fn a_payload_too_short_for_its_flags_is_an_error() {
    for (flags, payload) in [
        (Flags::PADDED, &b""[..]),
        (Flags::PRIORITY, b"1234"),
        (Flags::PADDED.with(Flags::PRIORITY), b"\x041234...."),
    ] {
        for flags in [flags, flags.with(Flags::END_HEADERS)] {
            let bytes = raw(Kind::HEADERS, flags, 1, payload);
            assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.2");
        }
    }
}

/// h2spec 5.3.1/1.
#[test]
fn a_stream_that_depends_on_itself_is_broken_and_its_block_is_there() {
    let priority = Flags::PRIORITY;
    let whole = raw(Kind::HEADERS, priority.with(Flags::END_HEADERS), 3, b"\0\0\0\x03\0block");
    let cut = [
        raw(Kind::HEADERS, priority, 3, b"\x80\0\0\x03\0blo"),
        raw(Kind::CONTINUATION, Flags::END_HEADERS, 3, b"ck"),
    ]
    .concat();
    for bytes in [whole, cut] {
        let told = payloads(&bytes);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains(&format!("block: {:?}", b"block")), "{told:?}");
        assert!(told[0].contains("reason: PROTOCOL_ERROR"), "{told:?}");
    }
}

/// h2spec 4.3/2, 4.3/3, 5.5/2, 6.2/1, 6.2/2, 6.10/2.
#[test]
fn any_other_frame_inside_is_an_error() {
    let open = raw(Kind::HEADERS, Flags::NONE, 1, b"a");
    for kind in 0..=255 {
        if Kind(kind) == Kind::CONTINUATION {
            continue;
        }
        for stream in [0, 1, 3] {
            let inside = raw(Kind(kind), Flags::NONE, stream, b"");
            assert_error(&[&open[..], &inside].concat(), Reason::PROTOCOL_ERROR, "RFC 9113 §6.10");
        }
    }
}

/// h2spec 6.10/3 to 6.10/6.
#[test]
fn a_continuation_of_nothing_is_an_error() {
    let continuation = |stream| raw(Kind::CONTINUATION, Flags::END_HEADERS, stream, b"x");
    for bytes in [
        continuation(1),
        [raw(Kind::HEADERS, Flags::NONE, 1, b"a"), continuation(0)].concat(),
        [raw(Kind::HEADERS, Flags::NONE, 1, b"a"), continuation(3)].concat(),
        [raw(Kind::HEADERS, Flags::END_HEADERS, 1, b"a"), continuation(1)].concat(),
        [raw(Kind::HEADERS, Flags::NONE, 1, b"a"), continuation(1), continuation(1)].concat(),
        [raw(Kind::DATA, Flags::NONE, 1, b"a"), continuation(1)].concat(),
    ] {
        assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.10");
    }
}

#[test]
fn a_ninth_continuation_is_an_error() {
    let mut bytes = raw(Kind::HEADERS, Flags::NONE, 1, b"a");
    for _ in 0..8 {
        bytes.extend(raw(Kind::CONTINUATION, Flags::NONE, 1, b""));
    }
    assert_eq!(payloads(&bytes), [""; 0]);
    bytes.extend(raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b""));
    assert_error(&bytes, Reason::ENHANCE_YOUR_CALM, "RFC 9113 §10.5.1");
}

#[test]
fn a_block_beyond_its_limit_is_an_error() {
    let fragment = vec![0; MAX_FRAME_SIZE as usize];
    let mut bytes = raw(Kind::HEADERS, Flags::NONE, 1, &fragment);
    for _ in 0..3 {
        bytes.extend(raw(Kind::CONTINUATION, Flags::NONE, 1, &fragment));
    }
    bytes.extend(raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b"x"));
    assert_error(&bytes, Reason::ENHANCE_YOUR_CALM, "RFC 9113 §10.5.1");
    bytes.truncate(bytes.len() - 10);
    bytes.extend(raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b""));
    assert_eq!(payloads(&bytes).len(), 1);
}

#[test]
fn one_frame_beyond_the_limit_is_an_error() {
    let mut transcript = Transcript::new(false, 1 << 20, 1 << 16);
    transcript.feed(&empty_settings());
    let head = Head { len: (1 << 16) + 1, kind: Kind::HEADERS, flags: Flags::NONE, stream: 1 };
    transcript.feed(&head.bytes());
    let (_, error) = transcript.end();
    assert_eq!(error.unwrap().reason(), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn a_large_limit_allows_as_many_full_continuations_as_it_needs() {
    let mut transcript = Transcript::new(false, MAX_FRAME_SIZE, 1 << 20);
    transcript.feed(&empty_settings());
    let fragment = vec![0; MAX_FRAME_SIZE as usize];
    transcript.feed(&raw(Kind::HEADERS, Flags::NONE, 1, &fragment));
    for _ in 0..62 {
        transcript.feed(&raw(Kind::CONTINUATION, Flags::NONE, 1, &fragment));
    }
    transcript.feed(&raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, &fragment));
    let (told, error) = transcript.end();
    assert_eq!(error, None);
    assert!(told.last().is_some_and(|told| told.starts_with("Headers")));
}

#[test]
fn large_buffers_are_given_back() {
    let mut transcript = transcript(false);
    transcript.feed(&empty_settings());
    let fragment = vec![0; 10_000];
    let bytes = [
        raw(Kind::HEADERS, Flags::NONE, 1, &fragment),
        raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, &fragment),
    ]
    .concat();
    bytes.chunks(999).for_each(|piece| transcript.feed(piece));
    assert!(transcript.most_held() >= 20_000);
    assert_eq!(transcript.held(), 0);
}

#[test]
fn a_long_block_is_written_in_several_frames() {
    for (len, count) in [(0, 1), (16_384, 1), (16_385, 2), (40_000, 3), (49_152, 3)] {
        let block: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
        let mut bytes = vec![];
        headers::write(id(1), true, MAX_FRAME_SIZE, &mut bytes, |into| {
            into.extend_from_slice(&block);
        });
        let told = frames(&bytes);
        assert_eq!(told.len(), count + 1);
        assert_eq!(told[count], said(&[whole_headers(1, &block, true)])[0]);
    }
}
