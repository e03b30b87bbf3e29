//! Every fault and attack in the list of `docs/testing.md`. A scripted peer plays it against a
//! victim in a process of its own. Each test checks that the victim's memory stays bounded, that a
//! bystander is served during the attack, that the error is clear, and that nothing is left over.
//! Each prints a line of the same form, `ATTACK | …`. Only `unread` needs no process: it meets limits by
//! their counts.

mod arena;
mod bystander;
mod crowds;
mod ends;
mod floods;
mod headers;
pub(crate) mod peer;
mod resets;
mod servers;
mod strangers;
mod unread;
mod windows;
