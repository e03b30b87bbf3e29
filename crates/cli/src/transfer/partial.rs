//! A file that is being received. It lies beside the place of the finished file.

mod lock;
mod name;
mod sweep;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use cap_fs_ext::{FollowSymlinks, MetadataExt, OpenOptionsFollowExt, OpenOptionsSyncExt};
use cap_std::fs::{Dir, Metadata, OpenOptions};
use fs4::TryLockError;
use same_file::Handle;

use super::access::{Access, Mode, give_new, give_owner, is_of_another_user, make_private};
use super::digest::Hasher;
use super::kind;
use super::space;
use crate::report::say;
use lock::Locked;

pub(crate) use name::SUFFIX;
pub(crate) use sweep::{Found, Key, Swept, key_of, sweep};

/// `NAME.h2conn-part`, open and locked. It stays when this is dropped, unless it is empty, so that
/// the transfer can continue from it.
#[derive(Debug)]
pub(crate) struct Partial {
    dir: Dir,
    name: OsString,
    partial: OsString,
    file: Locked,
    replaced: Option<Access>,
}

/// Another process or task holds the partial file. This one can have it when the other one has
/// ended.
#[derive(Debug)]
pub(crate) struct Busy(String);

impl Partial {
    /// Opens or creates the partial file for `name`, a file name without directories, in `dir`.
    ///
    /// Users who cannot read the file that is `replaced` can never read the partial file either. If
    /// no file is replaced, only the owner can read it until it is whole. A file that another user
    /// has made in its place is refused.
    ///
    /// # Errors
    ///
    /// [`Busy`]; if a file in its place does not belong to this program; and errors of the system.
    pub(crate) fn open(dir: Dir, name: &OsStr, replaced: Option<Access>) -> Result<Partial> {
        let partial = name::of(name);
        let shown = partial.to_string_lossy().into_owned();
        let mut is_removed = false;
        loop {
            // Check this before opening: to open some devices has effects.
            if let Ok(there) = dir.symlink_metadata(&partial) {
                plain(&there, &shown)?;
            }
            let open = |is_new: bool| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(is_new);
                // Another file may have taken its place since that check.
                options.follow(FollowSymlinks::No).nonblock(true);
                make_private(&mut options);
                dir.open_with(&partial, &options).map(cap_std::fs::File::into_std)
            };
            let (opened, is_new) = match open(true) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (open(false), false),
                opened => (opened, true),
            };
            let file = match opened {
                // The transfer that had it has just ended.
                Err(error) if !is_new && error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.with_context(|| format!("cannot open {shown}"))?,
            };
            plain(&Metadata::from_file(&file)?, &shown)?;
            let file = match Locked::try_new(file) {
                Ok(file) => file,
                Err(TryLockError::WouldBlock) => bail!(Busy(shown)),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {shown}"));
                }
            };
            // The transfer that held the lock before may have finished. Then this is the whole
            // file, and must not be written to.
            let is_same = match open(false) {
                Ok(now) => same(&file, now)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => return Err(error).with_context(|| format!("cannot open {shown}")),
            };
            if !is_same {
                continue;
            }
            let metadata = Metadata::from_file(&file)?;
            // Check this only with the lock: a transfer that finishes has two names for a moment.
            match metadata.nlink() {
                0 | 1 => {}
                // A transfer was killed in that moment. The file is whole, and has its name.
                2 if is_of(&dir, name, &file) => {
                    let removed = dir.remove_file(&partial);
                    removed.with_context(|| format!("cannot remove {shown}"))?;
                    continue;
                }
                links => bail!(
                    "{shown} is there under {links} names (hard links), and the file must not \
                     change under the others; remove {shown}"
                ),
            }
            // On some file systems all files belong to one user, also new ones.
            if !is_new && is_of_another_user(&metadata, replaced) {
                bail!(
                    "{shown} belongs to another user, who could read and change what comes, and is \
                     not touched; remove it"
                );
            }
            match replaced {
                // Narrowing its access would not be enough, because another user can have it open.
                // Remove it only once, because on some file systems all files are equally open.
                Some(replaced) if !is_removed && replaced.is_exceeded_by(&metadata) => {
                    let removed = dir.remove_file(&partial);
                    removed.with_context(|| format!("cannot remove {shown}"))?;
                    is_removed = true;
                    if metadata.len() > 0 {
                        let name = name.to_string_lossy();
                        say(format_args!(
                            "{shown} could be read by users who cannot read {name}: it was removed, \
                             and all is fetched"
                        ));
                    }
                    continue;
                }
                Some(replaced) => replaced.give_partial(&file),
                None => give_owner(&file),
            }
            return Ok(Partial { dir, name: name.to_owned(), partial, file, replaced });
        }
    }

    /// The number of bytes so far.
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// The bytes that this process can still write to the file's disk. `path` is the file's.
    pub(crate) fn free(&self, path: &Path) -> Option<u64> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        space::usable(&self.dir, folder.unwrap_or(Path::new(".")))
    }

    /// Digests the bytes so far. Blocks. The position of all handles is then at the end.
    pub(crate) fn hash(&self) -> io::Result<Hasher> {
        Hasher::of_start(&self.file, u64::MAX)
    }

    /// Drops the bytes so far.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        (&**self.file).rewind()
    }

    /// The file. All handles share its position.
    pub(crate) fn handle(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Makes it the finished file. If its bytes are on the device, the file survives a power
    /// failure. Without `replace`, an existing file stays. A file that is replaced passes its
    /// access on to this one. A new file has the bits that its sender `said`.
    ///
    /// # Errors
    ///
    /// If there already is a file and `replace` is not set, and errors of the system.
    pub(crate) fn finish(self, replace: bool, said: Option<Mode>) -> Result<()> {
        self.take_access(replace, said)?;
        self.take_name(replace)?;
        sync(&self.dir).with_context(|| {
            format!("{} is whole, but its name may not be on the disk", self.name.to_string_lossy())
        })
    }

    fn take_access(&self, replace: bool, said: Option<Mode>) -> Result<()> {
        // Check the file as it is now: a transfer can take hours.
        let replaced = match self.dir.symlink_metadata(&self.name) {
            Ok(there) if replace => {
                let name = self.name.to_string_lossy();
                if !there.is_file() {
                    bail!(
                        "{name} has become {}, and is not replaced",
                        kind::name(there.file_type())
                    );
                }
                Some(Access::of(&there))
            }
            _ => self.replaced,
        };
        match replaced {
            Some(replaced) => replaced.give(&self.file),
            None => give_new(&self.file, said),
        }
        Ok(())
    }

    fn take_name(&self, replace: bool) -> Result<()> {
        let name = self.name.to_string_lossy();
        if replace {
            return self
                .dir
                .rename(&self.partial, &self.dir, &self.name)
                .with_context(|| format!("cannot replace {name}"));
        }
        // Only making a link fails by itself if a file exists.
        match self.dir.hard_link(&self.partial, &self.dir, &self.name) {
            Ok(()) => self
                .dir
                .remove_file(&self.partial)
                .with_context(|| format!("{name} is whole, but the partial file stays")),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{name} is there already, since the transfer began")
            }
            // Some file systems have no links.
            Err(_) if self.dir.symlink_metadata(&self.name).is_err() => self
                .dir
                .rename(&self.partial, &self.dir, &self.name)
                .with_context(|| format!("cannot name {name}")),
            Err(error) => Err(error).with_context(|| format!("cannot name {name}")),
        }
    }

    /// Drops the bytes, because they are useless.
    pub(crate) fn discard(self) -> io::Result<()> {
        self.clear()
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another transfer has {}", self.0)
    }
}

