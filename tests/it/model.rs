//! Random operations on both ends of a connection, compared with two plain queues. No byte may be
//! lost, duplicated or reordered, nothing may end that was not ended, and nothing may hang.

mod run;

use proptest::prelude::*;

use crate::support::long;
use run::{Operation, Setting, run};

fn operation() -> impl Strategy<Value = Operation> {
    let size = prop_oneof![4 => 0_usize..100, 2 => 0_usize..5_000, 1 => 0_usize..70_000];
    prop_oneof![
        20 => size.clone().prop_map(Operation::Write),
        5 => size.clone().prop_map(Operation::WriteChunk),
        20 => size.prop_map(Operation::Read),
        5 => Just(Operation::ReadChunk),
        2 => Just(Operation::Flush),
        2 => Just(Operation::Sent),
        1 => Just(Operation::Shutdown),
        1 => Just(Operation::DropReader),
        1 => Just(Operation::DropWriter),
        1 => Just(Operation::Reset),
        2 => any::<bool>().prop_map(Operation::ReadDeadline),
        2 => any::<bool>().prop_map(Operation::WriteDeadline),
        25 => (1_usize..20).prop_map(Operation::Yield),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let window = prop_oneof![Just(1), 2_u32..1_000, Just(65_535), Just(1 << 20)];
    let send_queue = prop_oneof![Just(1), 2_usize..1_000, Just(256 << 10)];
    let pipe = prop_oneof![1_usize..100, Just(16 << 10), Just(1 << 20)];
    (window, send_queue, pipe, 1_usize..4_096)
        .prop_map(|(window, send_queue, pipe, step)| Setting { window, send_queue, pipe, step })
}

#[test]
fn random_operations_agree_with_two_plain_queues() {
    let cases = if long() { 20_000 } else { 300 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        setting in setting(),
        operations in proptest::collection::vec((0_usize..2, operation()), 0..100),
    )| {
        run(&setting, &operations);
    });
}
