//! A server's link with a connection in use, and a client that sends arbitrary bytes:
//! `tests/it/hostile.rs`.

#![no_main]

#[path = "../../tests/it/hostile"]
#[expect(dead_code, reason = "the other side is the other fuzzer's")]
mod hostile {
    mod peer;
    pub(crate) mod play;
    pub(crate) mod script;
    mod user;
}

#[path = "../../tests/it/support"]
#[expect(dead_code, reason = "the tests need more of it")]
mod support {
    pub(crate) mod raw;
}

use hostile::play::{Side, run};
use hostile::script::Script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: Script| run(Side::Server, &script));
