//! `h2conn doctor`: the probes of a way to a server, what they find, and what to change. The other end is
//! `h2conn::doctor`, in `h2conn listen --doctor` or in a server of the user's own.

mod advice;
mod patient;
mod probes;
mod ways;

pub(crate) use advice::Middlebox;
pub(crate) use patient::{Finding, Grade, Outcome, Patient};
pub(crate) use ways::Way;
