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
const TUNNELS: u64 = 8192;

/// Files that are sent and received at once by default, where there are descriptors for them.
const TRANSFERS: u64 = 1024;

/// Tunnels that a server has at once by default: three eighths of its descriptors. The library takes half for the
/// clients' links.
pub(crate) fn for_tunnels() -> usize {
    at_least_one(limit().map_or(TUNNELS, |limit| limit / 8 * 3))
}

/// Files that a server sends and takes at once by default. One has up to two descriptors, so that a sixteenth of
/// their number takes an eighth of them.
pub(crate) fn for_transfers() -> usize {
    at_least_one(limit().map_or(TRANSFERS, |limit| (limit / 16).min(TRANSFERS)))
}

fn at_least_one(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}
