//! Random operations on a client and a server whose bytes travel in pieces.
//! `fuzz/fuzz_targets/engine.rs` plays the same operations. After each operation the credit must
//! balance. Every byte must arrive once and in order, or its stream was reset and both ends know
//! it.

mod run;

use proptest::prelude::*;

use run::{Operation, Setting, run};

use crate::support::start;

fn operation() -> impl Strategy<Value = Operation> {
    let pick = 0..8_u8;
    let len = prop_oneof![4 => 0..100_u16, 2 => 0..5_000_u16, 1 => any::<u16>()];
    let window = prop_oneof![Just(0), 1..1_000_u32, 1_000..200_000_u32];
    prop_oneof![
        8 => (pick.clone(), prop::bool::weighted(0.2)).prop_map(|(pick, end)| Operation::Head { pick, end }),
        1 => pick.clone().prop_map(|pick| Operation::Inform { pick }),
        12 => (pick.clone(), len.clone()).prop_map(|(pick, len)| Operation::Write { pick, len }),
        3 => (pick.clone(), any::<bool>()).prop_map(|(pick, trailers)| Operation::Finish { pick, trailers }),
        15 => (1..6_u8).prop_map(|frames| Operation::Pump { frames }),
        25 => len.clone().prop_map(|len| Operation::Deliver { len }),
        8 => (pick.clone(), len).prop_map(|(pick, len)| Operation::Release { pick, len }),
        2 => pick.clone().prop_map(|pick| Operation::Reset { pick }),
        1 => pick.clone().prop_map(|pick| Operation::Withdraw { pick }),
        2 => (pick.clone(), window.clone()).prop_map(|(pick, bytes)| Operation::StreamWindow { pick, bytes }),
        1 => window.clone().prop_map(|bytes| Operation::ConnectionWindow { bytes }),
        2 => window.prop_map(|bytes| Operation::InitialWindow { bytes }),
        1 => (0..10_u8).prop_map(|streams| Operation::MaxStreams { streams }),
        1 => prop_oneof![Just(0), 0..200_u16, Just(4_096)].prop_map(|bytes| Operation::TableSize { bytes }),
        1 => (pick, 0..8_u8).prop_map(|(pick, urgency)| Operation::Urgency { pick, urgency }),
        1 => Just(Operation::Ping),
        1 => Just(Operation::SettingsAcknowledgement),
        1 => prop::bool::weighted(0.9).prop_map(|graceful| Operation::GoAway { graceful }),
        1 => any::<u16>().prop_map(|millis| Operation::Pass { millis }),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    let window = || prop_oneof![Just(0), 1..1_000_u32, Just(65_535), Just(1 << 20)];
    let frame = prop_oneof![Just(1), 2..1_000_u32, Just(64 << 10)];
    (window(), window(), frame, prop_oneof![0..4_u32, Just(100)]).prop_map(
        |(stream_window, connection_window, max_data_frame_size, max_concurrent_streams)| Setting {
            stream_window,
            connection_window,
            max_data_frame_size,
            max_concurrent_streams,
        },
    )
}

#[test]
fn credit_balances_and_every_byte_arrives() {
    let cases = if std::env::var_os("H2CONN_LONG").is_some() { 20_000 } else { 300 };
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(
        setting in setting(),
        operations in proptest::collection::vec((0_usize..2, operation()), 0..150),
    )| {
        run(start(), &setting, &operations);
    });
}
