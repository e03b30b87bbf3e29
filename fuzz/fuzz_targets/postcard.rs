//! Arbitrary bytes as postcard's frames, read as several types.

#![no_main]

mod codec;

use std::collections::BTreeMap;
use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use codec::{Input, write_and_read};
use h2conn::codec::Postcard;
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The memory of a value per byte: a `Vec` of one `Thing` has room for four.
const FACTOR: usize = 256;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Tree(Vec<Tree>);

#[derive(Clone, Debug, Deserialize, Serialize)]
enum Thing {
    Unit,
    Number(u128),
    Pair(i16, f32),
    Named { name: String, letters: Vec<Option<char>> },
    Map(BTreeMap<u8, std::result::Result<bool, [u16; 2]>>),
    Within(Box<Thing>),
    Things(Vec<Thing>),
    Tree(Tree),
}

fn thing(u: &mut Unstructured<'_>, depth: usize) -> Result<Thing> {
    Ok(match u.int_in_range(0..=if depth > 0 { 7 } else { 4 })? {
        0 => Thing::Unit,
        1 => Thing::Number(u.arbitrary()?),
        2 => Thing::Pair(u.arbitrary()?, u.arbitrary()?),
        3 => Thing::Named { name: u.arbitrary()?, letters: u.arbitrary()? },
        4 => Thing::Map(u.arbitrary()?),
        5 => Thing::Within(Box::new(thing(u, depth - 1)?)),
        6 => Thing::Things(
            (0..u.int_in_range(0..=3)?).map(|_| thing(u, depth - 1)).collect::<Result<_>>()?,
        ),
        _ => Thing::Tree(
            (0..u.arbitrary::<u16>()? % 2000).fold(Tree(vec![]), |tree, _| Tree(vec![tree])),
        ),
    })
}

fn check<T>(input: &Input<'_>, stream: &[u8])
where
    T: Clone + Debug + DeserializeOwned + Serialize,
{
    let reader = || Postcard::<T>::new().max_message_size(input.limit);
    input.check(stream, FACTOR, reader, |value| {
        let back =
            write_and_read(Postcard::<T>::new, value.clone()).expect("it came out of postcard");
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    });
}

fn run(data: &[u8]) -> Result<()> {
    let mut input: Input<'_> = Unstructured::new(data).arbitrary()?;
    let stream = input.stream(Postcard::<Thing>::new(), |u| thing(u, 4))?;
    match input.choice % 4 {
        0 | 1 => check::<Thing>(&input, &stream),
        2 => check::<Vec<Tree>>(&input, &stream),
        _ => check::<(Vec<Vec<i32>>, String)>(&input, &stream),
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // An input that is too short is ignored.
    let _ = run(data);
});
