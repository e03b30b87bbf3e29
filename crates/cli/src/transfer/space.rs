//! The free space of a disk.

use std::path::Path;

use cap_std::fs::Dir;

/// The bytes that ordinary users can still write to the file system of `dir`, whose path is `path`.
/// `None` if the system does not tell.
#[cfg(unix)]
pub(crate) fn free(dir: &Dir, _: &Path) -> Option<u64> {
    let system = of(dir)?;
    system.f_bavail.checked_mul(system.f_frsize)
}

/// Like [`free`], for this process: root can also write to the blocks that a file system reserves.
#[cfg(unix)]
pub(crate) fn usable(dir: &Dir, path: &Path) -> Option<u64> {
    if !rustix::process::geteuid().is_root() {
        return free(dir, path);
    }
    let system = of(dir)?;
    system.f_bfree.checked_mul(system.f_frsize)
}

/// Some file systems have no size: ramfs, tmpfs without a limit, and some of FUSE.
#[cfg(unix)]
fn of(dir: &Dir) -> Option<rustix::fs::StatVfs> {
    rustix::fs::fstatvfs(dir).ok().filter(|system| system.f_blocks > 0)
}

/// Windows tells the free space of a path only.
#[cfg(not(unix))]
pub(crate) fn free(_: &Dir, path: &Path) -> Option<u64> {
    fs4::available_space(path).ok()
}

#[cfg(not(unix))]
pub(crate) use free as usable;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use cap_std::ambient_authority;

    use super::*;

    /// Like ramfs, this file system of the kernel's has no size.
    #[test]
    fn a_file_system_without_a_size_is_not_full() {
        let dir = Dir::open_ambient_dir("/proc", ambient_authority()).unwrap();
        assert_eq!(free(&dir, Path::new("/proc")), None);
        assert_eq!(usable(&dir, Path::new("/proc")), None);
    }

    #[test]
    fn this_process_can_write_as_much_as_all_can() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        let (free, usable) = (free(&dir, temp.path()), usable(&dir, temp.path()));
        // Other programs may write between the two measurements.
        assert!(free.is_none_or(|free| usable.is_some_and(|usable| usable >= free / 2)));
    }
}
