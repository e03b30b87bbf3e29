#[path = "../../../../tests/it/support/document.rs"]
mod document;

use std::collections::HashMap;
use std::time::Duration;

use super::*;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test says what time it is")]
    Instant::now()
}

/// The number of such frames that a new connection accepts, as far as the table bounds it.
fn most(row: Row, cost: u32) -> u32 {
    let (mut limits, now) = (Limits::new(), start());
    let mut count = 0;
    while limits.spend(row, cost, now).is_ok() {
        count += 1;
        assert!(count < 1_000_000, "{row:?} has no end");
    }
    count
}

#[test]
fn every_type_with_every_flag_has_a_row_a_cost_and_an_end() {
    let mut known = HashMap::new();
    for at_server in [true, false] {
        for kind in 0..=255_u8 {
            for flags in 0..=255_u8 {
                for len in [0, 8, 16_384] {
                    let weight = Weight { kind, flags, len, at_server };
                    let (row, cost) = match weight.cost() {
                        Cost::Of(row, cost) => (row, cost),
                        Cost::Answer => (Row::Unasked, 1),
                        // Other rules end these, as `tests/floods.rs` tests: a window, a place
                        // among the streams, or an error at once.
                        Cost::Window => {
                            assert!(kind == 0 && (len > 0 || flags & 1 != 0));
                            continue;
                        }
                        Cost::Place => {
                            assert!(kind == 1 && at_server);
                            continue;
                        }
                        Cost::Error => {
                            assert_eq!(kind, 5);
                            continue;
                        }
                    };
                    let count = *known.entry((row as u8, cost)).or_insert_with(|| most(row, cost));
                    assert!((4..=20_000).contains(&count), "{weight:?}: {count}");
                }
            }
        }
    }
}

#[test]
fn a_frame_whose_payload_is_parsed_costs_more_the_longer_it_is() {
    let most_of = |kind, len| match (Weight { kind, flags: 0, len, at_server: true }).cost() {
        Cost::Of(row, cost) => most(row, cost),
        cost => panic!("{cost:?}"),
    };
    for kind in [0x4, 0x10] {
        let stock = most_of(kind, 6);
        // Ten settings, or a priority with parameters that are not known, cost no more.
        assert_eq!(most_of(kind, 63), stock, "{kind:#x}");
        // All frames that are as long as they may be together have less than a MiB.
        let longest = most_of(kind, 16_384);
        assert!((4..=60).contains(&longest), "{kind:#x}: {longest}");
    }
}

#[test]
fn no_row_is_without_a_frame_or_a_name() {
    let mut rows = vec![Row::Unasked, Row::StreamErrors, Row::DeadData, Row::Heads];
    for kind in 0..=255_u8 {
        let weight = Weight { kind, flags: 0, len: 0, at_server: true };
        if let Cost::Of(row, _) = weight.cost()
            && !rows.contains(&row)
        {
            rows.push(row);
        }
    }
    assert_eq!(rows.len(), ROWS.len());
    for row in rows {
        assert_eq!(Limits::new().spend(row, u32::MAX, start()), Err(TooMany(ROWS[row as usize].0)));
    }
}

#[test]
fn a_peer_may_acknowledge_every_byte_that_it_gets() {
    let (mut limits, now) = (Limits::new(), start());
    for _ in 0..1_000_000 {
        limits.sent(1);
        assert_eq!(limits.spend(Row::WindowUpdates, 1, now), Ok(()));
        assert_eq!(limits.spend(Row::WindowUpdates, 1, now), Ok(()));
    }
}

#[test]
fn a_peer_may_acknowledge_all_bytes_late_and_no_more_than_that() {
    let (mut limits, now) = (Limits::new(), start());
    for _ in 0..1_000_000 {
        limits.sent(1);
    }
    let count = |limits: &mut Limits| {
        (0..).take_while(|_| limits.spend(Row::WindowUpdates, 1, now).is_ok()).count()
    };
    assert_eq!(count(&mut limits), 2_020_000);
    limits.sent(1 << 40);
    assert_eq!(count(&mut limits), 4 << 20, "what is due is bounded");
}

#[test]
fn a_flood_ends_also_when_it_is_slow_and_lasts() {
    let (mut limits, mut now) = (Limits::new(), start());
    let mut count = 0;
    while limits.spend(Row::Pings, 1, now).is_ok() {
        count += 1;
        now += Duration::from_micros(300);
    }
    // 10,000 in stock, 2,000 each second: 3,333 a second run out of it within 8 seconds.
    assert!((15_000..30_000).contains(&count), "{count}");
}

#[test]
fn the_limits_of_the_document_are_those_of_the_table() {
    let number = |number: u32| match number >> 20 {
        0 => document::number(number.into()),
        mebi => format!("{mebi} Mi"),
    };
    let mut right = "| what | in stock | more each second |\n|---|---|---|\n".to_owned();
    for (name, Size { most, per_second }) in ROWS {
        right += &format!("| {name} | {} | {} |\n", number(most), number(per_second));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../SECURITY.md");
    document::compare(path, "limits of frames: crates/engine/src/limits/tests.rs", &right);
}
