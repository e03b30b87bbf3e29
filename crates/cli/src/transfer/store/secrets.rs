//! The server's own secrets. Clients neither get nor replace them, by whatever name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use cap_std::fs::Dir;
use same_file::Handle;

use crate::report::say;
use crate::transfer::partial::SUFFIX;

/// How many links lead from a path to its file at most, as in Linux.
const LINKS: usize = 40;

/// The files of the server's token and private key. Clones share them.
///
/// A file is recognized by its device and inode, so that links and other spellings lead to nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets(Arc<[Secret]>);

#[derive(Debug)]
struct Secret {
    path: PathBuf,
    /// The file that this process has read. It stays open, so that the system cannot give its inode to another
    /// file, and it is a secret also when another file has taken its path.
    used: Option<Handle>,
}

impl Secrets {
    /// The secrets in the files at these paths.
    ///
    /// # Errors
    ///
    /// If one has the name of a partial file, which the server may remove; and errors of the system.
    pub(crate) fn at<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<Secrets> {
        let secret = |path: &PathBuf| {
            if path.to_string_lossy().to_ascii_lowercase().ends_with(SUFFIX) {
                bail!(
                    "{} has the name of a file that is still being received, and such files are removed; give it \
                     another name",
                    path.display()
                );
            }
            let used = present(path).with_context(|| format!("cannot open {}", path.display()))?;
            Ok(Secret { path: path.clone(), used })
        };
        Ok(Secrets(paths.into_iter().map(secret).collect::<Result<_>>()?))
    }

    /// Warns of each secret that lies in the directory `dir`, where its copies would be given out.
    pub(crate) fn warn_if_in(&self, dir: &Path) {
        for Secret { path, .. } in self.0.iter().filter(|secret| is_in(&secret.path, dir)) {
            say(format_args!(
                "h2conn: warning: {} holds a secret of this server, and is in {}, whose files clients get; it is not \
                 given out, but a copy of it would be: keep it elsewhere",
                path.display(),
                dir.display()
            ));
        }
    }

    /// Opens a file by `open`. Returns `None` if it is one of the secrets. Blocks.
    pub(super) fn open(&self, open: impl FnOnce() -> io::Result<File>) -> io::Result<Option<File>> {
        // The file can take the path of a secret, or lose it to another file, while it is opened.
        let before = self.present()?;
        let file = open()?;
        Ok((!self.have(&file, &before)?).then_some(file))
    }

    /// Whether an open file is one of the secrets, or one of `others`. Blocks.
    pub(super) fn have(&self, file: &File, others: &[Handle]) -> io::Result<bool> {
        let file = Handle::from_file(file.try_clone()?)?;
        let used = self.0.iter().filter_map(|secret| secret.used.as_ref());
        Ok(used.chain(others).chain(&self.present()?).any(|secret| *secret == file))
    }

