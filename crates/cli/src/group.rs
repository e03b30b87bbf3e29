//! Shell commands with all processes that they start. None of these processes may outlive the task
//! that the command runs for.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Group, exit, has_reader, shell, unread};
#[cfg(windows)]
pub(crate) use windows::{Group, exit, has_reader, shell, unread};
