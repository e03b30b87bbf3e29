//! Arbitrary bytes as gob, read as several types.

#![no_main]

mod codec;

use std::collections::BTreeMap;
use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use codec::{Input, write_and_read};
use gobwire::{
    BinaryBytes, Complex, Decode, Dynamic, Encode, GoTime, Gob as Derive, GobBytes, Interface, Zone,
};
use h2conn::codec::Gob;
use libfuzzer_sys::fuzz_target;

/// The value that is read, with all types and buffers, may take this many times the limit.
const FACTOR: usize = 256;

#[derive(Derive, Clone, Debug, Default)]
struct Point {
    x: i64,
    y: u8,
}

#[derive(Derive, Clone, Debug, Default)]
struct Record {
    yes: bool,
    ratio: f32,
    complex: Complex,
    text: String,
    bytes: Vec<u8>,
    points: Vec<Point>,
    array: [u16; 3],
    names: BTreeMap<i64, Vec<String>>,
    next: Option<Box<Record>>,
    number: Option<i32>,
    at: GoTime,
    any: Option<Interface>,
    list: Vec<Option<Interface>>,
    own: Option<GobBytes>,
    binary: Option<BinaryBytes>,
}

fn record(u: &mut Unstructured<'_>, depth: usize) -> Result<Record> {
    let zone = if u.arbitrary()? { Zone::Utc } else { Zone::Offset(u.arbitrary::<i8>()?.into()) };
    Ok(Record {
        yes: u.arbitrary()?,
        ratio: u.arbitrary()?,
        complex: Complex { re: u.arbitrary()?, im: u.arbitrary()? },
        text: u.arbitrary()?,
        bytes: u.arbitrary()?,
        points: (0..u.int_in_range(0..=3)?).map(|_| point(u)).collect::<Result<_>>()?,
        array: u.arbitrary()?,
        names: u.arbitrary()?,
        next: match u.int_in_range(0..=depth)? {
            0 => None,
            _ => Some(Box::new(record(u, depth - 1)?)),
        },
        number: u.arbitrary()?,
        at: GoTime::from_unix(u.arbitrary::<i32>()?.into(), u.int_in_range(0..=999_999_999)?, zone),
        any: interface(u, depth)?,
        list: (0..u.int_in_range(0..=2)?).map(|_| interface(u, depth)).collect::<Result<_>>()?,
        own: u.arbitrary::<Option<_>>()?.map(GobBytes),
        binary: u.arbitrary::<Option<_>>()?.map(BinaryBytes),
    })
}

fn point(u: &mut Unstructured<'_>) -> Result<Point> {
    Ok(Point { x: u.arbitrary()?, y: u.arbitrary()? })
}

fn interface(u: &mut Unstructured<'_>, depth: usize) -> Result<Option<Interface>> {
    let held = match u.int_in_range(0..=if depth > 0 { 5 } else { 3 })? {
        0 => return Ok(None),
        1 => return Ok(Some(Interface::int(u.arbitrary()?))),
        2 => return Ok(Some(Interface::string(u.arbitrary::<&str>()?))),
        3 => Interface::new("point", &point(u)?),
        4 => Interface::new("record", &record(u, depth - 1)?),
        _ => Interface::new("list", &vec![interface(u, depth - 1)?, None]),
    };
    Ok(held.ok())
}

/// A type whose values are read as they were written.
trait Lasts {
    fn lasts(&self) -> bool {
        true
    }
}

impl Lasts for Record {
    /// Go itself reads an offset wrong that is negative and not whole minutes, and so does `gobwire`.
    fn lasts(&self) -> bool {
        let lasts = !matches!(self.at.zone, Zone::Offset(offset) if offset < 0 && offset % 60 != 0);
        lasts && self.next.as_ref().is_none_or(|next| next.lasts())
    }
}

impl Lasts for Dynamic {}
impl Lasts for Option<Interface> {}
impl Lasts for BTreeMap<String, Vec<f64>> {}
impl Lasts for [i8; 2] {}

fn check<T>(input: &Input<'_>, stream: &[u8])
where
    T: Clone + Debug + Decode + Default + Encode + Lasts,
{
    let reader = || Gob::<T>::new().max_message_size(input.limit);
    input.check(stream, FACTOR, reader, |value| {
        if value.lasts() {
            write_and_read(Gob::<T>::new, value);
        }
    });
}

fn run(data: &[u8]) -> Result<()> {
    let mut input: Input<'_> = Unstructured::new(data).arbitrary()?;
    let stream = match input.choice >> 4 & 3 {
        0 | 1 => input.stream(Gob::<Record, u8>::new(), |u| record(u, 2))?,
        2 => input.stream(Gob::<_, u8>::new(), |u| interface(u, 2))?,
        _ => input.stream(Gob::<_, u8>::new(), |u| u.arbitrary::<BTreeMap<String, Vec<f64>>>())?,
    };
    match input.choice % 8 {
        0 | 1 => check::<Record>(&input, &stream),
        2 | 3 => check::<Dynamic>(&input, &stream),
        4 | 5 => check::<Option<Interface>>(&input, &stream),
        6 => check::<BTreeMap<String, Vec<f64>>>(&input, &stream),
        _ => check::<[i8; 2]>(&input, &stream),
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // An input that is too short is ignored.
    let _ = run(data);
});
