//! HPACK compared with other implementations, which encode blocks for us and decode ours.

mod go;
mod h2;
mod lists;
mod peer;
mod python;
mod verdicts;

#[path = "../../../../tests/it/support/tools.rs"]
mod tools;
