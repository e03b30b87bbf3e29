//! Commands that are run by the shell, each with all that it starts: none is to outlive what it is
//! run for.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::{Group, exit, has_reader, shell, unread};
#[cfg(unix)]
pub(crate) use unix::{Group, exit, has_reader, shell, unread};
