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
use play::{Side, run};
use script::Script;

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
