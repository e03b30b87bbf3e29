//! How many descriptors this process may have open: the first thing that strangers can use up.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::{limit, raise};
#[cfg(unix)]
pub(crate) use unix::{before, limit, raise};

/// Tunnels at once where the system has no limit of descriptors.
const TUNNELS: usize = 8192;

/// Tunnels that a server has at once by default: half of its descriptors. The others are for its clients' links,
/// and its files.
pub(crate) fn for_tunnels() -> usize {
    match limit() {
        Some(limit) => usize::try_from(limit / 2).unwrap_or(TUNNELS).max(1),
        None => TUNNELS,
    }
}
