//! Which file a path or an open file is.

#[cfg(not(unix))]
pub(super) use other::Id;
#[cfg(unix)]
pub(super) use unix::Id;

#[cfg(unix)]
mod unix {
    use std::fs::{self, File, Metadata};
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::time::SystemTime;

    use cap_std::fs::Dir;

    /// The device and the inode, and when the file was made: the system gives the number of a removed file to another.
    /// To compare files by these opens none of them.
    #[derive(Debug, PartialEq, Eq)]
    pub(in crate::transfer::store::secrets) struct Id {
        dev: u64,
        ino: u64,
        made: Option<SystemTime>,
    }

    impl Id {
        /// The regular file at `path`, or `None` if there is something else.
        pub(in crate::transfer::store::secrets) fn at(path: &Path) -> io::Result<Option<Id>> {
            let metadata = fs::metadata(path)?;
            Ok(metadata.is_file().then(|| Id::from(&metadata)))
        }

        pub(in crate::transfer::store::secrets) fn of(file: &File) -> io::Result<Id> {
            Ok(Id::from(&file.metadata()?))
        }

        /// Whether `path` leads to this directory. It need not be readable.
        pub(in crate::transfer::store::secrets) fn is_dir_at(
            dir: &Dir,
            path: &Path,
        ) -> io::Result<bool> {
            let (one, other) = (dir.dir_metadata()?, fs::metadata(path)?);
            let one = (cap_fs_ext::MetadataExt::dev(&one), cap_fs_ext::MetadataExt::ino(&one));
            Ok(one == (other.dev(), other.ino()))
        }
    }

    impl From<&Metadata> for Id {
        fn from(metadata: &Metadata) -> Id {
            Id { dev: metadata.dev(), ino: metadata.ino(), made: metadata.created().ok() }
        }
    }
}

/// Other systems tell files apart only while they are open.
#[cfg(not(unix))]
mod other {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    use cap_std::fs::Dir;
    use same_file::Handle;

    #[derive(Debug, PartialEq, Eq)]
    pub(in crate::transfer::store::secrets) struct Id(Handle);

    impl Id {
        /// The regular file at `path`, or `None` if there is something else.
        pub(in crate::transfer::store::secrets) fn at(path: &Path) -> io::Result<Option<Id>> {
            match fs::metadata(path)?.is_file() {
                true => Handle::from_path(path).map(|handle| Some(Id(handle))),
                false => Ok(None),
            }
        }

        pub(in crate::transfer::store::secrets) fn of(file: &File) -> io::Result<Id> {
            Handle::from_file(file.try_clone()?).map(Id)
        }

        /// Whether `path` leads to this directory.
        pub(in crate::transfer::store::secrets) fn is_dir_at(
            dir: &Dir,
            path: &Path,
        ) -> io::Result<bool> {
            let dir = Handle::from_file(dir.try_clone()?.into_std_file())?;
            Ok(Handle::from_path(path)? == dir)
        }
    }
}
