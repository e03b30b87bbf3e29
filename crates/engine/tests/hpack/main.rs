//! HPACK compared with other implementations, which encode blocks for us and decode ours.

mod go;
mod h2;
mod lists;
mod peer;
mod python;
mod verdicts;

#[expect(dead_code, reason = "the browser and its scripts are for other tests")]
#[path = "../../../../tests/it/support/tools.rs"]
mod tools;
