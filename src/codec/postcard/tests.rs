use std::error::Error as _;
use std::io;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::*;

/// A type that uses most of postcard's rules.
type Any = (Vec<(String, Option<i64>)>, Result<char, bool>, f64, [u16; 2]);

/// The items that a codec makes from these pieces and the end after them, up to a lasting error.
fn decode<In: DeserializeOwned>(
    mut codec: Postcard<(), In>,
    pieces: &[&[u8]],
) -> Vec<Result<In, CodecError>> {
    let (mut src, mut out) = (BytesMut::new(), Vec::new());
    for piece in pieces.iter().map(Some).chain([None]) {
        src.extend_from_slice(piece.copied().unwrap_or_default());
        loop {
            let eof = piece.is_none();
            let next = if eof { codec.decode_eof(&mut src) } else { codec.decode(&mut src) };
            match next.transpose() {
                None => break,
                Some(item) => out.push(item),
            }
            if codec.failed.is_some() {
                return out;
            }
        }
    }
    out
}

/// The first error, which is the same however the bytes are cut.
fn error<In: DeserializeOwned>(codec: &Postcard<(), In>, bytes: &[u8]) -> CodecError {
    let singles: Vec<&[u8]> = bytes.chunks(1).collect();
    let whole = decode(codec.clone(), &[bytes]).into_iter().find_map(Result::err);
    let singly = decode(codec.clone(), &singles).into_iter().find_map(Result::err);
    let (whole, singly) = (whole.expect("an error"), singly.expect("an error"));
    assert_eq!(whole.to_string(), singly.to_string());
    assert_eq!((whole.kind(), whole.position()), (singly.kind(), singly.position()));
    whole
}

fn kind_and_position<In: DeserializeOwned>(bytes: &[u8]) -> (CodecErrorKind, Option<u64>) {
    let error = error(&Postcard::<(), In>::new(), bytes);
    (error.kind(), error.position())
}

fn frame(value: &[u8]) -> Vec<u8> {
    let len = u32::try_from(value.len()).expect("it is small").to_be_bytes();
    [&len, value].concat()
}

#[test]
fn a_value_stands_behind_its_length() {
    let mut codec = Postcard::<(&str, u16)>::new();
    let mut dst = BytesMut::from("before");
    codec.encode(("hi", 300), &mut dst).expect("it fits");
    assert_eq!(dst, b"before\0\0\0\x05\x02hi\xac\x02"[..]);

    // The frames are the same as tokio-util's.
    dst.advance(6);
    let value = LengthDelimitedCodec::new().decode(&mut dst).expect("a frame").expect("whole");
    assert_eq!(postcard::from_bytes(&value), Ok(("hi", 300_u16)));
}

#[test]
fn what_is_not_the_type_is_malformed_and_its_place_is_known() {
    let malformed = |at| (CodecErrorKind::Malformed, Some(at));
    let second = |value: &[u8]| [frame(&[1]), frame(value)].concat();
    assert_eq!(kind_and_position::<bool>(&second(&[2])), malformed(9));
    assert_eq!(kind_and_position::<u8>(&second(&[])), malformed(9));
    assert_eq!(kind_and_position::<u8>(&second(&[1, 2, 3])), malformed(10));
    assert_eq!(kind_and_position::<()>(&frame(&[1])), malformed(4));
    assert_eq!(kind_and_position::<Option<u8>>(&frame(&[7, 1])), malformed(4));
    assert_eq!(kind_and_position::<(u8, u16)>(&frame(&[1, 0xff, 0xff, 0xff])), malformed(7));
    assert_eq!(kind_and_position::<String>(&frame(&[1, 0xff])), malformed(5));
    // No memory is allocated for a length that no value can have.
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(kind_and_position::<Vec<u64>>(&frame(&huge)), malformed(14));
    assert_eq!(kind_and_position::<String>(&frame(&huge)), malformed(14));

    let error = error(&Postcard::<(), bool>::new(), &frame(&[2]));
    assert_eq!(error.to_string(), "malformed value at byte 4");
    assert!(error.source().is_some());
}

