//! Go's `encoding/gob`: the rows of `interop/go/gob.go`. Each is read as one stream, and answered
//! with another.

use std::collections::BTreeMap;
use std::fmt::Debug;

use anyhow::{Context, ensure};
use futures_util::{SinkExt, StreamExt};
use gobwire::{
    BinaryBytes, Complex, Decode, Dynamic, Encode, GoTime, Gob, GobBytes, Interface, Zone,
};
use h2conn::Conn;
use h2conn::codec::Gob as GobCodec;
use tokio_util::codec::Framed;

use super::peer::with_go;
use super::{EVERYWHERE, meet};
use crate::support::TestResult;

#[derive(Gob, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    x: i64,
    y: i64,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Numbers {
    i8: i8,
    i16: i16,
    i32: i32,
    i64: i64,
    i: isize,
    u8: u8,
    u16: u16,
    u32: u32,
    u64: u64,
    u: usize,
    f32: f32,
    f64: f64,
    c64: Complex,
    c128: Complex,
    yes: bool,
    text: String,
    bytes: Vec<u8>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Lists {
    ints: Vec<i64>,
    texts: Vec<String>,
    blobs: Vec<Vec<u8>>,
    points: Vec<Point>,
    nested: Vec<Vec<i64>>,
    array: [i64; 3],
    octets: [u8; 4],
    corners: [Point; 2],
    counts: BTreeMap<String, i64>,
    names: BTreeMap<i64, Vec<String>>,
    places: BTreeMap<Point, String>,
    deep: BTreeMap<String, BTreeMap<String, bool>>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Base {
    #[gob(name = "ID")]
    id: i64,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Home {
    street: String,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Person {
    base: Base,
    name: String,
    home: Home,
    friends: Vec<Option<Person>>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Pointers {
    number: Option<i64>,
    text: Option<String>,
    point: Option<Point>,
    twice: Option<Box<i64>>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Tree {
    value: i64,
    left: Option<Box<Tree>>,
    right: Option<Box<Tree>>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Event {
    at: GoTime,
    until: Option<GoTime>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Circle {
    radius: f64,
    label: Option<Interface>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Square {
    side: i64,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Things {
    any: Option<Interface>,
    shape: Option<Interface>,
    list: Vec<Option<Interface>>,
    named: BTreeMap<String, Option<Interface>>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Marshaled {
    big: Option<GobBytes>,
    #[gob(name = "URL")]
    url: Option<BinaryBytes>,
}

#[derive(Gob, Clone, Debug, Default, PartialEq)]
#[gob(transparent)]
struct Celsius(f64);

#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Weather {
    high: Celsius,
    days: Vec<Celsius>,
}

/// Go's `Wide`, with only the fields that this type knows.
#[derive(Gob, Clone, Debug, Default, PartialEq)]
struct Narrow {
    d: BTreeMap<String, Point>,
    a: i64,
    other: Vec<String>,
}

fn circle(radius: f64, label: Option<Interface>) -> TestResult<Option<Interface>> {
    Ok(Some(Interface::new("circle", &Circle { radius, label })?))
}

fn square(side: i64) -> TestResult<Option<Interface>> {
    Ok(Some(Interface::new("square", &Square { side })?))
}

fn text(text: &str) -> Option<Interface> {
    Some(Interface::string(text))
}

fn complex(re: f64, im: f64) -> Complex {
    Complex { re, im }
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).to_vec()
}

#[derive(Clone, Copy)]
struct Rows<'a>(&'a Conn);

impl Rows<'_> {
    async fn same<T>(self, values: impl IntoIterator<Item = T>) -> TestResult
    where
        T: Encode + Decode + Default + Clone + Debug + PartialEq,
    {
        let values: Vec<T> = values.into_iter().collect();
        self.answered(&values, values.clone()).await
    }

    async fn answered<T>(self, expected: &[T], answers: Vec<T>) -> TestResult
    where
        T: Encode + Decode + Default + Debug + PartialEq,
    {
        let what = std::any::type_name::<T>();
        let mut conn = Framed::new(self.0, GobCodec::<T>::new());
        for (i, value) in expected.iter().enumerate() {
            let heard = conn.next().await.with_context(|| format!("the end, for {what} {i}"))?;
            let heard = heard.with_context(|| format!("{what} number {i}"))?;
            ensure!(heard == *value, "{what} number {i}: {heard:?}, and not {value:?}");
        }
        for answer in answers {
            conn.feed(answer).await.with_context(|| what.to_owned())?;
        }
        conn.flush().await?;
        ensure!(conn.read_buffer().is_empty(), "bytes after the last {what}");
        Ok(())
    }
}

#[test]
fn the_values_of_gob_are_the_same_in_go_and_here() -> TestResult {
    with_go(|go| async move {
        for place in EVERYWHERE {
            let meeting = meet(go, place, "gob").await?;
            let rows = Rows(&meeting.conn);
            plain_rows(rows).await.with_context(|| format!("{place:?}"))?;
            struct_rows(rows).await.with_context(|| format!("{place:?}"))?;
            meeting.part().await?;
        }
        Ok(())
    })
}

async fn plain_rows(rows: Rows<'_>) -> TestResult {
    rows.same([0_i64, 1, -1, 63, -64, 64, -65, 127, 128, i64::MAX, i64::MIN]).await?;
    rows.same([0_u64, 1, 127, 128, 255, 256, u64::MAX]).await?;
    rows.same([0.0, 17.0, -1.5, f64::MAX, 5e-324, f64::NEG_INFINITY]).await?;
    rows.same([complex(0.0, 0.0), complex(1.0, -2.0), complex(f64::INFINITY, 0.5)]).await?;
    rows.same([false, true]).await?;
    rows.same(strings(["", "hello", "wörld 🦀", &"long".repeat(50_000)])).await?;
    rows.same([vec![], vec![0_u8, 255, 128], vec![0; 300_000]]).await?;
    let numbers = Numbers {
        i8: -8,
        i16: -16,
        i32: -32,
        i64: -64,
        i: -1,
        u8: 8,
        u16: 16,
        u32: 32,
        u64: 64,
        u: 1,
        f32: 1.5,
        f64: 2.5,
        c64: complex(1.0, 2.0),
        c128: complex(3.0, -4.0),
        yes: true,
        text: "text".into(),
        bytes: b"bytes".to_vec(),
    };
    let extremes = Numbers {
        i8: i8::MIN,
        i64: i64::MIN,
        u8: u8::MAX,
        u64: u64::MAX,
        f32: f32::MAX,
        ..Numbers::default()
    };
    rows.same([Numbers::default(), numbers, extremes]).await?;
    let origin = Point::default();
    let lists = Lists {
        ints: vec![1, 0, -1],
        texts: strings(["a", "", "c"]),
        blobs: vec![vec![1], vec![], vec![2, 3]],
        points: vec![origin, Point { x: 1, y: 2 }],
        nested: vec![vec![1, 2], vec![], vec![3]],
        array: [1, 0, 3],
        octets: [1, 2, 0, 255],
        corners: [Point { x: 1, y: 0 }, Point { x: 0, y: 2 }],
        counts: [("one".into(), 1), (String::new(), 0)].into(),
        names: [(-1, strings(["x"])), (0, strings(["y", ""]))].into(),
        places: [(Point { x: 1, y: 2 }, "here".into())].into(),
        deep: [("outer".into(), [("yes".into(), true), ("no".into(), false)].into())].into(),
    };
    rows.same([Lists::default(), lists]).await?;
    rows.same([vec![3_i64, 2, 1]]).await?;
    rows.same([["a".to_owned(), String::new()]]).await?;
    rows.same([BTreeMap::from([("a".to_owned(), vec![1.0, 2.0])])]).await
}

async fn struct_rows(rows: Rows<'_>) -> TestResult {
    let ada = Person {
        base: Base { id: 1 },
        name: "Ada".into(),
        home: Home { street: "Dorset Street".into() },
        friends: vec![],
    };
    let eve = Person { name: "Eve".into(), ..Person::default() };
    let bob = Person {
        base: Base { id: 2 },
        name: "Bob".into(),
        home: Home::default(),
        friends: vec![Some(ada.clone()), Some(eve)],
    };
    rows.same([ada, bob]).await?;
    let pointers = Pointers {
        number: Some(1),
        text: Some("text".into()),
        point: Some(Point { x: 1, y: 0 }),
        twice: Some(Box::new(2)),
    };
    rows.same([Pointers::default(), pointers]).await?;
    let zeros = Pointers { number: Some(0), text: Some(String::new()), ..Pointers::default() };
    rows.answered(&[Pointers::default()], vec![zeros]).await?;
    let leaf = |value| Some(Box::new(Tree { value, left: None, right: None }));
    let left = Some(Box::new(Tree { value: 2, left: None, right: leaf(3) }));
    rows.same([Tree::default(), Tree { value: 1, left, right: leaf(4) }]).await?;

    let noon = GoTime::from_unix(1_772_280_000, 123_456_789, Zone::Utc);
    let kathmandu = GoTime::from_unix(-14_182_940 - 20_700, 0, Zone::Offset(20_700));
    rows.same([noon, kathmandu, GoTime::default()]).await?;
    let before = GoTime::from_unix(-1, 999, Zone::Utc);
    rows.same([
        Event::default(),
        Event { at: noon, until: Some(kathmandu) },
        Event { at: before, until: None },
    ])
    .await?;

    let inner = Things { any: circle(0.0, None)?, ..Things::default() };
    let listed = Interface::new("list", &vec![square(4)?, None])?;
    let things = Things {
        any: circle(1.5, circle(2.0, text("inner"))?)?,
        shape: square(3)?,
        list: vec![
            Some(Interface::int(1)),
            text("two"),
            None,
            Some(Interface::float64(3.5)),
            Some(Interface::bool(true)),
            Some(Interface::new("[]uint8", &b"four".to_vec())?),
            Some(Interface::new("things", &inner)?),
        ],
        named: [("list".into(), Some(listed))].into(),
    };
    let more = Things { shape: circle(1.0, None)?, list: vec![square(5)?], ..Things::default() };
    rows.same([Things::default(), things, more]).await?;
    rows.same([Some(Interface::int(1)), text("text"), circle(1.0, square(2)?)?, square(6)?])
        .await?;
    let big = 12_345_678_901_234_567_u64.to_be_bytes();
    let marshaled = Marshaled {
        // Version 1, negative, and then the digits.
        big: Some(GobBytes([&[3], &big[1..]].concat())),
        url: Some(BinaryBytes(b"https://example.com/a?b=c".to_vec())),
    };
    rows.same([Marshaled::default(), marshaled]).await?;
    let days = [-1.0, 0.0, 1.0].map(Celsius).to_vec();
    rows.same([Weather { high: Celsius(21.5), days }]).await?;

    let d = BTreeMap::from([("p".to_owned(), Point { x: 1, y: 2 })]);
    let known = Narrow { d, a: 1, other: vec![] };
    let answer = Narrow { other: strings(["new"]), ..known.clone() };
    let last = Narrow { a: 2, ..Narrow::default() };
    rows.answered(&[Narrow::default(), known, last.clone()], vec![Narrow::default(), answer, last])
        .await?;

    let mut conn = Framed::new(rows.0, GobCodec::<Dynamic>::new());
    let values = [conn.next().await, conn.next().await];
    for value in values {
        conn.send(value.context("the end")??).await?;
    }
    rows.same((0..10_000).map(|i| Point { x: i, y: -i })).await
}
