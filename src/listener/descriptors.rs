//! The links that the process has file descriptors for.

/// More links than this take a choice of the program's: each has two tasks and the buffers of HTTP/2, whether it is used
/// or not.
pub(super) const MOST: u64 = 10_000;

/// The default of `max_links`: half of the descriptors that the process may have (RLIMIT_NOFILE), at most [`MOST`]. The
/// other half is the program's own, for what its connections lead to.
pub(super) fn max_links() -> usize {
    half_of(limit().unwrap_or(u64::MAX))
}

fn half_of(descriptors: u64) -> usize {
    // Not above `MOST`.
    (descriptors / 2).clamp(1, MOST) as usize
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// Sockets are no descriptors there, and their number has no limit of this kind.
#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_is_for_links() {
        for (descriptors, links) in
            [(0, 1), (1, 1), (128, 64), (1_024, 512), (20_000, 10_000), (u64::MAX, 10_000)]
        {
            assert_eq!(half_of(descriptors), links, "{descriptors}");
        }
    }
}