#[test]
fn an_unfinished_frame_at_the_end_is_truncated() {
    let whole = frame(b"\x03abc");
    for cut in 1..whole.len() {
        let bytes = [&whole[..], &whole[..cut]].concat();
        let expected = (CodecErrorKind::Truncated, Some(bytes.len() as u64));
        assert_eq!(kind_and_position::<String>(&bytes), expected, "{cut}");
    }
    let error = error(&Postcard::<(), String>::new(), &whole[..5]);
    assert_eq!(
        error.to_string(),
        "the stream ended at byte 5, inside the frame that began at byte 0"
    );
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_value_may_have_just_the_limit_and_is_refused_by_its_length() {
    let codec = || Postcard::<(), String>::new().max_message_size(4);
    let whole = frame(b"\x03abc");
    assert!(decode(codec(), &[&whole]).iter().all(Result::is_ok));
    // The length alone is enough for the error, and no memory is reserved for it.
    let mut src = BytesMut::from(&[0xff; 4][..]);
    let error = Postcard::<(), String>::new().decode(&mut src).expect_err("too large");
    let message = "the value at byte 0 is larger than the limit of 1048576 bytes";
    assert_eq!((error.kind(), error.to_string().as_str()), (CodecErrorKind::TooLarge, message));
    assert!(src.capacity() < 100);
    let bytes = [&whole[..], &[0, 0, 0, 5]].concat();
    let error = self::error(&codec(), &bytes);
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(8)));
}

#[test]
fn a_large_frame_takes_memory_as_it_arrives() {
    let mut codec = Postcard::<(), String>::new();
    let mut src = BytesMut::from(&[0, 0x10, 0, 0, 1][..]);
    assert!(codec.decode(&mut src).expect("no error").is_none());
    assert!(src.capacity() < 1 << 16, "{}", src.capacity());
}

#[derive(Debug, Deserialize)]
struct Nested {
    #[expect(dead_code, reason = "it is there to be read")]
    inner: Option<Box<Nested>>,
}

#[test]
fn a_list_does_not_reserve_room_for_elements_that_it_claims() {
    #[derive(Debug)]
    struct Claimed(Option<usize>);

    impl<'de> Deserialize<'de> for Claimed {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Claimed, D::Error> {
            struct List;
            impl<'de> Visitor<'de> for List {
                type Value = Claimed;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a list")
                }

                fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Claimed, A::Error> {
                    let claimed = list.size_hint();
                    while list.next_element::<u8>()?.is_some() {}
                    Ok(Claimed(claimed))
                }
            }
            deserializer.deserialize_seq(List)
        }
    }

    let claimed = decode::<Claimed>(Postcard::new(), &[&frame(&[3, 1, 2, 3])]).pop();
    assert_eq!(claimed.expect("an item").expect("a list").0, None);
}

#[test]
fn a_value_that_nests_too_deep_does_not_overflow_the_stack() {
    let bytes = vec![1; 1 << 20];
    // The same stack as tokio's threads have.
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let shallow = [[1; 100].as_slice(), &[0]].concat();
        assert!(decode(Postcard::<(), Nested>::new(), &[&frame(&shallow)])[0].is_ok());
        let items = decode(Postcard::<(), Nested>::new(), &[&frame(&bytes)]);
        let error = items[0].as_ref().expect_err("too deep");
        assert_eq!(error.kind(), CodecErrorKind::TooDeep);
        assert!(error.position().expect("a place") > 104);
    });
    thread.expect("a thread").join().expect("no panic");
}

#[test]
fn a_mismatch_is_told_and_the_next_value_is_read() {
    let frames = [frame(&[0, 5]), frame(&[2]), frame(&[1, 1])].concat();
    let items = decode::<Result<u8, bool>>(Postcard::new(), &[&frames]);
    assert_eq!(items[0].as_ref().expect("it fits"), &Ok(5));
    let error = items[1].as_ref().expect_err("there are two variants");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(6)));
    assert_eq!(items[2].as_ref().expect("it fits"), &Err(true));

    struct Describing;
    impl<'de> Deserialize<'de> for Describing {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Describing, D::Error> {
            input.deserialize_any(serde::de::IgnoredAny).map(|_| Describing)
        }
    }
    let expected = (CodecErrorKind::Mismatch, Some(0));
    assert_eq!(kind_and_position::<Describing>(&frame(&[1])), expected);
}

