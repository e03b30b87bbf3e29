//! Input that Go's `json.Decoder` was given too, with Go's results. After `ERR` Go reads the next
//! value. After `END` it does not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::*;

/// The values that a codec reads from `text`, in JSON, separated by ` ; `.
fn read<In: DeserializeOwned + Serialize>(text: &[u8]) -> String {
    let items = decode::<In>(Json::new(), &[text]).into_iter();
    let outcomes = items.map(|item| match item {
        Ok(value) => serde_json::to_string(&value).expect("it came out of JSON"),
        Err(error) if error.kind() == CodecErrorKind::Mismatch => "ERR".to_owned(),
        Err(_) => "END".to_owned(),
    });
    outcomes.collect::<Vec<_>>().join(" ; ")
}

#[derive(Deserialize, Serialize)]
struct Post {
    name: String,
    tags: Vec<String>,
    n: i64,
}

type Map = BTreeMap<i64, String>;

fn read_plainly(name: &str, text: &[u8]) -> String {
    match name {
        "any" => read::<Value>(text),
        "string" => read::<String>(text),
        "ints" => read::<Vec<i64>>(text),
        "post" => read::<Post>(text),
        "float" => read::<f64>(text),
        "bytes" => read::<Vec<u8>>(text),
        "map" => read::<Map>(text),
        other => panic!("no type {other}"),
    }
}

