//! How many descriptors this process may have open. Clients can use these up before any other
//! resource.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use other::{limit, raise};
#[cfg(unix)]
pub(crate) use unix::{before, limit, raise};

/// The default limit of tunnels where the system has no limit of descriptors, at either end.
const TUNNELS: u64 = 8192;

/// The largest default limit of files that are sent and received at once.
const TRANSFERS: u64 = 1024;

/// The default limit of tunnels of a server: three eighths of its descriptors. The library takes
/// half of them for the clients' links (HTTP/2 connections).
pub(crate) fn for_tunnels() -> usize {
    at_least_one(limit().map_or(TUNNELS, |limit| limit / 8 * 3))
}

/// The default limit of files that a server sends and receives at once. A file has up to two
/// descriptors, so a sixteenth of their number takes an eighth of the descriptors.
pub(crate) fn for_transfers() -> usize {
    at_least_one(limit().map_or(TRANSFERS, |limit| (limit / 16).min(TRANSFERS)))
}

/// The default limit of connections to the listeners of `forward -L` and `-D`: half of the
/// descriptors. The other half is for links, and for the targets of `-R`.
pub(crate) fn for_connections() -> usize {
    at_least_one(limit().map_or(TUNNELS, |limit| limit / 2))
}

fn at_least_one(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).max(1)
}
