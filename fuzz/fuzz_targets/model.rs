//! Random operations on both ends of a connection, compared with two plain queues:
//! `tests/it/model.rs`.

#![no_main]

#[path = "../../tests/it/model/run.rs"]
mod run;

#[path = "../../tests/it/support"]
mod support {
    pub(crate) mod trickle;
}

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use run::{Operation, Setting, run};

/// The most operations of a run. The rest of the bytes is ignored.
const MOST: usize = 100;

/// The input that the strategies of the test make, here made from bytes.
#[derive(Debug)]
struct Input {
    setting: Setting,
    operations: Vec<(usize, Operation)>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Input> {
        let setting = setting(u)?;
        let mut operations = Vec::new();
        while !u.is_empty() && operations.len() < MOST {
            operations.push((u.int_in_range(0..=1)?, operation(u)?));
        }
        Ok(Input { setting, operations })
    }
}

fn setting(u: &mut Unstructured<'_>) -> Result<Setting> {
    let window = match u.int_in_range(0..=3)? {
        0 => 1,
        1 => u.int_in_range(2..=999)?,
        2 => 65_535,
        _ => 1 << 20,
    };
    let send_queue = match u.int_in_range(0..=2)? {
        0 => 1,
        1 => u.int_in_range(2..=999)?,
        _ => 256 << 10,
    };
    let pipe = match u.int_in_range(0..=2)? {
        0 => u.int_in_range(1..=99)?,
        1 => 16 << 10,
        _ => 1 << 20,
    };
    Ok(Setting { window, send_queue, pipe, step: u.int_in_range(1..=4_095)? })
}

fn operation(u: &mut Unstructured<'_>) -> Result<Operation> {
    Ok(match u.int_in_range(0..=87)? {
        0..=19 => Operation::Write(size(u)?),
        20..=24 => Operation::WriteChunk(size(u)?),
        25..=44 => Operation::Read(size(u)?),
        45..=49 => Operation::ReadChunk,
        50..=51 => Operation::Flush,
        52..=53 => Operation::Sent,
        54 => Operation::Shutdown,
        55 => Operation::DropReader,
        56 => Operation::DropWriter,
        57 => Operation::Reset,
        58..=59 => Operation::ReadDeadline(u.arbitrary()?),
        60..=61 => Operation::WriteDeadline(u.arbitrary()?),
        _ => Operation::Yield(u.int_in_range(1..=19)?),
    })
}

fn size(u: &mut Unstructured<'_>) -> Result<usize> {
    match u.int_in_range(0..=6)? {
        0..=3 => u.int_in_range(0..=99),
        4..=5 => u.int_in_range(0..=4_999),
        _ => u.int_in_range(0..=69_999),
    }
}

fuzz_target!(|input: Input| run(&input.setting, &input.operations));
