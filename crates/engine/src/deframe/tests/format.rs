//! Properties of all frames (RFC 9113 §4).

use super::*;

/// h2spec 4.1/1, 5.5/1.
#[test]
fn a_frame_of_an_unknown_type_is_told_of_and_skipped() {
    let unknown = raw(Kind(0x16), Flags(0xff), 77, &[9; 300]);
    let head = Head { len: 300, kind: Kind(0x16), flags: Flags(0xff), stream: 77 };
    let bytes = [unknown, raw(Kind::PING, Flags::NONE, 0, b"12345678")].concat();
    assert_eq!(
        frames(&bytes),
        said(&[
            Frame::Head(head),
            Frame::Head(Head { len: 8, kind: Kind::PING, flags: Flags::NONE, stream: 0 }),
            Frame::Ping(*b"12345678"),
        ])
    );
}

/// h2spec 4.1/2 and 4.1/3.
#[test]
fn unknown_flags_and_the_reserved_bit_are_ignored() {
    let mut bytes = raw(Kind::PING, Flags(0x16), 0, b"12345678");
    bytes[5] |= 0x80;
    assert_eq!(payloads(&bytes), said(&[Frame::Ping(*b"12345678")]));
}

/// h2spec 4.2/1.
#[test]
fn a_frame_of_the_maximum_size_is_taken() {
    let content = vec![7; MAX_FRAME_SIZE as usize];
    let bytes = raw(Kind::DATA, Flags::END_STREAM, 1, &content);
    assert_eq!(payloads(&bytes), said(&[whole_data(1, &content, true)]));
}

/// h2spec 4.2/2 and 4.2/3.
#[test]
fn a_longer_frame_is_an_error_as_soon_as_its_head_is_there() {
    for kind in 0..=255 {
        let head = Head {
            len: MAX_FRAME_SIZE + 1,
            kind: Kind(kind),
            flags: Flags::NONE,
            stream: u32::from(kind % 2),
        };
        assert_error(&head.bytes(), Reason::FRAME_SIZE_ERROR, "RFC 9113 §4.2");
    }
}

#[test]
fn a_raised_limit_counts_for_the_next_frame() {
    let mut deframer = super::super::Deframer::new(false, MAX_FRAME_SIZE, MAX_BLOCK);
    let settings = empty_settings();
    let mut input = settings.as_slice();
    while deframer.next(&mut input).unwrap().is_some() {}
    deframer.set_max_frame_size(MAX_FRAME_SIZE + 1);
    let longer = raw(Kind::DATA, Flags::NONE, 1, &vec![0; MAX_FRAME_SIZE as usize + 1]);
    let mut input = longer.as_slice();
    assert!(matches!(deframer.next(&mut input), Ok(Some(Frame::Head(_)))));
}

#[test]
fn every_frame_has_its_head_told_first_and_once() {
    let bytes = [
        raw(Kind::HEADERS, Flags::NONE, 1, b"ab"),
        raw(Kind::CONTINUATION, Flags::NONE, 1, b""),
        raw(Kind::CONTINUATION, Flags::END_HEADERS, 1, b"c"),
        raw(Kind::DATA, Flags::NONE, 1, b"content"),
        raw(Kind::DATA, Flags::END_STREAM, 1, b""),
        raw(Kind::PRIORITY, Flags::NONE, 3, &[0; 5]),
        raw(Kind::RST_STREAM, Flags::NONE, 1, &[0, 0, 0, 8]),
        raw(Kind(0xee), Flags::NONE, 1, b"?"),
    ]
    .concat();
    let told = frames(&bytes);
    let heads: Vec<_> = told.iter().map(|told| told.starts_with("Head(")).collect();
    let expected =
        [true, true, true, false, true, false, true, false, true, false, true, false, true];
    assert_eq!(heads, expected, "{told:#?}");
}
