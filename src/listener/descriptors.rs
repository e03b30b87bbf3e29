//! The number of links that the process has file descriptors for.

/// A program must choose a higher limit itself: each link has two tasks and the buffers of HTTP/2,
/// used or not.
pub(super) const MOST: u64 = 10_000;

/// The default of `max_links`: half of the descriptors that the process may have (RLIMIT_NOFILE),
/// at most [`MOST`]. The other half is for the program's own files and sockets.
pub(super) fn max_links() -> usize {
    half_of(limit().unwrap_or(u64::MAX))
}

fn half_of(descriptors: u64) -> usize {
    // Not above `MOST`, so the value fits.
    (descriptors / 2).clamp(1, MOST) as usize
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// Sockets are no descriptors on this system, and have no limit of this kind.
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
