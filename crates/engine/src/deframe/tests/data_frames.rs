//! DATA (RFC 9113 §6.1).

use super::*;

/// h2spec 6.1/1.
#[test]
fn on_stream_0_they_are_an_error() {
    let bytes = raw(Kind::DATA, Flags::NONE, 0, b"x");
    assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.1");
}

#[test]
fn an_empty_one_is_one_piece() {
    let bytes = raw(Kind::DATA, Flags::END_STREAM, 5, b"");
    assert_eq!(payloads(&bytes), said(&[whole_data(5, b"", true)]));
}

#[test]
fn padding_takes_of_the_window_and_is_not_content() {
    let bytes = raw(Kind::DATA, Flags::PADDED, 1, b"\x03content...");
    let frame = Data {
        stream: id(1),
        bytes: b"content",
        first: true,
        last: true,
        flow: 11,
        padding: 4,
        end: false,
    };
    assert_eq!(payloads(&bytes), said(&[Frame::Data(frame)]));
}

#[test]
fn padding_may_be_all_there_is() {
    let bytes = raw(Kind::DATA, Flags::PADDED, 1, &[0; 1]);
    assert_eq!(payloads(&bytes).len(), 1);
    let mut payload = vec![0; 256];
    payload[0] = 255;
    let told = payloads(&raw(Kind::DATA, Flags::PADDED.with(Flags::END_STREAM), 1, &payload));
    assert!(told[0].contains("bytes: [], ") && told[0].contains("padding: 256"), "{told:?}");
}

/// h2spec 6.1/3.
#[test]
fn padding_longer_than_the_payload_is_an_error() {
    for payload in [&b"\x06ABCDE"[..], b"\x01", b"\xff123"] {
        let bytes = raw(Kind::DATA, Flags::PADDED, 1, payload);
        assert_error(&bytes, Reason::PROTOCOL_ERROR, "RFC 9113 §6.1");
    }
}

#[test]
fn a_padded_one_without_a_payload_is_an_error() {
    let bytes = raw(Kind::DATA, Flags::PADDED, 1, b"");
    assert_error(&bytes, Reason::FRAME_SIZE_ERROR, "RFC 9113 §6.1");
}

#[test]
fn pieces_are_borrowed_and_nothing_is_held() {
    let mut transcript = transcript(false);
    transcript.feed(&empty_settings());
    for piece in raw(Kind::DATA, Flags::PADDED, 1, &[9; 9_000]).chunks(100) {
        transcript.feed(piece);
    }
    assert_eq!(transcript.most_held(), 0);
}

#[test]
fn what_is_written_is_read() {
    let head = data::head(id(7), 3, true);
    let bytes = [&head.bytes()[..], b"abc"].concat();
    assert_eq!(payloads(&bytes), said(&[whole_data(7, b"abc", true)]));
}