#[test]
fn most_input_is_the_same_to_go() {
    let table: [(&str, &[u8], &str); 43] = [
        ("any", b"[1.", "END"),
        ("any", b"[1.5]", "[1.5]"),
        ("any", b"1.", "END"),
        ("any", b"falsetrue", "false ; true"),
        ("any", b"1 2", "1 ; 2"),
        ("any", b"12\"a\"", "12 ; \"a\""),
        ("any", b"01", "0 ; 1"),
        ("any", b"-", "END"),
        // Go writes `-0`.
        ("any", b"-0", "-0.0"),
        ("any", b"1e400", "ERR"),
        ("any", b"[1,2]x", "[1,2] ; END"),
        ("any", b"{\"a\":1}{\"a\":2}[3]\"4\"5 6", "{\"a\":1} ; {\"a\":2} ; [3] ; \"4\" ; 5 ; 6"),
        ("any", b"\xef\xbb\xbf{\"a\":1}", "END"),
        ("any", b"\"\\ud83d\\ude00\"", "\"\u{1f600}\""),
        // Go writes the first two as escapes.
        ("any", b"\"\\u2028\\u003c\\u0000\"", "\"\u{2028}<\\u0000\""),
        ("any", b"\"tab\tin string\"", "END"),
        ("any", b"{\"a\":1,\"a\":2}", "{\"a\":2}"),
        ("any", b"[1,]", "END"),
        ("any", b"{\"a\":1,}", "END"),
        ("any", b"/* c */1", "END"),
        ("any", b"NaN", "END"),
        ("any", b"[NaN]", "END"),
        ("any", b"123456789012345678901234567890", "1.2345678901234568e+29"),
        ("any", b"nul", "END"),
        ("any", b"nulll", "null ; END"),
        ("any", b"1\x0b2", "1 ; END"),
        ("any", b"1\0", "1 ; END"),
        ("any", b"[1]\x1e[2]", "[1] ; END"),
        ("string", b"\"a\" {\"b\":0} \"c\"", "\"a\" ; ERR ; \"c\""),
        ("ints", b"[1.0]", "ERR"),
        ("ints", b"[1e2]", "ERR"),
        ("ints", b"[9223372036854775807]", "[9223372036854775807]"),
        ("ints", b"[9223372036854775808]", "ERR"),
        (
            "post",
            br#"{"name":"n","tags":[],"n":1,"extra":{"x":[1,{"y":"\ud800"}]}}"#,
            r#"{"name":"n","tags":[],"n":1}"#,
        ),
        ("post", br#"{"name":"n","tags":[],"n":1.0}"#, "ERR"),
        ("float", b"1e309", "ERR"),
        ("float", b"\"1\"", "ERR"),
        // Go writes the next three without a fraction.
        ("float", b"1.7976931348623157e308", "1.7976931348623157e+308"),
        ("float", b"0.1e1", "1.0"),
        ("float", b"1E+2", "100.0"),
        // Both Go and `serde_with` write base64.
        ("bytes", b"[0,255]", "[0,255]"),
        ("map", br#"{"1":"a","-2":"b"}"#, r#"{"-2":"b","1":"a"}"#),
        ("map", br#"{"1.0":"a"}"#, "ERR"),
    ];
    for (name, text, expected) in table {
        assert_eq!(read_plainly(name, text), expected, "{name} {}", text.escape_ascii());
    }
    // Both decoders wait for more until the stream ends.
    let waiting = Json::<(), Value>::new().decode(&mut BytesMut::from("[1."));
    assert!(matches!(waiting, Ok(None)));
}

/// The types of the table again, with the attributes for Go's output.
#[derive(Default, Deserialize, Serialize)]
struct GoPost {
    #[serde(default, alias = "NAME", deserialize_with = "null_as_default")]
    name: String,
    #[serde(default, alias = "Tags", deserialize_with = "null_as_default")]
    tags: Vec<String>,
    #[serde(default, alias = "N", deserialize_with = "null_as_default")]
    n: i64,
}

#[derive(Deserialize, Serialize)]
#[serde(transparent)]
#[serde(bound = "T: Default + Serialize + DeserializeOwned")]
struct OrDefault<T>(#[serde(deserialize_with = "null_as_default")] T);

fn read_as_from_go(name: &str, text: &[u8]) -> String {
    match name {
        "string" => read::<OrDefault<String>>(text),
        "ints" => read::<OrDefault<Vec<OrDefault<i64>>>>(text),
        "post" => read::<OrDefault<GoPost>>(text),
        "float" => read::<OrDefault<f64>>(text),
        "map" => read::<OrDefault<Map>>(text),
        other => read_plainly(other, text),
    }
}

#[test]
fn a_type_that_says_so_takes_what_go_writes() {
    // Go writes a nil slice or map as `null` again. Here it is empty.
    let table = [
        ("string", "null", "ERR", "\"\""),
        ("string", r#""x"null"y""#, r#""x" ; ERR ; "y""#, r#""x" ; "" ; "y""#),
        ("ints", "null", "ERR", "[]"),
        ("ints", "[1,null,3]", "ERR", "[1,0,3]"),
        ("post", r#"{"name":"n","tags":null,"n":1}"#, "ERR", r#"{"name":"n","tags":[],"n":1}"#),
        ("post", r#"{"NAME":"n","Tags":[],"N":1}"#, "ERR", r#"{"name":"n","tags":[],"n":1}"#),
        ("post", r#"{"name":"n","tags":[]}"#, "ERR", r#"{"name":"n","tags":[],"n":0}"#),
        ("post", r#"{"name":null,"tags":[],"n":1}"#, "ERR", r#"{"name":"","tags":[],"n":1}"#),
        ("post", "{}", "ERR", r#"{"name":"","tags":[],"n":0}"#),
        ("float", "null", "ERR", "0.0"),
        ("map", "null", "ERR", "{}"),
    ];
    for (name, text, plainly, as_from_go) in table {
        assert_eq!(read_plainly(name, text.as_bytes()), plainly, "{name} {text}");
        assert_eq!(read_as_from_go(name, text.as_bytes()), as_from_go, "{name} {text}");
    }
}

/// The documentation of `Json` lists these differences.
#[test]
fn what_go_reads_otherwise_is_no_surprise() {
    // The last column has Go's result.
    let table: [(&str, &[u8], &str, &str); 7] = [
        ("any", b"\"\\ud800\"", "ERR", "\"\u{fffd}\""),
        ("any", b"\"\\ud83d x\"", "ERR", "\"\u{fffd} x\""),
        ("any", b"\"a\xffb\"", "END", "\"a\u{fffd}b\""),
        ("ints", b"[-0]", "ERR", "[0]"),
        (
            "post",
            br#"{"name":"n","tags":[],"n":1,"n":2}"#,
            "ERR",
            r#"{"name":"n","tags":[],"n":2}"#,
        ),
        ("post", br#"["n",[],1]"#, r#"{"name":"n","tags":[],"n":1}"#, "ERR"),
        ("bytes", b"\"AP8=\"", "ERR", "\"AP8=\""),
    ];
    for (name, text, here, in_go) in table {
        assert_eq!(read_plainly(name, text), here, "{name} {}", text.escape_ascii());
        assert_ne!(here, in_go);
    }
}
