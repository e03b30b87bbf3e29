mod hostile;
mod pointers;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use gobwire::{Dynamic, GoTime, Gob as Derive, Interface, Zone};
use proptest::prelude::*;
use tokio_util::codec::Framed;

use super::*;

#[derive(Derive, Clone, Debug, Default, PartialEq)]
struct Note {
    text: String,
    any: Option<Interface>,
    rest: Vec<Option<Interface>>,
}

#[derive(Derive, Clone, Debug, Default, PartialEq)]
struct Held {
    held: Option<Interface>,
}

#[derive(Derive, Clone, Debug, Default, PartialEq)]
#[gob(name = "Pair")]
struct Two {
    a: i64,
    b: i64,
}

/// The output of Go's `Encoder` for three values, with the types `box` and `pair` inside the second
/// value, which begins at byte 90 and ends at 201.
const FROM_GO: &[u8] =
    b",\x7f\x03\x01\x01\x04Note\x01\xff\x80\x00\x01\x03\x01\x04Text\x01\x0c\x00\x01\x03\
Any\x01\x10\x00\x01\x04Rest\x01\xff\x82\x00\x00\x00\x1c\xff\x81\x02\x01\x01\x0e\
[]interface {}\x01\xff\x82\x00\x01\x10\x00\x00\x0f\xff\x80\x01\x01a\x01\x03int\x04\
\x02\x00\x02\x00$\xff\x80\x01\x01b\x01\x03box\xff\x83\x03\x01\x01\x03Box\x01\xff\
\x84\x00\x01\x01\x01\x04Held\x01\x10\x00\x00\x00I\xff\x84$\x01\x04pair\xff\x85\x03\
\x01\x01\x04Pair\x01\xff\x86\x00\x01\x02\x01\x01A\x01\x04\x00\x01\x01B\x01\x04\x00\
\x00\x00\x09\xff\x86\x05\x01\x02\x01\x03\x00\x00\x01\x03\x00\x06string\x0c\x03\x00\
\x01x\x03box\xff\x84\x01\x00\x00\x12\xff\x80\x01\x01c\x01\x04pair\xff\x86\x03\x01\
\x06\x00\x00";

fn notes() -> Vec<Note> {
    let pair = |a, b| Some(Interface::new("pair", &Two { a, b }).expect("a pair"));
    let mut held = Interface::new("box", &Held { held: pair(1, -2) }).expect("a box");
    let mut empty = Interface::new("box", &Held::default()).expect("a box");
    for held in [&mut held, &mut empty] {
        if let gobwire::Type::Struct(ty) = &mut held.ty {
            std::sync::Arc::make_mut(ty).name = "Box".into();
        }
    }
    let rest = vec![None, Some(Interface::string("x")), Some(empty)];
    vec![
        Note { text: "a".into(), any: Some(Interface::int(1)), rest: vec![] },
        Note { text: "b".into(), any: Some(held), rest },
        Note { text: "c".into(), any: pair(3, 0), rest: vec![] },
    ]
}

