//! `h2conn doctor`: the probes of a way to a server, what they find, and what to change. The other end is
//! `h2conn listen --doctor`.

mod advice;
mod patient;
mod probes;
mod service;
mod ways;

pub(crate) use advice::Middlebox;
pub(crate) use patient::{Finding, Grade, Outcome, Patient};
pub(crate) use service::Desk;
pub(crate) use ways::Way;

/// The field of every response of a server with `--doctor`.
const MARK: &str = "h2conn-doctor";

/// The code with which the server resets.
const CODE: u32 = 0xd0c;
