//! The engine from outside: input bytes, output bytes, and the events of the visitor.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod cuts;
mod floods;
mod goaway;
mod messages;
mod model;
mod peers;
mod resets;
mod sending;
mod settings;
mod states;
mod support;
mod windows;
