//! Blocks that were damaged: either both decoders refuse them, or both read the same.

use anyhow::{Result, bail, ensure};
use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Error};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use proptest::{collection, sample};

use crate::lists::{Step, cases, steps};
use crate::peer::{Order, Peer, decoded, encoded, failed};

/// The damage to a block at a position, which is taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(sample::Index, u8),
    Cut(sample::Index),
    Insert(sample::Index, Vec<u8>),
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<sample::Index>;
    // Indices, long integers, updates, ones: bytes that decoders often get wrong.
    let telling = sample::select(vec![0x80, 0xff, 0x7f, 0x3f, 0x20, 0x3e, 0x0f, 0x1f, 0xbe, 0x00]);
    let bytes = collection::vec(prop_oneof![telling, any::<u8>()], 1..6);
    prop_oneof![
        4 => (place(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => place().prop_map(Damage::Cut),
        2 => (place(), bytes.clone()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => bytes.prop_map(Damage::Append),
    ]
}

impl Damage {
    fn to(&self, mut block: Vec<u8>) -> Vec<u8> {
        match self {
            Damage::Flip(at, bit) if !block.is_empty() => {
                let at = at.index(block.len());
                block[at] ^= 1 << bit;
            }
            Damage::Flip(..) => {}
            Damage::Cut(at) => block.truncate(at.index(block.len() + 1)),
            Damage::Insert(at, bytes) => {
                let at = at.index(block.len() + 1);
                block.splice(at..at, bytes.iter().copied());
            }
            Damage::Append(bytes) => block.extend(bytes),
        }
        block
    }
}

/// The damaged blocks that only one of two decoders refuses.
pub(crate) struct Known {
    /// Ours refuses a block with such an error, and the other one accepts it.
    pub(crate) refused_by_us: fn(Error) -> bool,
    /// The other one refuses such a block, and ours accepts it.
    pub(crate) refused_by_them: fn(&[u8]) -> bool,
}

/// Either both decoders refuse a damaged block, or both read the same, apart from known differences.
pub(crate) fn are_equal(peer: &Peer, known: &Known) -> Result<()> {
    let case = |steps: Vec<Step>, damages: Vec<Damage>| {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        let mut blocks: Vec<Vec<u8>> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Block(list) => Some(encoded(&mut encoder, list)),
                Step::Limit(_) => None,
            })
            .collect();
        // The undamaged blocks make entries in the tables. Only the last block is damaged.
        let last = blocks.pop().unwrap_or_default();
        blocks.push(damages.iter().fold(last, |block, damage| damage.to(block)));
        let orders: Vec<_> = blocks.iter().map(|block| Order::Decode(block)).collect();
        for (block, answer) in blocks.iter().zip(peer.play(&orders)?) {
            match (decoded(&mut decoder, block), answer.fields()) {
                (Ok(ours), Ok(theirs)) => ensure!(ours == theirs, "{block:x?}: {ours:?}"),
                (Err(_), Err(_)) => {}
                (Err(ours), Ok(_)) if (known.refused_by_us)(ours) => {}
                (Ok(_), Err(_)) if (known.refused_by_them)(block) => {}
                (ours, theirs) => bail!("{block:x?}: {ours:?}, {theirs:?}"),
            }
        }
        Ok(())
    };
    let input = (steps(), collection::vec(damage(), 1..4));
    let run = |(steps, damages)| case(steps, damages).map_err(failed);
    Ok(TestRunner::new(cases(400)).run(&input, run)?)
}
