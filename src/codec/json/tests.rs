mod go;
mod written;

use std::cell::Cell;
use std::error::Error as _;
use std::io;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tokio_util::codec::Framed;

use super::*;

/// The items that a codec makes from these pieces and the end after them, up to a lasting error.
fn decode<In: DeserializeOwned>(
    mut codec: Json<(), In>,
    pieces: &[&[u8]],
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
        src.extend_from_slice(piece);
        if !drain(&mut src, false) {
            return out;
        }
    }
    drain(&mut src, true);
    out
}

fn values(pieces: &[&[u8]]) -> Vec<Value> {
    let values = decode(Json::new(), pieces).into_iter();
    values.map(|value| value.expect("a value")).collect()
}

/// The first error, which is the same however the text is cut.
fn error<In: DeserializeOwned>(codec: &Json<(), In>, text: impl AsRef<[u8]>) -> CodecError {
    let text = text.as_ref();
    let singles: Vec<&[u8]> = text.chunks(1).collect();
    let whole = decode(codec.clone(), &[text]).into_iter().find_map(Result::err);
    let singly = decode(codec.clone(), &singles).into_iter().find_map(Result::err);
    let (whole, singly) = (whole.expect("an error"), singly.expect("an error"));
    assert_eq!(whole.to_string(), singly.to_string());
    assert_eq!((whole.kind(), whole.position()), (singly.kind(), singly.position()));
    whole
}

fn kind_and_position(text: impl AsRef<[u8]>) -> (CodecErrorKind, Option<u64>) {
    let error = error(&Json::<(), Value>::new(), text);
    assert!(error.to_string().contains(&error.position().expect("a place").to_string()));
    (error.kind(), error.position())
}

#[test]
fn values_are_the_same_wherever_their_bytes_are_cut() {
    let table = [
        ("", vec![]),
        (" \t\r\n", vec![]),
        (r#"{"a":1}{"b":2}"#, vec![json!({"a": 1}), json!({"b": 2})]),
        ("1 2", vec![json!(1), json!(2)]),
        ("12", vec![json!(12)]),
        ("-1.5e3", vec![json!(-1500.0)]),
        ("0-1", vec![json!(0), json!(-1)]),
        (r#""a""b""#, vec![json!("a"), json!("b")]),
        ("true[1]nullfalse", vec![json!(true), json!([1]), json!(null), json!(false)]),
        ("1\"\"2{}3", vec![json!(1), json!(""), json!(2), json!({}), json!(3)]),
        (r#" "\"\\\u00e9é\n}" "#, vec![json!("\"\\éé\n}")]),
        ("\n{\n  \"]\": [\n \"[{\" ] }\n\n[]\r\n", vec![json!({"]": ["[{"]}), json!([])]),
    ];
    for (text, expected) in table {
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(values(&[&bytes[..cut], &bytes[cut..]]), expected, "{text} at {cut}");
        }
        assert_eq!(values(&bytes.chunks(1).collect::<Vec<_>>()), expected, "{text}");
    }
}

#[test]
fn a_value_is_given_out_at_its_last_byte() {
    for text in ["{}", "[1]", "\"a\"", "true", "1 "] {
        let mut src = BytesMut::from(text);
        let mut codec = Json::<(), Value>::new();
        assert!(codec.decode(&mut src).expect("no error").is_some(), "{text}");
    }
}

#[test]
fn a_line_feed_is_taken_with_its_value_and_nothing_after_it() {
    let codec = || Json::<(), Value>::new().newline_terminated();
    for (value, rest) in [("{}", "x"), ("12", "3"), ("-0", ""), ("\"\\n\"", "\n"), ("true", "\r\n")]
    {
        for newline in ["\n", "\r\n"] {
            let text = format!(" \n{value}{newline}{rest}");
            for cut in 0..text.len() - newline.len() - rest.len() + 1 {
                let mut src = BytesMut::from(&text[..cut]);
                let mut codec = codec();
                assert!(codec.decode(&mut src).expect("no error").is_none(), "{text:?} at {cut}");
                src.extend_from_slice(&text.as_bytes()[cut..]);
                assert!(codec.decode(&mut src).expect("no error").is_some(), "{text:?} at {cut}");
                assert_eq!(src, rest, "{text:?} at {cut}");
                assert_eq!(codec.read as usize, text.len() - rest.len());
            }
        }
    }
    for text in ["1\n[2]", "1\n[2]\r", "1\n2\r", "1\r\n2\n"] {
        for size in [1, text.len()] {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let values = decode(codec(), &pieces);
            assert!(values.iter().all(Result::is_ok) && values.len() == 2, "{text:?}: {values:?}");
        }
    }
    for (text, position) in [("{} \n", 2), ("{}{}\n", 2), ("1\n2 3", 3), ("true\r ", 5)] {
        let error = error(&codec(), text);
        assert_eq!((error.kind(), error.position()), (CodecErrorKind::Malformed, Some(position)));
    }
    let error = error(&codec().max_message_size(4), "1234\n12345");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(5)));
    let items = decode::<u8>(Json::new().newline_terminated(), &[b"\"x\"\n2\n"]);
    assert!(items[0].is_err() && items[1].as_ref().is_ok_and(|value| *value == 2));
}

