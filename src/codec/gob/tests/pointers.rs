//! How Go's pointers arrive: nil as `None`, and mostly also a pointer to zero.

use gobwire::GoTime;

use super::*;

#[derive(Derive, Clone, Debug, Default, PartialEq)]
struct Point {
    x: i64,
}

#[derive(Derive, Clone, Debug, Default, PartialEq)]
struct Pointers {
    number: Option<i64>,
    text: Option<String>,
    point: Option<Point>,
    array: Option<[i64; 2]>,
    map: Option<BTreeMap<String, i64>>,
    time: Option<GoTime>,
    list: Vec<Option<i64>>,
}

/// The output of Go's `Encoder` for `Pointers{new(int), new(string), new(Point), new([2]int),
/// &map[string]int{}, new(time.Time), []*int{new(int)}}`. Go's `Decoder` makes nil of the first
/// two.
const ZEROS_FROM_GO: &[u8] = b"\
\x5c\x7f\x03\x01\x01\x08Pointers\x01\xff\x80\x00\x01\x07\x01\x06Number\x01\x04\x00\x01\x04Text\
\x01\x0c\x00\x01\x05Point\x01\xff\x82\x00\x01\x05Array\x01\xff\x84\x00\x01\x03Map\x01\xff\x86\
\x00\x01\x04Time\x01\xff\x88\x00\x01\x04List\x01\xff\x8a\x00\x00\x00\x19\xff\x81\x03\x01\x01\x05\
Point\x01\xff\x82\x00\x01\x01\x01\x01X\x01\x04\x00\x00\x00\x16\xff\x83\x01\x01\x01\x06[2]int\x01\
\xff\x84\x00\x01\x04\x01\x04\x00\x00\x1e\xff\x85\x04\x01\x01\x0emap[string]int\x01\xff\x86\x00\
\x01\x0c\x01\x04\x00\x00\x0a\xff\x87\x05\x01\x02\xff\x8c\x00\x00\x00\x14\xff\x89\x02\x01\x01\x06\
[]*int\x01\xff\x8a\x00\x01\x04\x00\x00\x1f\xff\x80\x03\x00\x01\x02\x00\x00\x01\x00\x01\x0f\x01\
\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x01\x01\x00\x00";

#[test]
fn a_pointer_to_zero_arrives_as_none_unless_it_is_to_a_struct_or_array_or_in_a_list() {
    let zeros = Pointers {
        number: Some(0),
        text: Some(String::new()),
        point: Some(Point::default()),
        array: Some([0, 0]),
        map: Some(BTreeMap::new()),
        time: Some(GoTime::default()),
        list: vec![Some(0)],
    };
    let from_go = [Pointers { number: None, text: None, ..zeros.clone() }];
    assert_eq!(values::<Pointers>([ZEROS_FROM_GO]), from_go);
    let from_here = Pointers { map: None, time: None, ..from_go[0].clone() };
    assert_eq!(values::<Pointers>([encode([zeros])]), [from_here]);
}

#[test]
fn there_is_no_nil_in_a_list() {
    let mut dst = BytesMut::new();
    let nil = Pointers { list: vec![None], ..Pointers::default() };
    let error = Gob::<Pointers>::new().encode(nil, &mut dst).expect_err("nil in a list");
    assert_eq!((error.kind(), dst.len()), (CodecErrorKind::Mismatch, 0));
}
