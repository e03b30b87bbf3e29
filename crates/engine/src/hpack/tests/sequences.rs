//! Sequences of blocks and of limits, through an encoder and a decoder.

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::{collection, sample};

use super::{decoded, encoded, fields};
use crate::hpack::{Decoder, Encoder, Field, Indexing};

#[derive(Clone, Debug)]
enum Step {
    Block(Vec<(Vec<u8>, Vec<u8>, Indexing)>),
    Limit(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => collection::vec(field(), 0..20).prop_map(Step::Block),
        1 => limit().prop_map(Step::Limit),
    ]
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![0..300_u32, 0..5000_u32, Just(4096), Just(u32::MAX)]
}

/// Names and values, many of which are equal in part or in whole.
fn field() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, Indexing)> {
    let names = [":method", ":path", ":status", "accept-encoding", "x-a", "x-b", "x-trace-id", ""];
    let values =
        ["GET", "/", "200", "", "x", "a longer value, to be found once more", "\0\n\u{ff}"];
    let how = [Indexing::Index, Indexing::Index, Indexing::Without, Indexing::Never];
    let some = |texts: &[&str]| -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    };
    (
        prop_oneof![8 => sample::select(some(&names)), 1 => any::<Vec<u8>>()],
        prop_oneof![
            8 => sample::select(some(&values)),
            4 => "[a-z0-9/]{0,12}".prop_map(String::into_bytes),
            1 => collection::vec(any::<u8>(), 0..3000),
        ],
        sample::select(how.to_vec()),
    )
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(steps in collection::vec(step(), 0..30)) {
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
        for step in steps {
            match step {
                Step::Limit(limit) => {
                    encoder.set_limit(limit);
                    decoder.set_limit(limit);
                }
                Step::Block(list) => {
                    let mut block = Vec::new();
                    encoder.begin(&mut block);
                    for (name, value, how) in &list {
                        encoder.field(name, value, *how, &mut block);
                    }
                    let mut rest = list.iter();
                    let mut sink = |field: Field<'_>| {
                        let (name, value, how) = rest.next().expect("as many fields");
                        let never_indexed = *how == Indexing::Never;
                        assert_eq!(field, Field { name, value, never_indexed });
                    };
                    prop_assert_eq!(decoder.decode(&block, &mut sink), Ok(()));
                    prop_assert_eq!(rest.len(), 0);
                    prop_assert_eq!(decoder.entries(), encoder.entries());
                }
            }
        }
    }

    #[test]
    fn a_list_that_fits_takes_two_bytes_a_field_the_next_time(
        list in collection::vec(("[a-z-]{1,20}", "[ -~]{0,12}"), 0..50),
    ) {
        // 50 fields of at most 64 bytes.
        let list: Vec<_> = list.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut encoder = Encoder::new();
        encoded(&mut encoder, &list);
        prop_assert!(encoded(&mut encoder, &list).len() <= 2 * list.len());
    }
}

#[test]
fn no_table_keeps_what_may_not_be_kept() {
    let mut encoder = Encoder::new();
    for how in [Indexing::Without, Indexing::Never] {
        let mut blocks = HashSet::new();
        for _ in 0..3 {
            let mut block = Vec::new();
            encoder.begin(&mut block);
            encoder.field(b"authorization", b"Basic Og==", how, &mut block);
            encoder.field(b"x-key", b"secret", how, &mut block);
            blocks.insert(block);
        }
        assert_eq!(blocks.len(), 1);
        assert_eq!(encoder.entries(), []);
    }
}

#[test]
fn a_secret_is_a_literal_even_if_a_table_has_it() {
    let mut encoder = Encoder::new();
    encoded(&mut encoder, &[("x-key", "secret")]);
    let mut block = Vec::new();
    encoder.field(b"x-key", b"secret", Indexing::Never, &mut block);
    encoder.field(b":method", b"GET", Indexing::Never, &mut block);
    // The names as indices, which tell nothing of the values. Plain text where the code saves
    // nothing.
    assert_eq!(block, b"\x1f\x2f\x84\x41\x49\x61\x53\x12\x03GET");
}

#[test]
fn a_changed_limit_is_told_once_at_the_beginning_of_the_next_block() {
    for (limits, told) in [
        (&[4096][..], &[][..]),
        (&[65_536], &[]),
        (&[100], &[0x3f, 0x45]),
        (&[0], &[0x20]),
        (&[0, 0], &[0x20]),
        (&[100, 20], &[0x34]),
        (&[20, 100], &[0x34, 0x3f, 0x45]),
        (&[20, 0, 100], &[0x20, 0x3f, 0x45]),
        (&[20, 4096], &[0x34, 0x3f, 0xe1, 0x1f]),
        (&[20, 65_536], &[0x34, 0x3f, 0xe1, 0x1f]),
    ] {
        let mut encoder = Encoder::new();
        for &limit in limits {
            encoder.set_limit(limit);
        }
        assert_eq!(encoded(&mut encoder, &[(":method", "GET")]), [told, &[0x82]].concat());
        assert_eq!(encoded(&mut encoder, &[(":method", "GET")]), [0x82]);
    }
}

#[test]
fn a_raised_limit_is_told_by_itself() {
    let mut encoder = Encoder::new();
    encoder.set_limit(20);
    encoded(&mut encoder, &[]);
    encoder.set_limit(100);
    assert_eq!(encoded(&mut encoder, &[]), [0x3f, 0x45]);
}

#[test]
fn a_field_above_half_of_the_table_evicts_nothing() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let (half, above) = ("x".repeat(2048 - 33), "x".repeat(2048 - 32));
    for (value, entries) in [(&half, 1), (&above, 1), (&half, 1), (&above, 1)] {
        let list = [("a", &**value)];
        let block = encoded(&mut encoder, &list);
        assert_eq!(decoded(&mut decoder, &block), Ok(fields(&list)));
        assert_eq!(decoder.entries().len(), entries);
    }
}

#[test]
fn entries_are_found_after_their_numbers_have_come_round() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new(4096);
    for round in 0..70_000 {
        let value = round.to_string();
        let block = encoded(&mut encoder, &[("n", &value), ("often", "used")]);
        let list = fields(&[("n", &value), ("often", "used")]);
        assert_eq!(decoded(&mut decoder, &block), Ok(list));
        assert!(encoded(&mut encoder, &[("n", &value)]).len() == 1, "round {round}");
    }
}
