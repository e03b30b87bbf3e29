//! Arbitrary bytes as JSON, read as several types.

#![no_main]

mod codec;

use std::collections::BTreeMap;
use std::fmt::Debug;

use arbitrary::{Result, Unstructured};
use codec::{Input, write_and_read};
use h2conn::codec::Json;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The memory of a `Value` per byte: `[{"":0},…]` has a node of a map for every seven bytes.
const VALUE: usize = 128;
const OTHERS: usize = 16;

fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(match u.int_in_range(0..=if depth > 0 { 7 } else { 5 })? {
        0 => Value::Null,
        1 => Value::from(u.arbitrary::<bool>()?),
        2 => Value::from(u.arbitrary::<i64>()?),
        3 => Value::from(u.arbitrary::<u64>()?),
        4 => Value::from(u.arbitrary::<f64>()?),
        5 => Value::from(u.arbitrary::<String>()?),
        6 => (0..u.int_in_range(0..=4)?).map(|_| value(u, depth - 1)).collect::<Result<_>>()?,
        _ => {
            let fields =
                (0..u.int_in_range(0..=4)?).map(|_| Ok((u.arbitrary()?, value(u, depth - 1)?)));
            Value::Object(fields.collect::<Result<_>>()?)
        }
    })
}

fn check<T>(input: &Input<'_>, stream: &[u8], factor: usize)
where
    T: Clone + Debug + DeserializeOwned + Serialize,
{
    let reader = || {
        let codec = Json::<T>::new().max_message_size(input.limit);
        if input.choice & 4 == 0 { codec } else { codec.newline_terminated() }
    };
    input.check(stream, factor, reader, |value| {
        let back = write_and_read(Json::<T>::new, value.clone()).expect("it came out of JSON");
        assert_eq!(format!("{back:?}"), format!("{value:?}"));
    });
}

fn run(data: &[u8]) -> Result<()> {
    let mut input: Input<'_> = Unstructured::new(data).arbitrary()?;
    let stream = input.stream(Json::<Value>::new(), |u| value(u, 4))?;
    match input.choice % 4 {
        0 => check::<Value>(&input, &stream, VALUE),
        1 => check::<String>(&input, &stream, OTHERS),
        2 => check::<(i64, Option<String>, Vec<f64>)>(&input, &stream, OTHERS),
        _ => check::<BTreeMap<String, Vec<Option<u8>>>>(&input, &stream, OTHERS),
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // An input that is too short is ignored.
    let _ = run(data);
});