/// The items that a codec makes from these pieces and the end after them, up to a lasting error.
fn decode<In: Decode + Default>(
    codec: &mut Gob<(), In>,
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Vec<Result<In, CodecError>> {
    let (mut src, mut out) = (BytesMut::new(), Vec::new());
    let mut drain = |src: &mut BytesMut, eof: bool| {
        loop {
            let next = if eof { codec.decode_eof(src) } else { codec.decode(src) };
            match next.transpose() {
                None => return true,
                Some(item) => out.push(item),
            }
            if codec.failed.is_some() {
                return false;
            }
        }
    };
    for piece in pieces {
        src.extend_from_slice(piece.as_ref());
        if !drain(&mut src, false) {
            return out;
        }
    }
    drain(&mut src, true);
    out
}

fn values<In: Decode + Default>(pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<In> {
    let values = decode(&mut Gob::new(), pieces).into_iter();
    values.map(|value| value.expect("a value")).collect()
}

/// The first error, which is the same however the stream is cut.
fn error<In: Decode + Default>(limit: usize, stream: &[u8]) -> (CodecErrorKind, Option<u64>) {
    let codec = || Gob::<(), In>::new().max_message_size(limit);
    let whole = decode(&mut codec(), [stream]).into_iter().find_map(Result::err);
    let singly = decode(&mut codec(), stream.chunks(1)).into_iter().find_map(Result::err);
    let (whole, singly) = (whole.expect("an error"), singly.expect("an error"));
    assert_eq!(whole.to_string(), singly.to_string());
    assert_eq!((whole.kind(), whole.position()), (singly.kind(), singly.position()));
    assert!(whole.to_string().contains(&whole.position().expect("a place").to_string()));
    (whole.kind(), whole.position())
}

fn encode<T: Encode>(values: impl IntoIterator<Item = T>) -> BytesMut {
    let (mut codec, mut dst) = (Gob::<T, u8>::new(), BytesMut::new());
    for value in values {
        codec.encode(value, &mut dst).expect("it can be written");
    }
    dst
}

#[test]
fn values_are_the_same_wherever_their_bytes_are_cut() {
    let ours = encode(notes());
    for stream in [FROM_GO, &ours[..]] {
        for cut in 0..=stream.len() {
            let (before, after) = stream.split_at(cut);
            assert_eq!(values::<Note>([before, after]), notes(), "cut at {cut}");
        }
        assert_eq!(values::<Note>(stream.chunks(1)), notes());
    }
    assert!(values::<u8>([b""]).is_empty());
}

#[test]
fn a_value_is_given_out_at_its_last_byte() {
    let mut codec = Gob::<(), Note>::new();
    for (part, note) in [&FROM_GO[..90], &FROM_GO[90..201], &FROM_GO[201..]].iter().zip(notes()) {
        let mut src = BytesMut::from(&part[..part.len() - 1]);
        assert!(codec.decode(&mut src).expect("no error").is_none());
        src.extend_from_slice(&part[part.len() - 1..]);
        assert_eq!(codec.decode(&mut src).expect("no error"), Some(note));
    }
}

/// The skipped values contain types, and one of these types is used again later.
#[test]
fn what_nobody_asked_for_is_skipped() {
    #[derive(Derive, Debug, Default, PartialEq)]
    struct Text {
        text: String,
    }
    let texts = ["a", "b", "c"].map(|text| Text { text: text.into() });
    assert_eq!(values::<Text>([FROM_GO]), texts);
}

#[test]
fn a_type_is_defined_once_a_stream() {
    let one = encode([Two { a: 1, b: 2 }]).len();
    let more = encode(vec![Two { a: 1, b: 2 }; 10_000]);
    // The length, the type, two fields, the end.
    assert_eq!(more.len(), one + 9_999 * 8);
    assert_eq!(values::<Two>([more]).len(), 10_000);
}

#[test]
fn an_unfinished_stream_is_truncated() {
    let whole = [62, 90, 201];
    for end in (1..FROM_GO.len()).filter(|end| !whole[1..].contains(end)) {
        let expected = (CodecErrorKind::Truncated, Some(end as u64));
        assert_eq!(error::<Note>(1 << 20, &FROM_GO[..end]), expected);
    }
    let error = decode(&mut Gob::<(), Note>::new(), [&FROM_GO[..whole[0]]]).pop();
    let error = error.expect("an item").expect_err("it is not whole");
    assert_eq!(error.to_string(), "the stream ended at byte 62, before the end of a gob value");
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_not_gob_is_malformed_and_its_place_is_known() {
    let table: [(&[u8], u64); 12] = [
        (b"\x80", 0),                         // a length of 128 bytes
        (b"\x00", 1),                         // no message at all
        (b"\x01\x04", 2),                     // an int, and no value
        (b"\x03\x04\x01\x02", 2),             // an int, not alone
        (b"\x03\x04\x00\xf0", 3),             // an int of 16 bytes
        (b"\x04\x04\x00\x02\x02", 4),         // two ints
        (b"\x03\xff\x80\x00", 1),             // an unknown type
        (b"\x04\x0c\x00\x05a", 3),            // a string that ends too late
        (b"\x05\x7f\x08\x00\x00\x00", 2),     // a definition with field 7
        (b"\x05\x05\x03\x00\x00\x00", 5),     // the end, twice
        (b"\x03\x04\x00\x02\x02\x04\x01", 6), // the second of two
        (b"\x06\x10\x00\x01a\x10\x00", 5),    // an interface in an interface
    ];
    for (stream, position) in table {
        let expected = (CodecErrorKind::Malformed, Some(position));
        assert_eq!(error::<Dynamic>(1 << 20, stream), expected, "{}", stream.escape_ascii());
    }
    // The stream defines a type twice.
    let twice = [&FROM_GO[..45], FROM_GO].concat();
    assert_eq!(error::<Note>(1 << 20, &twice).0, CodecErrorKind::Malformed);
}

#[test]
fn a_value_may_have_just_the_limit_and_is_refused_before_it_arrives() {
    // A string, with its type, a zero and its length.
    let stream = encode(["x".repeat(97), "y".repeat(98)]);
    assert_eq!(stream.len(), 101 + 102);
    let mut codec = Gob::<(), String>::new().max_message_size(100);
    let mut src = BytesMut::from(&stream[..102]);
    assert_eq!(codec.decode(&mut src).expect("it fits"), Some("x".repeat(97)));
    let error = codec.decode(&mut src).expect_err("its length is there, and no more");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(101)));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    for length in [&b"\xfc\xff\xff\xff\xff"[..], b"\xfb\x01\xff\xff\xff\xff"] {
        assert_eq!(self::error::<u8>(1 << 20, length), (CodecErrorKind::TooLarge, Some(0)));
    }
    // The parts have 36 and 73 bytes, without the two definitions between them.
    let in_parts = decode(&mut Gob::<(), Note>::new().max_message_size(150), [FROM_GO]);
    assert_eq!(in_parts.into_iter().filter_map(Result::ok).count(), 3);
    let in_parts = decode(&mut Gob::<(), Note>::new().max_message_size(usize::MAX), [FROM_GO]);
    assert_eq!(in_parts.into_iter().filter_map(Result::ok).count(), 3);
}

#[test]
fn a_mismatch_is_told_and_the_next_value_is_read() {
    let mut stream = encode([1_i64]);
    stream.extend_from_slice(b"\x04\x0c\x00\x01x\x05\x04\x00\xfe\x02\x58\x03\x04\x00\x04");
    let items = decode(&mut Gob::<(), u8>::new(), [&stream]);
    assert!(items.iter().all(|item| item.is_err()), "the numbers are signed");
    let items = decode(&mut Gob::<(), i8>::new(), [&stream]).into_iter();
    let found: Vec<_> = items.map(|item| item.map_err(|e| (e.kind(), e.position()))).collect();
    let mismatch = |at| Err((CodecErrorKind::Mismatch, Some(at)));
    assert_eq!(found, [Ok(1), mismatch(4), mismatch(9), Ok(2)]);

    // Types in a value that does not fit are known after it.
    #[derive(Derive, Clone, Debug, Default, PartialEq)]
    struct Other {
        text: String,
        any: i64,
    }
    let items = decode(&mut Gob::<(), Other>::new(), [FROM_GO]);
    let mismatches = items.iter().filter_map(|item| item.as_ref().err());
    assert!(mismatches.clone().all(|error| error.source().is_some()));
    assert_eq!(mismatches.map(CodecError::kind).collect::<Vec<_>>(), [CodecErrorKind::Mismatch; 3]);
    let mut invalid = BytesMut::from(&b"\x04\x0c\x00\x01\xff\x04\x0c\x00\x01a"[..]);
    let mut codec = Gob::<(), String>::new();
    assert_eq!(codec.decode(&mut invalid).expect_err("UTF-8").kind(), CodecErrorKind::Mismatch);
    assert_eq!(codec.decode(&mut invalid).expect("a value").as_deref(), Some("a"));
}

#[test]
fn other_errors_last_and_their_input_is_discarded() {
    let mut codec = Gob::<(), i64>::new();
    let mut src = BytesMut::from(&b"\x03\x04\x00\x02\x00\x03\x04\x00\x02"[..]);
    assert_eq!(codec.decode(&mut src).expect("a value"), Some(1));
    let first = codec.decode(&mut src).expect_err("malformed").to_string();
    assert_eq!(first, "malformed gob at byte 5: expected more of the message");
    for _ in 0..2 {
        src.extend_from_slice(b"\x03\x04\x00\x02");
        assert_eq!(codec.decode(&mut src).expect_err("the same").to_string(), first);
        assert_eq!(codec.decode_eof(&mut src).expect_err("the same").to_string(), first);
        assert!(src.is_empty());
    }
}

#[test]
fn a_value_is_written_whole_or_not_at_all() {
    let mut codec = Gob::<Vec<Option<String>>>::new().max_message_size(100);
    let mut dst = BytesMut::new();
    let error = codec.encode(vec![Some("x".repeat(100))], &mut dst).expect_err("too large");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(0)));
    let error = codec.encode(vec![None], &mut dst).expect_err("no nil in lists");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(0)));
    assert!(error.source().is_some() && dst.is_empty());
    // Its type is defined, although the first value of that type was not sent.
    codec.encode(vec![Some("a".into())], &mut dst).expect("it fits");
    let first = dst.len();
    codec.encode(vec![Some("b".into())], &mut dst).expect("it fits");
    assert_eq!((first, dst.len()), (20, 27), "the type is sent once");
    let heard = values::<Vec<String>>([&dst]);
    assert_eq!(heard, [["a"], ["b"]]);
}

