//! The free space of a disk.

use std::path::Path;

use cap_std::fs::Dir;

/// The bytes that ordinary users can still write to the file system of `dir`, whose path is `path`.
/// `None` if the system does not tell.
#[cfg(unix)]
pub(crate) fn free(dir: &Dir, _: &Path) -> Option<u64> {
    let system = rustix::fs::fstatvfs(dir).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

/// Windows tells the free space of a path only.
#[cfg(not(unix))]
pub(crate) fn free(_: &Dir, path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}
