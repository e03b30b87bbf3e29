//! Random operations on two engines whose bytes travel in pieces: `crates/engine/tests/it/model.rs`.

#![no_main]

#[path = "../../crates/engine/tests/it/model"]
mod model {
    pub(crate) mod run;
}

use std::time::Instant;

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use model::run::{Operation, Setting, run};

/// The most operations of a run. The rest of the bytes is ignored.
const MOST: usize = 150;

/// The input that the strategies of the test make, here made from bytes.
#[derive(Debug)]
struct Input {
    setting: Setting,
    operations: Vec<(usize, Operation)>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Input> {
        let setting = Setting {
            stream_window: window(u)?,
            connection_window: window(u)?,
            max_data_frame_size: u.int_in_range(1..=64 << 10)?,
            max_concurrent_streams: u.int_in_range(0..=100)?,
        };
        let mut operations = Vec::new();
        while !u.is_empty() && operations.len() < MOST {
            operations.push((u.int_in_range(0..=1)?, operation(u)?));
        }
        Ok(Input { setting, operations })
    }
}

fn window(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match u.int_in_range(0..=3)? {
        0 => 0,
        1 => u.int_in_range(1..=1_000)?,
        2 => u.int_in_range(1_000..=200_000)?,
        _ => 1 << 20,
    })
}

fn operation(u: &mut Unstructured<'_>) -> Result<Operation> {
    let pick = u.int_in_range(0..=7)?;
    Ok(match u.int_in_range(0..=31)? {
        0..=3 => Operation::Head { pick, end: u.ratio(1, 5)? },
        4 => Operation::Inform { pick },
        5..=8 => Operation::Write { pick, len: u.arbitrary()? },
        9..=10 => Operation::Finish { pick, trailers: u.arbitrary()? },
        11..=14 => Operation::Pump { frames: u.int_in_range(1..=5)? },
        15..=20 => Operation::Deliver { len: u.arbitrary()? },
        21..=22 => Operation::Release { pick, len: u.arbitrary()? },
        23 => Operation::Reset { pick },
        24 => Operation::Withdraw { pick },
        25 => Operation::StreamWindow { pick, bytes: window(u)? },
        26 => Operation::ConnectionWindow { bytes: window(u)? },
        27 => Operation::InitialWindow { bytes: window(u)? },
        28 => Operation::MaxStreams { streams: u.int_in_range(0..=9)? },
        29 => Operation::TableSize { bytes: u.int_in_range(0..=4_096)? },
        30 => Operation::Urgency { pick, urgency: u.int_in_range(0..=7)? },
        _ => match u.int_in_range(0..=9)? {
            0 => Operation::GoAway { graceful: u.arbitrary()? },
            1..=3 => Operation::Ping,
            4 => Operation::SettingsAcknowledgement,
            _ => Operation::Pass { millis: u.arbitrary()? },
        },
    })
}

fuzz_target!(|input: Input| run(Instant::now(), &input.setting, &input.operations));