#[tokio::test]
async fn it_works_over_a_stream() {
    let (near, far) = tokio::io::duplex(16);
    let send = async move {
        let mut near = Framed::new(near, Gob::<Note>::new());
        for note in notes() {
            near.send(note).await.expect("it is read");
        }
        near.close().await.expect("it is open");
    };
    let receive = Framed::new(far, Gob::<Note>::new()).collect::<Vec<_>>();
    let ((), received) = tokio::join!(send, receive);
    let received: Vec<Note> = received.into_iter().map(|note| note.expect("a note")).collect();
    assert_eq!(received, notes());
}

#[test]
fn a_zone_of_odd_seconds_is_read_as_by_go_and_the_instant_is_kept() {
    // Go 1.26 reads the signed byte of the seconds as an unsigned one.
    for (offset, read) in [(3600, 3600), (3661, 3661), (-3600, -3600), (-3601, -3601 + 256)] {
        let time = GoTime::from_unix(1, 2, Zone::Offset(offset));
        let zone = Zone::Offset(read);
        assert_eq!(values::<GoTime>([encode([time])]), [GoTime { zone, ..time }]);
    }
}

#[test]
fn it_is_send_and_sync_whatever_it_writes() {
    fn check<T: Send + Sync + Unpin + Default + fmt::Debug>() {}
    check::<Gob<std::rc::Rc<u8>, u8>>();
}