impl std::error::Error for Busy {}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.len().is_ok_and(|len| len == 0) && is_of(&self.dir, &self.partial, &self.file) {
            // A file that cannot be removed does no harm.
            let _ = self.dir.remove_file(&self.partial);
        }
    }
}

/// Fails if it is not a regular file.
fn plain(there: &Metadata, shown: &str) -> Result<()> {
    if !there.is_file() {
        let kind = kind::name(there.file_type());
        bail!("{shown} is there and no plain file, but {kind}, which is not touched; remove it");
    }
    Ok(())
}

/// Whether this file has this name.
fn is_of(dir: &Dir, name: &OsStr, file: &File) -> bool {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No).nonblock(true);
    let there = dir.open_with(name, &options);
    there.is_ok_and(|there| same(file, there.into_std()).unwrap_or(false))
}

/// Waits until the names in a directory are on the device.
fn sync(dir: &Dir) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    match dir.open(".").and_then(|dir| dir.sync_all()) {
        // Some file systems cannot do this, and some directories can be written to but not read.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

fn same(one: &File, other: File) -> io::Result<bool> {
    Ok(Handle::from_file(one.try_clone()?)? == Handle::from_file(other)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::fs;
    use std::io::Write;

    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    fn place() -> (TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open_ambient_dir(temp.path(), ambient_authority()).unwrap();
        (temp, dir)
    }

    fn open(dir: &Dir) -> Result<Partial> {
        Partial::open(dir.try_clone().unwrap(), "file".as_ref(), None)
    }

    #[test]
    fn what_has_come_is_there_the_next_time_and_becomes_the_file() {
        let (temp, dir) = place();
        open(&dir).unwrap().handle().as_ref().write_all(b"first ").unwrap();
        let partial = open(&dir).unwrap();
        assert_eq!(partial.hash().unwrap().len(), 6);
        partial.handle().as_ref().write_all(b"second").unwrap();
        partial.finish(false, None).unwrap();
        assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"first second");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_left_over_of_what_never_began() {
        let (temp, dir) = place();
        drop(open(&dir).unwrap());
        let partial = open(&dir).unwrap();
        partial.handle().as_ref().write_all(b"worthless").unwrap();
        assert_eq!(partial.hash().unwrap().len(), 9);
        partial.discard().unwrap();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_there_is_replaced_only_when_that_is_asked_for() {
        let (temp, dir) = place();
        fs::write(temp.path().join("file"), "precious").unwrap();
        let partial = open(&dir).unwrap();
        partial.handle().as_ref().write_all(b"new").unwrap();
        assert!(partial.finish(false, None).unwrap_err().to_string().contains("already"));
        assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"precious");
        open(&dir).unwrap().finish(true, None).unwrap();
        assert_eq!(fs::read(temp.path().join("file")).unwrap(), b"new");
    }

    #[test]
    fn two_transfers_of_one_file_do_not_write_to_each_others() {
        let (_temp, dir) = place();
        let one = open(&dir).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(error.is::<Busy>(), "{error}");
        drop(one);
        open(&dir).unwrap();
    }

    #[test]
    fn a_child_process_that_is_just_being_started_does_not_hold_the_file() {
        let (_temp, dir) = place();
        let one = open(&dir).unwrap();
        // Its file is the child's file, with the same lock.
        let child = one.handle().try_clone().unwrap();
        drop(one);
        open(&dir).unwrap();
        drop(child);
    }

    #[test]
    fn a_task_that_still_writes_keeps_the_lock() {
        let (_temp, dir) = place();
        let one = open(&dir).unwrap();
        let writer = one.handle();
        writer.as_ref().write_all(b"half").unwrap();
        drop(one);
        assert!(open(&dir).unwrap_err().is::<Busy>());
        drop(writer);
        // The last handle only closes the file. A child process that another test is just starting has the file open for
        // a moment, and with it the lock.
        let opened = loop {
            match open(&dir) {
                Err(error) if error.is::<Busy>() => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert_eq!(opened.len().unwrap(), 4);
    }

    #[test]
    fn a_partial_file_that_has_another_name_is_not_touched() {
        let (temp, dir) = place();
        let (part, other) = (temp.path().join("file.h2conn-part"), temp.path().join("other"));
        fs::write(&other, "precious").unwrap();
        fs::hard_link(&other, &part).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(!error.is::<Busy>() && error.to_string().contains("2 names"), "{error}");
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        assert!(part.exists());
        fs::remove_file(&other).unwrap();
        assert_eq!(open(&dir).unwrap().len().unwrap(), 8);
    }

    #[test]
    fn a_transfer_that_was_killed_as_it_finished_leaves_nothing_in_the_way() {
        let (temp, dir) = place();
        let (part, whole) = (temp.path().join("file.h2conn-part"), temp.path().join("file"));
        fs::write(&whole, "whole").unwrap();
        fs::hard_link(&whole, &part).unwrap();
        let partial = open(&dir).unwrap();
        assert_eq!(partial.len().unwrap(), 0);
        partial.handle().as_ref().write_all(b"new").unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"whole");
        partial.finish(true, None).unwrap();
        assert_eq!(fs::read(&whole).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn what_another_user_has_put_in_its_place_is_not_touched() {
        let (temp, dir) = place();
        let part = temp.path().join("file.h2conn-part");
        fs::write(&part, "bait").unwrap();
        let of = |path| dir.metadata(path).unwrap();
        if std::os::unix::fs::chown(&part, Some(1), None).is_ok() {
            let error = open(&dir).unwrap_err().to_string();
            assert!(error.contains("another user"), "{error}");
            assert_eq!(fs::read(&part).unwrap(), b"bait");
            // Root gives a partial file to the owner of the file that is replaced.
            let replaced = Access::of(&of("file.h2conn-part"));
            assert!(!is_of_another_user(&of("file.h2conn-part"), Some(replaced)));
        } else {
            // An ordinary user cannot give files away.
            let root = Dir::open_ambient_dir("/", ambient_authority()).unwrap();
            assert!(is_of_another_user(&root.dir_metadata().unwrap(), None));
            assert!(!is_of_another_user(&of("file.h2conn-part"), None));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let (temp, dir) = place();
        let part = temp.path().join("file.h2conn-part");
        fs::write(temp.path().join("other"), "precious").unwrap();
        for target in ["other", "nowhere"] {
            std::os::unix::fs::symlink(target, &part).unwrap();
            let error = open(&dir).unwrap_err();
            assert!(
                !error.is::<Busy>() && error.to_string().contains("a symbolic link"),
                "{error}"
            );
            fs::remove_file(&part).unwrap();
        }
        assert_eq!(fs::read(temp.path().join("other")).unwrap(), b"precious");
        assert!(!temp.path().join("nowhere").exists());
    }

    #[cfg(unix)]
    #[test]
    fn a_socket_in_its_place_is_not_touched() {
        let (temp, dir) = place();
        let part = temp.path().join("file.h2conn-part");
        let _listener = std::os::unix::net::UnixListener::bind(&part).unwrap();
        let error = open(&dir).unwrap_err().to_string();
        assert!(error.contains("no plain file, but a socket"), "{error}");
        assert!(part.exists());
    }
}
