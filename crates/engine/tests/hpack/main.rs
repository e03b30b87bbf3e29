//! HPACK beside other implementations of it, which encode for us and decode what we encode.

mod go;
mod h2;
mod lists;
mod peer;
mod python;
mod verdicts;

#[expect(dead_code, reason = "the browser and its scripts are for other tests")]
#[path = "../../../../tests/it/support/tools.rs"]
mod tools;
