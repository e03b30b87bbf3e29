//! Shell commands with all processes that they start. None of these processes may outlive the task
//! that the command runs for.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::{Group, exit, has_reader, shell, unread};
#[cfg(unix)]
pub(crate) use unix::{Group, exit, has_reader, shell, unread};
