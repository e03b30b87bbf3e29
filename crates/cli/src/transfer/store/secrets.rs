//! The server's own secrets. No client can read or replace them, by whatever name.

mod id;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use cap_std::fs::Dir;

use crate::report::say;
use crate::transfer::partial::SUFFIX;
use id::Id;

/// How many links lead from a path to its file at most, as in Linux.
const LINKS: usize = 40;

/// How many files are remembered that had the paths of secrets. A secret is rarely replaced more often while a server
/// runs.
const SEEN: usize = 64;

/// The files of the server's token and private key. Clones share them.
///
/// A file is recognized by its device and inode, so that links and other spellings lead to nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    all: Vec<Secret>,
    /// The files that requests have seen at the paths of the secrets.
    seen: Mutex<VecDeque<Id>>,
}

#[derive(Debug)]
struct Secret {
    path: PathBuf,
    /// The file that this process has read. It is a secret also when another file has taken its path.
    used: Option<Id>,
    /// It stays open, so that the system cannot give its inode to another file.
    _kept: Option<File>,
}

/// Whether a name in a directory is that of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Other,
    /// It differs in the case of letters, which some file systems ignore.
    Alike,
    Secret,
}

impl Secrets {
    /// The secrets in the files at these paths, for a server of the files in `dir`.
    ///
    /// # Errors
    ///
    /// If one has the name of a partial file in that directory, which the server may remove; and errors of the
    /// system.
    pub(crate) fn at<'a>(
        paths: impl IntoIterator<Item = &'a PathBuf>,
        dir: &Path,
    ) -> Result<Secrets> {
        let secret = |path: &PathBuf| {
            if let Some(place) = places(path).iter().find(|place| is_swept(place, dir)) {
                bail!(
                    "{} has the name of a file that is still being received, and such files are removed; give it \
                     another name",
                    place.display()
                );
            }
            let kept = present(path).with_context(|| format!("cannot open {}", path.display()))?;
            let used = kept.as_ref().map(Id::of).transpose()?;
            Ok(Secret { path: path.clone(), used, _kept: kept })
        };
        let all = paths.into_iter().map(secret).collect::<Result<_>>()?;
        Ok(Secrets(Arc::new(Shared { all, seen: Mutex::default() })))
    }

    /// Warns of each secret that lies in the directory `dir`, where its copies would be given out.
    pub(crate) fn warn_if_in(&self, dir: &Path) {
        for Secret { path, .. } in self.0.all.iter().filter(|secret| is_in(&secret.path, dir)) {
            say(format_args!(
                "h2conn: warning: {} holds a secret of this server, and is in {}, whose files clients get; it is not \
                 given out, but a copy of it would be: keep it elsewhere",
                path.display(),
                dir.display()
            ));
        }
    }

    /// Looks which files have the paths of the secrets now. They are secrets from then on.
    ///
    /// # Errors
    ///
    /// If the system cannot say it of a path. The error names the path, and is for the log.
    pub(super) fn look(&self) -> Result<()> {
        for Secret { path, .. } in &self.0.all {
            let there = Id::at(path).or_else(nothing).with_context(|| {
                format!("cannot look at {}, the path of a secret of this server", path.display())
            })?;
            let Some(id) = there else { continue };
            let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
            // Those in place are the last ones, so that they are not forgotten.
            seen.retain(|other| *other != id);
            if seen.len() == SEEN {
                seen.pop_front();
            }
            seen.push_back(id);
        }
        Ok(())
    }

    /// Opens a file by `open`. Returns `None` if it is one of the secrets. Blocks.
    ///
    /// # Errors
    ///
    /// Outside those of [`look`](Secrets::look), inside those of `open`.
    pub(super) fn open(
        &self,
        open: impl FnOnce() -> io::Result<File>,
    ) -> Result<io::Result<Option<File>>> {
        // The file can lose the path of a secret to another file while it is opened, or take it.
        self.look()?;
        let file = match open() {
            Ok(file) => file,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok((!self.have(&file)?).then_some(file)))
    }

    /// Whether an open file is one of the secrets. Blocks.
    ///
    /// # Errors
    ///
    /// Those of [`look`](Secrets::look).
    pub(super) fn have(&self, file: &File) -> Result<bool> {
        if self.0.all.is_empty() {
            return Ok(false);
        }
        self.look()?;
        let file = Id::of(file)?;
        let mut used = self.0.all.iter().filter_map(|secret| secret.used.as_ref());
        let seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(used.any(|id| *id == file) || seen.contains(&file))
    }

    /// Whether a file of this name has the place of a secret, or would take it: the server would read it at its next
    /// start. Blocks.
    pub(super) fn named(&self, dir: &Dir, name: &OsStr) -> Named {
        let mut named = Named::Other;
        for place in self.0.all.iter().flat_map(|secret| places(&secret.path)) {
            let Some(its) = place.file_name().filter(|its| is_alike(its, name)) else { continue };
            match Id::is_dir_at(dir, parent(&place)) {
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Of a directory that cannot be looked at, nothing is known but the name.
                Ok(true) | Err(_) if its == name => return Named::Secret,
                Ok(true) | Err(_) => named = Named::Alike,
            }
        }
        named
    }
}

/// Whether a file is in a directory, and not hidden there.
fn is_in(path: &Path, dir: &Path) -> bool {
    let (Ok(path), Ok(dir)) = (path.canonicalize(), dir.canonicalize()) else { return false };
    let is_hidden = |part: &OsStr| part.as_encoded_bytes().starts_with(b".");
    path.strip_prefix(dir).is_ok_and(|inside| !inside.iter().any(is_hidden))
}

/// Whether a file at this place would be taken for a partial file of the directory.
fn is_swept(place: &Path, dir: &Path) -> bool {
    let name = place.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.ends_with(SUFFIX) && is_in(parent(place), dir)
}

/// The regular file at `path`, if there is one that this process can read.
fn present(path: &Path) -> io::Result<Option<File>> {
    match fs::metadata(path) {
        // To open a pipe could wait for its other end.
        Ok(metadata) if !metadata.is_file() => Ok(None),
        Ok(_) => File::open(path).map_or_else(nothing, |file| Ok(Some(file))),
        Err(error) => nothing(error),
    }
}

/// A file that is not there is no secret. One to which this process has no way cannot be given out by it either.
fn nothing<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied => Ok(None),
        _ => Err(error),
    }
}

/// The path, and the paths to which the links at its end lead, one after another. There need not be a file at the
/// last one.
fn places(path: &Path) -> Vec<PathBuf> {
    let mut places = vec![path.to_owned()];
    while places.len() <= LINKS
        && let Some(last) = places.last()
        && let Ok(target) = fs::read_link(last)
    {
        let target = parent(last).join(target);
        places.push(target);
    }
    places
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether two names may be one: some file systems ignore case.
fn is_alike(one: &OsStr, other: &OsStr) -> bool {
    one.to_string_lossy().to_lowercase() == other.to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests;
