//! Every fault and attack of the list in `docs/testing.md`, by a scripted peer, against a victim in
//! a process of its own: its memory stays bounded, a bystander is served meanwhile, a clear error
//! comes out, and nothing is left over. Each test prints a line of the same form, `ATTACK | …`.

mod arena;
mod ends;
mod floods;
mod headers;
pub(crate) mod peer;
mod resets;
mod servers;
mod strangers;
mod windows;
