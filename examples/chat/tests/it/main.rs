//! The chat from the outside, by its server and its program.

mod client;
mod load;
mod members;
mod support;
mod web;