    /// Whether a new file of this name would take the place of a secret: the server would read it at its next
    /// start. Blocks.
    pub(super) fn are_at(&self, dir: &Dir, name: &OsStr) -> io::Result<bool> {
        let dir = Handle::from_file(dir.try_clone()?.into_std_file())?;
        for place in self.0.iter().flat_map(|secret| places(&secret.path)) {
            let is_its_name = place.file_name().is_some_and(|its| is_alike(its, name));
            if is_its_name && opened(parent(&place))?.is_some_and(|parent| parent == dir) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The files that have the paths of the secrets now.
    fn present(&self) -> io::Result<Vec<Handle>> {
        let all = self.0.iter().map(|secret| present(&secret.path));
        all.filter_map(io::Result::transpose).collect()
    }
}

/// Whether a file is in a directory, and not hidden there.
fn is_in(path: &Path, dir: &Path) -> bool {
    let (Ok(path), Ok(dir)) = (path.canonicalize(), dir.canonicalize()) else { return false };
    let is_hidden = |part: &OsStr| part.as_encoded_bytes().starts_with(b".");
    path.strip_prefix(dir).is_ok_and(|inside| !inside.iter().any(is_hidden))
}

/// The regular file at `path`, if there is one.
fn present(path: &Path) -> io::Result<Option<Handle>> {
    match fs::metadata(path) {
        // To open a pipe could wait for its other end.
        Ok(metadata) if !metadata.is_file() => Ok(None),
        Ok(_) => opened(path),
        Err(error) => nothing(error),
    }
}

/// The file or directory at `path`, if there is one that this process can read.
fn opened(path: &Path) -> io::Result<Option<Handle>> {
    Handle::from_path(path).map_or_else(nothing, |handle| Ok(Some(handle)))
}

/// A file that is not there is no secret. One that this process cannot open cannot be given out by it either.
fn nothing(error: io::Error) -> io::Result<Option<Handle>> {
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use cap_std::ambient_authority;
    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first").unwrap();
        fs::write(folder.path().join("other"), "first").unwrap();
        (folder, path)
    }

    /// Whether the secrets are given out by this path.
    fn gives(secrets: &Secrets, path: &Path) -> bool {
        secrets.open(|| File::open(path)).unwrap().is_some()
    }

    /// Puts a new file in the place of another, as programs do that never leave half a file there.
    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, path).unwrap();
    }

    #[test]
    fn a_secret_is_none_by_any_name_and_other_files_are_given() {
        let (folder, path) = folder();
        let secrets = Secrets::at([&path]).unwrap();
        let hard = folder.path().join("hard");
        fs::hard_link(&path, &hard).unwrap();
        assert!(!gives(&secrets, &path) && !gives(&secrets, &hard));
        #[cfg(unix)]
        {
            let link = folder.path().join("link");
            std::os::unix::fs::symlink("hard", &link).unwrap();
            assert!(!gives(&secrets, &link));
            let of_link = Secrets::at([&link]).unwrap();
            assert!(!gives(&of_link, &path), "an option can name a link");
        }
        assert!(gives(&secrets, &folder.path().join("other")));
        assert!(gives(&Secrets::default(), &path));
        let missing = secrets.open(|| File::open(folder.path().join("missing"))).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_new_file_of_the_same_path_is_a_secret_too_and_the_old_one_remains_one() {
        let (folder, path) = folder();
        let secrets = Secrets::at([&path]).unwrap();
        let old = folder.path().join("token.old");
        fs::rename(&path, &old).unwrap();
        fs::write(&path, "second").unwrap();
        assert!(!gives(&secrets, &path) && !gives(&secrets, &old));
        replace(&path, "third");
        assert!(!gives(&secrets, &path));
        fs::remove_file(&path).unwrap();
        assert!(!gives(&secrets, &old));
        // A new file does not get the number of one that is open.
        fs::remove_file(&old).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(folder.path().join(name), "no secret").unwrap();
            assert!(gives(&secrets, &folder.path().join(name)), "{name}");
        }
    }

    #[test]
    fn a_secret_that_is_replaced_while_it_is_opened_is_not_given() {
        let (_folder, path) = folder();
        let secrets = Secrets::at([&path]).unwrap();
        // The file at the start is known anyway.
        replace(&path, "second");
        let opened_first = secrets.open(|| {
            let file = File::open(&path);
            replace(&path, "third");
            file
        });
        assert!(opened_first.unwrap().is_none());
        let replaced_first = secrets.open(|| {
            replace(&path, "fourth");
            File::open(&path)
        });
        assert!(replaced_first.unwrap().is_none());
    }

    #[test]
    fn the_place_of_a_secret_is_taken_also_while_it_is_empty() {
        let (folder, path) = folder();
        fs::create_dir(folder.path().join("sub")).unwrap();
        let open = |path: &Path| Dir::open_ambient_dir(path, ambient_authority()).unwrap();
        let (dir, sub) = (open(folder.path()), open(&folder.path().join("sub")));
        let secrets = Secrets::at([&path]).unwrap();
        for is_there in [true, false] {
            for name in ["token", "TOKEN"] {
                assert!(secrets.are_at(&dir, name.as_ref()).unwrap(), "{name}");
                assert!(!secrets.are_at(&sub, name.as_ref()).unwrap(), "{name}");
            }
            assert!(!secrets.are_at(&dir, "other".as_ref()).unwrap());
            if is_there {
                fs::remove_file(&path).unwrap();
            }
        }
        #[cfg(unix)]
        {
            // The option names a link elsewhere, which leads into the directory.
            let outside = tempfile::tempdir().unwrap();
            let link = outside.path().join("link");
            std::os::unix::fs::symlink(folder.path().join("sub/key"), &link).unwrap();
            let secrets = Secrets::at([&link]).unwrap();
            assert!(secrets.are_at(&sub, "key".as_ref()).unwrap());
            assert!(secrets.are_at(&open(outside.path()), "link".as_ref()).unwrap());
            assert!(!secrets.are_at(&dir, "key".as_ref()).unwrap());
        }
    }

    #[test]
    fn a_secret_is_in_a_directory_whatever_the_spelling_unless_it_is_hidden_there() {
        let (folder, path) = folder();
        let hidden = folder.path().join(".hidden");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join("token"), "second").unwrap();
        let around = hidden.join("../token");
        assert!(is_in(&path, folder.path()) && is_in(&around, folder.path()));
        assert!(is_in(&path, &hidden.join("..")));
        assert!(!is_in(&hidden.join("token"), folder.path()));
        assert!(is_in(&hidden.join("token"), &hidden));
        assert!(!is_in(&path, &hidden) && !is_in(&folder.path().join("missing"), folder.path()));
    }

    #[test]
    fn a_secret_does_not_have_the_name_of_a_partial_file() {
        let (folder, _) = folder();
        let path = folder.path().join("token.h2conn-part");
        fs::write(&path, "first").unwrap();
        let error = Secrets::at([&path]).unwrap_err().to_string();
        assert!(error.contains("token.h2conn-part") && error.contains("another name"), "{error}");
    }
}
