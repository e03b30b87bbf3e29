//! The chat from outside, through its server and its program.

mod client;
mod load;
mod members;
mod support;
mod web;
