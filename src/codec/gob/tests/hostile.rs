//! Streams that no honest peer sends.

use super::*;

/// More time than any of these needs, and less than they would need without the checks.
const SOON: Duration = Duration::from_secs(20);

fn uint(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        return out.push(value as u8);
    }
    let skipped = value.leading_zeros() / 8;
    out.push(skipped.wrapping_sub(8) as u8);
    out.extend_from_slice(&value.to_be_bytes()[skipped as usize..]);
}

fn int(out: &mut Vec<u8>, value: i64) {
    uint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Builds a message from these parts.
fn message(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (mut body, mut out) = (Vec::new(), Vec::new());
    build(&mut body);
    uint(&mut out, body.len() as u64);
    [out, body].concat()
}

fn slice_type(id: i64, elem: i64) -> Vec<u8> {
    message(|out| slice_definition(out, id, elem))
}

fn slice_definition(out: &mut Vec<u8>, id: i64, elem: i64) {
    int(out, -id);
    out.extend([2, 1, 2]);
    int(out, id);
    out.extend([0, 1]);
    int(out, elem);
    out.extend([0, 0]);
}

fn struct_type(id: i64, fields: &[(&str, i64)]) -> Vec<u8> {
    message(|out| {
        int(out, -id);
        out.extend([3, 1, 2]);
        int(out, id);
        out.extend([0, 1]);
        uint(out, fields.len() as u64);
        for &(name, ty) in fields {
            out.push(1);
            uint(out, name.len() as u64);
            out.extend(name.bytes());
            out.push(1);
            int(out, ty);
            out.push(0);
        }
        out.extend([0, 0]);
    })
}

/// Builds a `Held` that holds a value of this type, given by its bytes.
fn held(id: i64, value: &[u8]) -> Vec<u8> {
    let value = message(|out| {
        int(out, 65);
        out.extend([1, 1, b'x']);
        int(out, id);
        out.push(0);
        out.extend(value);
        out.push(0);
    });
    [struct_type(65, &[("Held", 8)]), value].concat()
}

/// The kind of error of a well-formed attack. It must come soon and without an abort, whether the
/// value is held in an interface or read as any type.
fn refused(types: &[Vec<u8>], id: i64, value: &[u8]) -> CodecErrorKind {
    let begun = Instant::now();
    let types = types.concat();
    let stream = [&types[..], &held(id, value)].concat();
    let error = decode(&mut Gob::<(), Held>::new(), [stream]).pop();
    let kind = error.expect("an item").expect_err("an error").kind();
    let alone = message(|out| {
        int(out, id);
        out.extend(value);
    });
    let error = decode(&mut Gob::<(), Dynamic>::new(), [types, alone].iter()).pop();
    assert_eq!(error.expect("an item").expect_err("an error").kind(), kind);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    kind
}

/// Go has no such fields. Our decoder would not read them if our encoder wrote them.
#[test]
fn a_field_without_a_name_or_a_type_is_malformed() {
    for field in [("", 4), ("A", 0), ("", 0)] {
        assert_eq!(refused(&[struct_type(100, &[field])], 100, &[0]), CodecErrorKind::Malformed);
    }
}

#[test]
fn types_within_types_without_end_are_too_deep() {
    let chain: Vec<_> = (100..50_000).map(|id| slice_type(id, id + 1)).collect();
    let chain = [chain, vec![slice_type(50_000, 4)]].concat();
    assert_eq!(refused(&chain, 100, &[0, 0]), CodecErrorKind::TooDeep);
}

#[test]
fn types_that_contain_others_twice_and_those_others_twice_are_too_large() {
    let twice: Vec<_> =
        (100..140).map(|id| struct_type(id, &[("A", id + 1), ("B", id + 1)])).collect();
    let twice = [twice, vec![struct_type(140, &[("A", 4)])]].concat();
    assert_eq!(refused(&twice, 100, &[0]), CodecErrorKind::TooLarge);
}

#[test]
fn many_structs_with_many_fields_of_which_none_is_sent_are_too_large() {
    let wide = [struct_type(100, &[("A", 4); 20_000]), slice_type(101, 100)];
    let mut value = vec![0];
    uint(&mut value, 500_000);
    value.resize(value.len() + 500_000, 0);
    assert_eq!(refused(&wide, 101, &value), CodecErrorKind::TooLarge);
}

/// The structs take no more memory than the local type does, even after dynamic values.
#[test]
fn many_such_structs_of_a_type_that_is_known_are_read() {
    #[derive(Derive, Clone, Debug, Default)]
    struct Wide {
        a: f64,
    }
    #[derive(Derive, Clone, Debug, Default)]
    struct Known {
        v: Option<Interface>,
        l: Vec<Wide>,
    }
    let mut stream = struct_type(100, &[("A", 4); 20_000]);
    stream.extend(slice_type(101, 100));
    stream.extend(struct_type(102, &[("V", 8), ("L", 101)]));
    stream.extend(message(|out| {
        int(out, 102);
        out.extend([1, 1, b'x']);
        int(out, 2);
        out.extend([0, 0, 2, 1]);
        uint(out, 500_000);
        out.resize(out.len() + 500_000, 0);
        out.push(0);
    }));
    let value = values::<Known>([stream]).pop().expect("a value");
    assert_eq!(value.l.len(), 500_000);
    assert!(value.l.iter().all(|wide| wide.a == 0.0) && value.v.is_some());
}

#[test]
fn many_values_of_a_type_with_long_names_are_too_large() {
    let types = [struct_type(100, &[(&"A".repeat(500_000), 4)]), slice_type(101, 8)];
    let mut value = vec![0];
    uint(&mut value, 50_000);
    for _ in 0..50_000 {
        value.extend([1, b'x']);
        int(&mut value, 100);
        value.extend([0, 0]);
    }
    assert_eq!(refused(&types, 101, &value), CodecErrorKind::TooLarge);
}

#[test]
fn lists_within_lists_are_too_deep_past_the_limit() {
    // The type is `type Nested struct { A []Nested }`, which nests as deep as the value.
    let types = [struct_type(100, &[("A", 101)]), slice_type(101, 100)].concat();
    let nested = |depth: usize| {
        let value = message(|out| {
            int(out, 100);
            out.extend([1, 1].repeat(depth));
            out.extend([0].repeat(depth + 1));
        });
        [&types[..], &value].concat()
    };
    #[derive(Derive, Clone, Debug, Default)]
    struct Nested {
        a: Vec<Nested>,
    }
    // One level for the first, and two for each other: a slice and a struct.
    assert_eq!(values::<Nested>([nested(63)]).len(), 1);
    assert_eq!(values::<Dynamic>([nested(63)]).len(), 1);
    assert_eq!(error::<Nested>(1 << 20, &nested(64)).0, CodecErrorKind::TooDeep);
    let begun = Instant::now();
    assert_eq!(error::<Nested>(1 << 20, &nested(300_000)).0, CodecErrorKind::TooDeep);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn a_stream_of_nothing_but_types_is_too_large() {
    let mut codec = Gob::<(), u8>::new();
    let mut taken = 0;
    for id in 100.. {
        let definition = slice_type(id, 4);
        taken += definition.len();
        if let Err(error) = codec.decode(&mut BytesMut::from(&definition[..])) {
            assert_eq!(error.kind(), CodecErrorKind::TooLarge);
            break;
        }
        assert!(taken < 2 << 20, "{taken} bytes of types");
    }
    assert!(taken > 1 << 20, "{taken} bytes of types");
}

/// Each message of the long value ends with a type.
#[test]
fn a_value_in_many_parts_is_walked_once() {
    let mut stream = [struct_type(65, &[("A", 67), ("V", 8)]), slice_type(67, 4)].concat();
    stream.extend(message(|out| {
        int(out, 65);
        out.push(1);
        uint(out, 200_000);
        out.resize(out.len() + 200_000, 0);
        out.extend([1, 1, b'x']);
    }));
    for id in 200..20_000 {
        stream.extend(message(|out| slice_definition(out, id, 4)));
    }
    stream.extend(message(|out| {
        int(out, 19_999);
        out.extend([0, 0, 0, 0]);
    }));
    #[derive(Derive, Clone, Debug, Default)]
    struct Parts {
        a: Vec<f64>,
    }
    let begun = Instant::now();
    let value = values::<Parts>([stream]).pop().expect("a value");
    assert_eq!(value.a.len(), 200_000);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn lengths_that_do_not_hold_make_no_room() {
    let types = [slice_type(100, 4), slice_type(101, 8)].concat();
    for count in [1 << 20, 1 << 30, u64::MAX] {
        for id in [100, 101] {
            let value = message(|out| {
                int(out, id);
                out.push(0);
                uint(out, count);
            });
            let stream = [&types[..], &value].concat();
            let (kind, _) = error::<Dynamic>(1 << 20, &stream);
            let expected =
                if count > 1 << 20 { CodecErrorKind::TooLarge } else { CodecErrorKind::Malformed };
            assert_eq!(kind, expected, "{count}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Nothing panics, and the buffer stays within the limit.
    #[test]
    fn broken_streams_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4), 1..8),
        from_go in any::<bool>(),
        piece in 1..300_usize,
    ) {
        const LIMIT: usize = 400;
        let mut stream = if from_go { FROM_GO.to_vec() } else { encode(notes()).to_vec() };
        for (at, byte, how) in edits {
            let at = at.index(stream.len());
            match how {
                0 => stream[at] = byte,
                1 => stream[at] ^= 1 << (byte % 8),
                2 => stream.insert(at, byte),
                _ => drop(stream.remove(at)),
            }
        }
        let mut notes = Gob::<(), Note>::new().max_message_size(LIMIT);
        let mut any = Gob::<(), Dynamic>::new().max_message_size(LIMIT);
        let items = decode(&mut notes, stream.chunks(piece));
        let anything = decode(&mut any, stream.chunks(piece));
        prop_assert!(items.len() <= stream.len() && anything.len() <= stream.len());
        prop_assert!(notes.gate.value().len() <= LIMIT && any.gate.value().len() <= LIMIT);
    }
}
