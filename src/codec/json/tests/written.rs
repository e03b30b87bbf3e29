//! The values that are written, and the values that are refused.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::*;

#[test]
fn a_value_is_written_in_a_line_or_not_at_all() {
    let mut codec = Json::<Value>::new().max_message_size(7);
    let mut dst = BytesMut::new();
    codec.encode(json!({"a": 1}), &mut dst).expect("it fits");
    codec.encode(json!("\n\n"), &mut dst).expect("it fits");
    let error = codec.encode(json!([1, 2, 34]), &mut dst).expect_err("eight bytes");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::TooLarge, Some(15)));
    codec.encode(json!(1), &mut dst).expect("it fits");
    assert_eq!(dst, "{\"a\":1}\n\"\\n\\n\"\n1\n");

    let mut codec = Json::<std::collections::BTreeMap<Vec<u8>, u8>>::new();
    let error = codec.encode([(vec![1], 1)].into(), &mut dst).expect_err("the key is a list");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(0)));
    assert!(error.source().is_some() && dst.ends_with(b"1\n"));
}

/// The error of a codec that must write this value. The values before and after it must be
/// unharmed.
fn refused(value: impl Serialize) -> CodecError {
    fn write(value: impl Serialize, dst: &mut BytesMut) -> Result<(), CodecError> {
        Json::<_, ()>::new().encode(value, dst)
    }
    let mut dst = BytesMut::new();
    write("before", &mut dst).expect("a string");
    let error = write(value, &mut dst).expect_err("JSON has no such number");
    write("after", &mut dst).expect("a string");
    assert_eq!(dst, "\"before\"\n\"after\"\n");
    error
}

#[test]
fn a_number_that_json_does_not_have_is_refused_wherever_it_stands() {
    #[derive(Serialize)]
    struct Struct<T> {
        first: &'static str,
        value: T,
    }
    #[derive(Serialize)]
    struct Newtype<T>(T);
    #[derive(Serialize)]
    struct Pair<T>(u8, T);
    #[derive(Serialize)]
    struct Flat<T> {
        first: &'static str,
        #[serde(flatten)]
        rest: Struct<T>,
    }
    #[derive(Serialize)]
    enum Enum<T> {
        Newtype(T),
        Tuple(u8, T),
        Struct { first: &'static str, value: T },
    }
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Tagged<T> {
        Struct { value: T },
    }
    #[derive(Serialize)]
    #[serde(untagged)]
    enum Untagged<T> {
        Newtype(T),
    }
    /// A float as the key of a map.
    struct Keyed<T>(T);
    impl<T: Serialize> Serialize for Keyed<T> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map([("first", 1)].into_iter().map(|(_, one)| (&self.0, one)))
        }
    }
    fn each_place<T: Serialize + Copy>(value: T, name: &str) {
        let errors = [
            refused(value),
            refused(Some(value)),
            refused(vec![vec![value]]),
            refused(("first", value)),
            refused([value; 2]),
            refused(Struct { first: "first", value }),
            refused(Newtype(value)),
            refused(Pair(1, value)),
            refused(Flat { first: "first", rest: Struct { first: "again", value } }),
            refused(Enum::Newtype(value)),
            refused(Enum::Tuple(1, value)),
            refused(Enum::Struct { first: "first", value }),
            refused(Tagged::Struct { value }),
            refused(Untagged::Newtype(value)),
            refused(BTreeMap::from([("a", BTreeMap::from([("b", Some(value))]))])),
            refused(Keyed(value)),
            refused(vec![Keyed(value)]),
        ];
        for (place, error) in errors.iter().enumerate() {
            assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(0)));
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            let expected = format!("JSON has no number {name}: expected a finite one");
            assert_eq!(source, expected, "at place {place}");
        }
    }
    for (value, name) in [(f64::NAN, "NaN"), (f64::INFINITY, "inf"), (f64::NEG_INFINITY, "-inf")] {
        each_place(value, name);
        each_place(value as f32, name);
    }
    let mut dst = BytesMut::new();
    let mut codec = Json::<(f64, f32, Keyed<f64>)>::new();
    codec.encode((f64::MAX, f32::MIN_POSITIVE, Keyed(0.5)), &mut dst).expect("they are finite");
    assert_eq!(dst, "[1.7976931348623157e+308,1.1754944e-38,{\"0.5\":1}]\n");
}