#[test]
fn other_errors_last_and_their_input_is_discarded() {
    let mut codec = Postcard::<(), bool>::new();
    let mut src = BytesMut::from(&[frame(&[2]), frame(&[1])].concat()[..]);
    let first = codec.decode(&mut src).expect_err("malformed").to_string();
    for _ in 0..2 {
        src.extend_from_slice(&frame(&[1]));
        assert_eq!(codec.decode(&mut src).expect_err("the same").to_string(), first);
        assert_eq!(codec.decode_eof(&mut src).expect_err("the same").to_string(), first);
        assert!(src.is_empty());
    }
}

#[test]
fn a_value_is_written_whole_or_not_at_all() {
    let mut codec = Postcard::<&str>::new().max_message_size(4);
    let mut dst = BytesMut::new();
    codec.encode("abc", &mut dst).expect("it fits");
    let error = codec.encode("abcd", &mut dst).expect_err("five bytes");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(8)));
    codec.encode("", &mut dst).expect("it fits");
    assert_eq!(dst, b"\0\0\0\x04\x03abc\0\0\0\x01\0"[..]);

    struct Unknown;
    impl Serialize for Unknown {
        fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
            serde::ser::SerializeSeq::end(out.serialize_seq(None)?)
        }
    }
    let error = Postcard::<Unknown>::new().encode(Unknown, &mut dst).expect_err("no length");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(0)));
    assert!(error.source().is_some() && dst.ends_with(b"\x01\0"));
}

#[tokio::test]
async fn it_works_over_a_stream() {
    let (near, far) = tokio::io::duplex(16);
    let send = async move {
        let mut near = Framed::new(near, Postcard::<(usize, String), ()>::new());
        for n in 0..100 {
            near.send((n, "x".repeat(n * n))).await.expect("it is read");
        }
        near.close().await.expect("it is open");
    };
    let receive = Framed::new(far, Postcard::<(), (usize, String)>::new()).collect::<Vec<_>>();
    let ((), received) = tokio::join!(send, receive);
    for (n, value) in received.iter().enumerate() {
        assert_eq!(value.as_ref().expect("a value"), &(n, "x".repeat(n * n)));
    }
    assert_eq!(received.len(), 100);
}

#[test]
fn it_is_send_and_sync_whatever_it_carries() {
    fn check<T: Send + Sync + Unpin + Clone + Default + fmt::Debug>() {}
    check::<Postcard<std::rc::Rc<u8>, *const u8>>();
}

fn any_value() -> impl Strategy<Value = Any> {
    let list = prop::collection::vec(("\\PC{0,20}", any::<Option<i64>>()), 0..5);
    (list, any::<Result<char, bool>>(), any::<f64>(), any::<[u16; 2]>())
}

proptest! {
    #[test]
    fn random_values_survive_random_cuts(
        values in prop::collection::vec(any_value(), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut codec, mut bytes) = (Postcard::<Any>::new(), BytesMut::new());
        for value in &values {
            codec.encode(value.clone(), &mut bytes).expect("it fits");
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let decoded = decode::<Any>(Postcard::new(), &pieces).into_iter().collect::<Result<_, _>>();
        prop_assert_eq!(decoded.map_err(|error| error.to_string()), Ok(values));
    }

    #[test]
    fn random_bytes_are_values_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let framed = frame(&bytes);
        let items = decode::<Any>(Postcard::new(), &[&framed]);
        prop_assert_eq!(items.len(), 1);
        if let Err(error) = &items[0] {
            let position = error.position().expect("a place");
            prop_assert!(position <= framed.len() as u64, "{}", position);
        }
        decode::<Any>(Postcard::new(), &[&bytes]);
    }
}
