//! The place of a file that is received: the path that the user names, and any file that is there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf, is_separator};

use anyhow::{Context, Result, bail};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata};

use super::access::Access;
use super::{kind, name};

/// The destination of a file's bytes.
#[derive(Debug)]
pub(crate) enum Place {
    /// A file of this name in this directory, once all bytes have arrived and their digest is
    /// right. It may replace a file with this access.
    File(Dir, OsString, Option<Access>),
    /// A pipe or a device, which gets the bytes as they arrive.
    Through,
}

impl Place {
    /// Checks what is at `path`. Without `force`, nothing may exist there.
    ///
    /// Links are followed, as `cp` and `curl -o` do: the file that a link points to is replaced,
    /// and the link stays.
    ///
    /// # Errors
    ///
    /// If something is there that cannot or must not be written to, and errors of the system.
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
        // The system checks this before a link is read. It does not follow a link that another user
        // has put into a directory that everyone can write to, such as /tmp.
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

/// Whether the bytes of a file that was partly received to `path` are kept for the next attempt.
pub(crate) fn keeps(path: &Path) -> bool {
    !kind::behind(path).is_ok_and(|behind| kind::passes_on(behind.file_type()))
}

/// Opens the pipe or the device at `path`. Blocks: a pipe waits for its reader.
pub(crate) fn open_through(path: &Path) -> Result<File> {
    let shown = path.display();
    let file = File::options().write(true).open(path);
    let file = file.with_context(|| format!("cannot write to {shown}"))?;
    if !kind::passes_on(Metadata::from_file(&file)?.file_type()) {
        bail!("{shown} was a pipe or a device, and is none any more");
    }
    Ok(file)
}

/// The path for a file that is received from `url`. This is the path that is given. If none is
/// given, or only a directory, it is the URL's last part in that directory.
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

/// Whether a path can only name a directory. `Path` drops the characters that show this.
fn is_of_directory(path: &Path) -> bool {
    let bytes = path.as_os_str().as_encoded_bytes();
    let last = bytes.rsplit(|byte| is_separator(char::from(*byte))).next();
    matches!(last, Some(b"" | b"." | b".."))
}

/// The name for a file of which only the URL is given.
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
