//! Removes partial files that no transfer continues.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{Dir, Metadata, OpenOptions};

use super::lock::Locked;
use super::{SUFFIX, is_of};

/// The number of removed files, their bytes, and the files that are left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) left: Vec<Found>,
}

/// A partial file that stays, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) key: Key,
    pub(crate) len: u64,
}

/// The identity of a file, whatever its name: the device and the inode.
pub(crate) type Key = (u64, u64);

pub(crate) fn key_of(file: &File) -> io::Result<Key> {
    let metadata = Metadata::from_file(file)?;
    Ok((MetadataExt::dev(&metadata), MetadataExt::ino(&metadata)))
}

/// Removes the partial files beneath `dir` that were last written to before the time `before`,
/// unless a transfer holds one, or it must stay for another reason. If `before` is `None`, all of them stay. Hidden
/// directories are skipped, because no file in them is served. Blocks.
pub(crate) fn sweep(
    dir: &Dir,
    before: Option<SystemTime>,
    must_stay: impl Fn(&File) -> bool,
) -> Swept {
    let mut swept = Swept::default();
    let mut dirs = vec![PathBuf::from(".")];
    while let Some(path) = dirs.pop() {
        // If one directory cannot be read, or has just been removed, continue with the others.
        let Ok(there) = dir.open_dir(&path) else { continue };
        let Ok(entries) = there.entries() else { continue };
        for entry in entries.flatten() {
            let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
            let bytes = name.as_encoded_bytes();
            if kind.is_dir() && !bytes.starts_with(b".") {
                dirs.push(path.join(name));
            } else if kind.is_file()
                && bytes.ends_with(SUFFIX.as_bytes())
                && let Ok((found, is_removed)) = look(&there, name.as_ref(), before, &must_stay)
            {
                match is_removed {
                    true => {
                        swept.files += 1;
                        swept.bytes += found.len;
                    }
                    false => swept.left.push(found),
                }
            }
        }
    }
    swept
}

/// Checks one partial file, and removes it if it is old. Returns whether it was removed.
fn look(
    dir: &Dir,
    name: &Path,
    before: Option<SystemTime>,
    must_stay: impl Fn(&File) -> bool,
) -> io::Result<(Found, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let file: File = dir.open_with(name, &options)?.into_std();
    let is_old = |metadata: &Metadata| -> io::Result<bool> {
        let modified = metadata.modified()?.into_std();
        Ok(metadata.is_file() && before.is_some_and(|before| modified < before))
    };
    let metadata = Metadata::from_file(&file)?;
    let found = Found { key: key_of(&file)?, len: metadata.len() };
    if !is_old(&metadata)? || must_stay(&file) {
        return Ok((found, false));
    }
    let Ok(file) = Locked::try_new(file) else { return Ok((found, false)) };
    // Check again with the lock, because a transfer may have written to it, or finished it. A file
    // with two names is whole under the other name, and takes no space.
    let metadata = Metadata::from_file(&file)?;
    if !is_old(&metadata)? || metadata.nlink() != 1 || !is_of(dir, name.as_os_str(), &file) {
        return Ok((found, false));
    }
    dir.remove_file(name)?;
    Ok((found, true))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::fs;
    use std::time::Duration;

    use cap_std::ambient_authority;

    use super::super::Partial;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn old_partial_files_go_and_all_else_stays() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        let now = SystemTime::now();
        let write = |name: &str, age: Duration| {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "bytes").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(now - age).unwrap();
            path
        };
        let goes = [write("a.h2conn-part", HOUR * 2), write("sub/deep/b.h2conn-part", HOUR * 2)];
        let mut stays = vec![
            write("young.h2conn-part", HOUR / 2),
            write("whole", HOUR * 2),
            write("h2conn-part", HOUR * 2),
            write(".hidden/c.h2conn-part", HOUR * 2),
            write("busy.h2conn-part", HOUR * 2),
            write("linked.h2conn-part", HOUR * 2),
        ];
        let other = temp.path().join("linked");
        fs::hard_link(&stays[5], &other).unwrap();
        stays.push(other);
        let busy = Partial::open(dir.try_clone().unwrap(), "busy".as_ref(), None).unwrap();
        let swept = sweep(&dir, Some(now - HOUR), |_| false);
        assert_eq!((swept.files, swept.bytes), (2, 10));
        // The hidden file is not counted.
        assert_eq!(swept.left.len(), 3);
        assert!(swept.left.iter().all(|found| found.len == 5));
        for path in &goes {
            assert!(!path.exists(), "{}", path.display());
        }
        for path in &stays {
            assert!(path.exists(), "{}", path.display());
        }
        drop(busy);
        assert_eq!(sweep(&dir, None, |_| false).files, 0);
        assert_eq!(sweep(&dir, Some(now - HOUR), |_| true).files, 0);
        assert_eq!(sweep(&dir, Some(now - HOUR), |_| false).files, 1);
    }

    #[cfg(unix)]
    #[test]
    fn no_link_is_followed() {
        let temp = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("x.h2conn-part"), "").unwrap();
        std::os::unix::fs::symlink(outside.path(), temp.path().join("dir")).unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        assert_eq!(sweep(&dir, Some(SystemTime::now() + HOUR), |_| false), Swept::default());
        assert!(outside.path().join("x.h2conn-part").exists());
    }
}
