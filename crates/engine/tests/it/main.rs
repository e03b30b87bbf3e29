//! The engine from outside: bytes in, bytes out, and what the visitor hears.

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
