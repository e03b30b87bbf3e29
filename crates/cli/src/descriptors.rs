//! How many descriptors this process may have open: the first thing that strangers can use up.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::raise;
#[cfg(unix)]
pub(crate) use unix::{before, raise};