#[test]
fn bytes_that_come_one_by_one_take_no_more_time() {
    let list: Vec<String> = (0..200_000_u32).map(|number| number.to_string()).collect();
    let codec = || Gob::<Vec<String>>::new().max_message_size(4 << 20);
    let mut stream = BytesMut::new();
    codec().encode(list, &mut stream).expect("it fits");
    assert!(stream.len() > 1_000_000);
    let begun = Instant::now();
    let lists = decode(&mut Gob::<(), _>::new().max_message_size(4 << 20), stream.chunks(1));
    assert!(matches!(&lists[..], [Ok(list)] if Vec::<String>::len(list) == 200_000));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[derive(Derive, Clone, Debug, Default, PartialEq)]
struct Mixed {
    number: i64,
    float: f64,
    text: String,
    blob: Vec<u8>,
    lists: Vec<Vec<u64>>,
    map: BTreeMap<String, bool>,
    next: Option<Box<Mixed>>,
    any: Option<Interface>,
}

fn any_mixed() -> impl Strategy<Value = Mixed> {
    let plain = (
        any::<i64>(),
        any::<f64>(),
        any::<String>(),
        any::<Vec<u8>>(),
        prop::collection::vec(prop::collection::vec(any::<u64>(), 0..4), 0..4),
        prop::collection::btree_map(any::<String>(), any::<bool>(), 0..4),
    );
    let plain = plain.prop_map(|(number, float, text, blob, lists, map)| Mixed {
        number,
        float,
        text,
        blob,
        lists,
        map,
        next: None,
        any: None,
    });
    plain.prop_recursive(3, 4, 1, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(outer, inner, dynamic)| {
            if dynamic {
                let any = Interface::new("mixed", &inner).expect("it can be written");
                Mixed { any: Some(any), ..outer }
            } else {
                Mixed { next: Some(Box::new(inner)), ..outer }
            }
        })
    })
}

proptest! {
    #[test]
    fn random_values_survive_random_cuts(
        sent in prop::collection::vec(any_mixed(), 0..5),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream = encode(sent.iter().cloned());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        prop_assert_eq!(values::<Mixed>(cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]])), sent);
    }
}
