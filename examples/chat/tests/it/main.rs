//! The chat from the outside, by its server and its program.

mod members;
mod support;
