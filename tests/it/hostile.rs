//! Peers that send arbitrary frames and bytes, while the user performs arbitrary operations. The
//! fuzzers in `fuzz/` play the same scripts. Here the scripts are random, and failures shrink.

mod peer;
mod play;
mod script;
mod user;

use std::cell::Cell;
use std::panic;
use std::sync::Once;

use arbitrary::{Arbitrary, Unstructured};
use proptest::prelude::*;

use crate::support::long;
use crate::support::raw::{DATA, END_STREAM, PADDED};
use play::{Side, run};
use script::{Script, Setting, Step};

/// Fails if anything panics on this thread during the test. The runtime would otherwise hide the
/// panic of a task.
fn without_panics(test: impl FnOnce()) {
    thread_local! {
        static PANICS: Cell<usize> = const { Cell::new(0) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            before(info);
        }));
    });
    PANICS.set(0);
    test();
    assert_eq!(PANICS.get(), 0, "a task has panicked");
}

fn script() -> impl Strategy<Value = Script> {
    proptest::collection::vec(any::<u8>(), 0..1_000)
        .prop_map(|bytes| Script::arbitrary(&mut Unstructured::new(&bytes)).expect("any will do"))
}

fn random_scripts(side: Side) {
    let cases = if long() { 20_000 } else { 100 };
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 500,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(script in script())| without_panics(|| run(side, &script)));
}

#[test]
fn no_server_makes_a_client_panic_hang_or_forget_an_operation() {
    random_scripts(Side::Client);
}

#[test]
fn no_client_makes_a_server_panic_hang_or_forget_an_operation() {
    random_scripts(Side::Server);
}

/// A fuzzer has found the padded one of them.
#[test]
fn a_frame_that_never_becomes_complete_is_read_as_far_as_it_has_come() {
    let begun = [0, 1, 0, DATA, 0, 0, 0, 0, 1, b'a', b'b'];
    let padded = [0, 0, 10, DATA, PADDED | END_STREAM, 0, 0, 0, 1, 3, b'a', b'b', b'c', b'd'];
    for frame in [&begun[..], &padded, &[&padded[..], b"efpa"].concat()] {
        for side in [Side::Client, Side::Server] {
            let steps = vec![Step::Bytes(frame.to_vec())];
            let (setting, answered, half_closed) = (Setting::default(), true, true);
            without_panics(|| run(side, &Script { setting, answered, steps, half_closed }));
        }
    }
}