#[test]
fn what_is_not_json_is_malformed_and_its_place_is_known() {
    let table: [(&[u8], u64); 13] = [
        (b"}", 0),
        (b" x", 1),
        (b"1 2 x", 4),
        (b"\xef\xbb\xbf1", 0),
        (b"trux", 3),
        (b"-x", 1),
        (b"[1}", 2),
        (b"\"a\nb\"", 2),
        (b"[1,]", 3),
        (b" {\n\n \"a\" 1}", 9),
        (b"[tru]", 4),
        (b"1 \"a\xffb\"", 4),
        (b"{}[\"\\u12\"]", 9),
    ];
    for (text, position) in table {
        let expected = (CodecErrorKind::Malformed, Some(position));
        assert_eq!(kind_and_position(text), expected, "{}", text.escape_ascii());
    }
    let ignored = error(&Json::<(), IgnoredAny>::new(), b"\"\xff\"");
    assert_eq!((ignored.kind(), ignored.position()), (CodecErrorKind::Malformed, Some(1)));
    assert!(ignored.source().is_some());
}

#[test]
fn an_unfinished_value_at_the_end_is_truncated() {
    for text in ["nul", "-", "1.", "1e+", "\"a", "\"\\", "[1", "{\"a\":", "[\"]"] {
        let end = 4 + text.len() as u64;
        let expected = (CodecErrorKind::Truncated, Some(end));
        assert_eq!(kind_and_position(format!("{{}}\n {text}")), expected, "{text}");
    }
    let error = error(&Json::<(), Value>::new(), "1 [");
    let message = "the stream ended at byte 3, inside the JSON value that began at byte 2";
    assert_eq!(error.to_string(), message);
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_value_may_have_just_the_limit_and_is_refused_while_it_arrives() {
    let codec = || Json::<(), Value>::new().max_message_size(4);
    for text in ["1234", "1234 ", "    \"ab\"    ", "true false"] {
        let first = decode(codec(), &[text.as_bytes()]).into_iter().next().expect("one");
        assert!(first.is_ok(), "{text}");
    }
    for text in ["12345", "\"abc\"", "[1,2]", "\"abcd", "[    "] {
        let error = error(&codec(), format!("  1 {text}"));
        let expected = (CodecErrorKind::TooLarge, Some(4));
        assert_eq!((error.kind(), error.position()), expected, "{text}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    }
    let error = decode(codec().max_message_size(usize::MAX), &[b"12345"]);
    assert!(error.iter().all(Result::is_ok));
}

#[test]
fn depth_is_limited_as_in_serde_json() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(values(&[nested(127).as_bytes()]).len(), 1);
    let expected = (CodecErrorKind::TooDeep, Some(130));
    assert_eq!(kind_and_position(format!("{{}} {}", nested(128))), expected);
}

#[test]
fn a_mismatch_is_told_and_the_next_value_is_read() {
    let items = decode::<u8>(Json::new(), &[br#"1 "x" 2 {"a":[1]}3 1e999 300 4"#]);
    let found: Vec<_> = items
        .iter()
        .map(|item| item.as_ref().map_err(|error| (error.kind(), error.position())))
        .map(|item| item.map_err(|(kind, position)| (kind, position.expect("a place"))))
        .collect();
    let mismatch = |at| Err((CodecErrorKind::Mismatch, at));
    let expected =
        [Ok(&1), mismatch(2), Ok(&2), mismatch(8), Ok(&3), mismatch(19), mismatch(25), Ok(&4)];
    assert_eq!(found, expected);

    let half = error(&Json::<(), String>::new(), r#""\ud800""#);
    assert_eq!(half.kind(), CodecErrorKind::Mismatch);
    let hidden = error(&Json::<(), Vec<u8>>::new(), r#"["x", y]"#);
    assert_eq!((hidden.kind(), hidden.position()), (CodecErrorKind::Malformed, Some(6)));
}

#[test]
fn other_errors_last_and_their_input_is_discarded() {
    let mut codec = Json::<(), Value>::new();
    let mut src = BytesMut::from("1 ] 2");
    assert_eq!(codec.decode(&mut src).expect("a value"), Some(json!(1)));
    let first = codec.decode(&mut src).expect_err("malformed").to_string();
    assert_eq!(first, "malformed JSON at byte 2: expected a value, not `]`");
    for _ in 0..2 {
        src.extend_from_slice(b"3 ");
        assert_eq!(codec.decode(&mut src).expect_err("the same").to_string(), first);
        assert_eq!(codec.decode_eof(&mut src).expect_err("the same").to_string(), first);
        assert!(src.is_empty());
    }
}

#[test]
fn work_grows_with_the_bytes_and_not_with_the_pieces() {
    thread_local!(static PARSED: Cell<usize> = const { Cell::new(0) });
    struct Counted;
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Counted, D::Error> {
            PARSED.set(PARSED.get() + 1);
            IgnoredAny::deserialize(input).map(|_| Counted)
        }
    }
    let small = "[1,{\"a\":\"b\"}],".repeat(100_000);
    let text = format!("[{small}\"{}\"]", "long \\n".repeat(400_000));
    for size in [1, 7, text.len()] {
        scan::tests::WORK.set(0);
        PARSED.set(0);
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        let codec = Json::<(), Counted>::new().max_message_size(8 << 20);
        assert!(matches!(decode(codec, &pieces)[..], [Ok(Counted)]));
        assert_eq!(PARSED.get(), 1);
        let work = scan::tests::WORK.get();
        assert!(text.len() > 4_000_000 && work <= 3 * text.len() + 1, "{work} by {size}");
    }
}

#[tokio::test]
async fn it_works_over_a_stream() {
    let (near, far) = tokio::io::duplex(16);
    let send = async move {
        let mut near = Framed::new(near, Json::<Value>::new());
        for n in 0..100 {
            near.send(json!({ "n": n, "text": "x".repeat(n) })).await.expect("it is read");
        }
        near.close().await.expect("it is open");
    };
    let receive = Framed::new(far, Json::<Value>::new()).collect::<Vec<_>>();
    let ((), received) = tokio::join!(send, receive);
    for (n, value) in received.iter().enumerate() {
        assert_eq!(value.as_ref().expect("a value")["n"], n);
    }
    assert_eq!(received.len(), 100);
}

#[test]
fn it_is_send_and_sync_whatever_it_carries() {
    fn check<T: Send + Sync + Unpin + Clone + Default + fmt::Debug>() {}
    check::<Json<std::rc::Rc<u8>, *const u8>>();
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn random_values_survive_random_cuts(
        values_sent in prop::collection::vec((any_value(), any::<bool>()), 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (mut text, mut expected) = (String::new(), Vec::new());
        for (value, pretty) in &values_sent {
            let printed = if *pretty { format!("{value:#}\n") } else { format!("{value} ") };
            text += &printed;
            expected.push(value.clone());
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> =
            cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
        prop_assert_eq!(values(&pieces), expected);
    }
}
