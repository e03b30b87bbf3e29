//! The place of a file that is received: the path that the user has named, and the file that is there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf, is_separator};

use anyhow::{Context, Result, bail};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

use super::access::Access;
use super::{kind, name};

/// Where the bytes of a file go.
#[derive(Debug)]
pub(crate) enum Place {
    /// Into a file of this name in this directory, once they are all there and right. It may replace one
    /// with this access.
    File(Dir, OsString, Option<Access>),
    /// Through a pipe or a device, as they come.
    Through,
}

impl Place {
    /// Looks at what is at `path`. Only by `force` may something be there.
    ///
    /// Links are followed, as by `cp` and `curl -o`: the file behind is replaced, and the link stays.
    ///
    /// # Errors
    ///
    /// When something is there that cannot be written to or must not be, and errors of the system.
    pub(crate) fn find(path: &Path, force: bool) -> Result<Place> {
        let shown = path.display();
        let there = match path.symlink_metadata() {
            Ok(there) => Metadata::from_just_metadata(there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Place::file(path, None);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at {shown}"));
            }
        };
        if there.is_dir() {
            bail!("{shown} is a directory, and is not replaced");
        }
        // By the system, and before a link is read: it follows none that somebody else has put into a
        // directory that all can write to, such as /tmp.
        let behind = kind::behind(path);
        if !force {
            let passes_on = behind.is_ok_and(|behind| kind::passes_on(behind.file_type()));
            let does = if passes_on { "writes to it" } else { "replaces it" };
            bail!("{shown} is there already; --force {does}");
        }
        let behind = behind.with_context(|| match there.is_symlink() {
            true => {
                format!("{shown} is a link that cannot be followed; remove it, or name its target")
            }
            false => format!("cannot look at {shown}"),
        })?;
        match behind.file_type() {
            kind if kind::passes_on(kind) => Ok(Place::Through),
            kind if !kind.is_file() => {
                bail!("{shown} is {}, which takes no file", kind::name(kind))
            }
            _ if there.is_symlink() => {
                let target = path.canonicalize();
                let target = target.with_context(|| format!("cannot follow the link {shown}"))?;
                Place::file(&target, Some(Access::of(&behind)))
            }
            _ => Place::file(path, Some(Access::of(&behind))),
        }
    }

    fn file(path: &Path, replaced: Option<Access>) -> Result<Place> {
        let name =
            path.file_name().with_context(|| format!("{} is no file's name", path.display()))?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = Dir::open_ambient_dir(parent, ambient_authority())
            .with_context(|| format!("cannot open the directory {}", parent.display()))?;
        Ok(Place::File(dir, name.to_owned(), replaced))
    }
}

/// Whether the bytes of a file that was received to `path`, in part, are kept for the next time.
pub(crate) fn keeps(path: &Path) -> bool {
    !kind::behind(path).is_ok_and(|behind| kind::passes_on(behind.file_type()))
}

/// Opens the pipe or the device at `path`. Blocks: a pipe waits until somebody reads from it.
pub(crate) fn open_through(path: &Path) -> Result<File> {
    let shown = path.display();
    let file = File::options().write(true).open(path);
    let file = file.with_context(|| format!("cannot write to {shown}"))?;
    if !kind::passes_on(Metadata::from_file(&file)?.file_type()) {
        bail!("{shown} was a pipe or a device, and is none any more");
    }
    Ok(file)
}

/// The path of a file that is to be received from `url`: what is given, or the URL's last part in the
/// directory that is given, or here.
pub(crate) fn path(given: Option<PathBuf>, url: &str) -> Result<PathBuf> {
    match given {
        None => name_of(url),
        Some(path) if path.is_dir() => Ok(path.join(name_of(url)?)),
        Some(path) if path.as_os_str() == OsStr::new("") => bail!("the file's name is empty"),
        Some(path) if is_of_directory(&path) => {
            bail!(
                "{} is no directory; make it, or leave out what is behind its name",
                path.display()
            )
        }
        Some(path) => Ok(path),
    }
}

/// Whether a path can only be that of a directory; `Path` leaves out what tells so.
fn is_of_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let last = bytes.rsplit(|byte| is_separator(char::from(*byte))).next();
    matches!(last, Some(b"" | b"." | b".."))
}

/// The name that a file has when only its URL is given.
fn name_of(url: &str) -> Result<PathBuf> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let last = path.rsplit('/').next().unwrap_or(path);
    let name = name::parse(last)
        .with_context(|| format!("{url} ends with no name for the file; give one"))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_name_that_only_a_directory_has_is_none_for_a_file() {
        let temp = tempfile::tempdir().unwrap();
        let url = "http://localhost/files/a%20b?c";
        assert_eq!(path(None, url).unwrap(), Path::new("a b"));
        assert_eq!(path(Some(temp.path().join("")), url).unwrap(), temp.path().join("a b"));
        assert_eq!(path(Some(temp.path().join("x")), url).unwrap(), temp.path().join("x"));
        for bad in ["x/", "x//", "x/.", "x/.."] {
            let error = path(Some(temp.path().join(bad)), url).unwrap_err().to_string();
            assert!(error.contains("is no directory"), "{error}");
        }
        assert!(path(Some(PathBuf::new()), url).is_err());
    }
}