#[test]
fn the_stream_goes_on_after_a_value_that_was_refused() {
    let mut codec = Json::<Vec<f64>>::new();
    let mut dst = BytesMut::new();
    codec.encode(vec![1.0], &mut dst).expect("it is finite");
    let error = codec.encode(vec![2.0, f64::NAN], &mut dst).expect_err("it is not");
    assert_eq!((error.kind(), error.position()), (CodecErrorKind::Mismatch, Some(6)));
    codec.encode(vec![3.0], &mut dst).expect("it is finite");
    assert_eq!(dst, "[1.0]\n[3.0]\n");
    assert_eq!(codec.written, 12);
}

#[test]
fn all_that_serde_has_is_written_as_serde_json_writes_it() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    enum Enum {
        Unit,
        Newtype(u8),
        Tuple(u8, char),
        Struct { a: Option<()> },
    }
    #[derive(Serialize)]
    struct All<'a> {
        booleans: (bool, bool),
        signed: (i8, i16, i32, i64, i128),
        unsigned: (u8, u16, u32, u64, u128),
        floats: (f32, f64),
        text: (char, &'a str, std::net::Ipv4Addr),
        bytes: Bytes<'a>,
        nothing: (Option<u8>, (), Unit),
        enums: [Enum; 4],
        map: BTreeMap<i32, &'a Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        skipped: Option<u8>,
        raw: &'a RawValue,
    }
    struct Bytes<'a>(&'a [u8]);
    impl Serialize for Bytes<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    let value = json!({ "a": [null, true, 1.5, "\n\r\u{2028}"], "b": { "c": u64::MAX } });
    let raw = RawValue::from_string(r#"{"raw":[1, 2]}"#.to_owned()).expect("JSON");
    let all = All {
        booleans: (true, false),
        signed: (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN),
        unsigned: (u8::MAX, u16::MAX, u32::MAX, u64::MAX, u128::MAX),
        floats: (0.1, -0.0),
        text: ('ü', "\"\u{7f}\u{1}", std::net::Ipv4Addr::LOCALHOST),
        bytes: Bytes(b"\x00\xff"),
        nothing: (None, (), Unit),
        enums: [Enum::Unit, Enum::Newtype(1), Enum::Tuple(1, '"'), Enum::Struct { a: None }],
        map: [(-1, &value), (1, &value)].into(),
        skipped: None,
        raw: &raw,
    };
    let expected = serde_json::to_string(&all).expect("JSON") + "\n";
    let mut dst = BytesMut::new();
    Json::<_, ()>::new().encode(&all, &mut dst).expect("JSON");
    assert_eq!(dst, expected);
}

#[test]
fn json_that_was_printed_over_lines_goes_out_in_one() {
    let text = "{\r\n  \"a\\n\\r\": [\n\n1,\r2 ],\n\t\"b\": \"c\"\n}";
    let raw = RawValue::from_string(text.to_owned()).expect("JSON");
    let line = "{    \"a\\n\\r\": [  1, 2 ], \t\"b\": \"c\" }";
    let mut dst = BytesMut::new();
    Json::<_, ()>::new().encode([&raw, &raw], &mut dst).expect("JSON");
    assert_eq!(dst, format!("[{line},{line}]\n"));
    // The line has as many bytes as the text, so a limit means the same for both.
    let mut codec = Json::<_, ()>::new().max_message_size(text.len());
    dst.clear();
    codec.encode(&raw, &mut dst).expect("it fits");
    let back = values(&[&dst]);
    assert_eq!(back, [serde_json::from_str::<Value>(text).expect("JSON")]);
    let error = codec.max_message_size(text.len() - 1).encode(&raw, &mut dst);
    assert_eq!(error.expect_err("one byte more").kind(), CodecErrorKind::TooLarge);
}
