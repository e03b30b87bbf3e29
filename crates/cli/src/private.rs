//! Files that hold secrets: a warning if other users can use them.

use std::path::Path;

use crate::report::say;

/// Warns if other users can use the file at `path`, which `holds` a secret: "the token".
///
/// It is only a warning. ssh refuses such a key, but a server must start again after an update as it did before.
pub(crate) fn warn_if_open(path: &Path, holds: &str) {
    if let Some(fault) = fault(path, holds) {
        say(format_args!("h2conn: warning: {fault}"));
    }
}

/// The text of that warning, if there is reason for it.
pub(crate) fn fault(path: &Path, holds: &str) -> Option<String> {
    bits::open_at(path).map(|open| told(&path.display().to_string(), holds, open))
}

/// The text about a file with this mode, and a better one, on a file system that may be read-only.
fn told(shown: &str, holds: &str, (mode, better, is_read_only): (u32, &str, bool)) -> String {
    let way = match is_read_only {
        true => format!("its file system is read-only: set mode {better} where the file is made"),
        false => format!("`chmod {better} {}` keeps them out", operand(shown)),
    };
    format!("{shown} holds {holds}, and its mode {mode:04o} lets others use it; {way}")
}

/// The path as a word of a shell that no command takes for an option.
fn operand(path: &str) -> String {
    match path.starts_with('-') {
        true => format!("-- {}", quoted(path)),
        false => quoted(path),
    }
}

/// The text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    match text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(unix)]
mod bits {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::StatVfsMountFlags;

    /// If others can use the file at `path`: its permission bits, the mode that `chmod` should set, and whether its file
    /// system is read-only.
    pub(super) fn open_at(path: &Path) -> Option<(u32, &'static str, bool)> {
        // The path of a descriptor: it was opened by a program that had access to the file.
        if ["/dev/fd", "/dev/stdin", "/proc"].iter().any(|special| path.starts_with(special)) {
            return None;
        }
        let metadata = fs::metadata(path).ok()?;
        let owner = match metadata.uid() {
            0 => Owner::Root,
            uid if uid == rustix::process::geteuid().as_raw() => Owner::This,
            _ => Owner::Other,
        };
        // The bits of a pipe say nothing: its bytes are read once.
        let better = metadata.is_file().then(|| better(metadata.mode(), owner)).flatten()?;
        let system = rustix::fs::statvfs(path);
        let is_read_only = system.is_ok_and(|it| it.f_flag.contains(StatVfsMountFlags::RDONLY));
        Some((metadata.mode() & 0o777, better, is_read_only))
    }

    /// The user who owns a file.
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Owner {
        /// The user of this process.
        This,
        Root,
        Other,
    }

    /// The better mode for a file with this one, if it needs one.
    ///
    /// As in ssh, the group of another user's file is not examined: it can be the way by which this user may read
    /// the file. systemd gives credentials to a service by an access control list, which shows in those bits. A group
    /// that may read a file of root was chosen for it: Debian gives keys to `ssl-cert`.
    pub(super) fn better(mode: u32, owner: Owner) -> Option<&'static str> {
        let is_open_to = |bits| mode & bits != 0;
        match owner {
            Owner::This => is_open_to(0o077).then_some("600"),
            Owner::Root if rustix::process::geteuid().is_root() => {
                is_open_to(0o037).then_some("600")
            }
            Owner::Root | Owner::Other => is_open_to(0o007).then_some("o="),
        }
    }
}

/// Other systems have no such bits.
#[cfg(not(unix))]
mod bits {
    pub(super) fn open_at(_: &std::path::Path) -> Option<(u32, &'static str, bool)> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for plain in ["token", "/etc/h2conn/key.pem", "schlüssel"] {
            assert_eq!(quoted(plain), plain);
        }
        assert_eq!(quoted("my token"), "'my token'");
        assert_eq!(quoted("it's; $(x)"), r"'it'\''s; $(x)'");
        assert_eq!(operand("-key file"), "-- '-key file'");
        assert_eq!(operand("a-key"), "a-key");
        let said = told("-key", "the private key", (0o644, "600", false));
        assert!(said.ends_with("lets others use it; `chmod 600 -- -key` keeps them out"), "{said}");
    }

    #[test]
    fn on_a_read_only_file_system_no_chmod_is_advised() {
        let said = told("key", "the private key", (0o644, "600", true));
        let way = "its file system is read-only: set mode 600 where the file is made";
        assert!(said.ends_with(way) && !said.contains("chmod"), "{said}");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_use_is_told_with_its_mode_and_what_helps() {
        use std::fs::{Permissions, set_permissions, write};
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("my token"), folder.path().join("link"));
        write(&path, "secret").unwrap();
        symlink(&path, &link).unwrap();
        for mode in [0o604, 0o660, 0o620, 0o601, 0o644, 0o666] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = fault(&path, "the token").unwrap();
            let shown = path.display();
            let expected = format!(
                "{shown} holds the token, and its mode {mode:04o} lets others use it; `chmod 600 '{shown}'` keeps \
                 them out"
            );
            assert_eq!(said, expected);
            assert!(fault(&link, "the token").unwrap().contains(&format!("mode {mode:04o}")));
            #[cfg(target_os = "linux")]
            {
                use std::os::fd::AsRawFd;

                let file = std::fs::File::open(&path).unwrap();
                for folder in ["/dev/fd", "/proc/self/fd"] {
                    let fd = format!("{folder}/{}", file.as_raw_fd());
                    assert_eq!(fault(Path::new(&fd), "the token"), None, "{fd}");
                }
            }
        }
        for mode in [0o600, 0o400, 0o700] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(fault(&path, "the token"), None, "{mode:o}");
        }
        assert_eq!(fault(folder.path(), "the token"), None, "it is no file");
        assert_eq!(fault(&folder.path().join("missing"), "the token"), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_group_of_another_users_file_and_the_readers_of_a_file_of_root_are_not_examined() {
        use bits::{Owner, better};

        let is_root = rustix::process::geteuid().is_root();
        let of_root = |as_root, otherwise| if is_root { as_root } else { otherwise };
        for (mode, own, roots, others) in [
            (0o600, None, None, None),
            (0o440, Some("600"), None, None),
            (0o640, Some("600"), None, None),
            (0o660, Some("600"), of_root(Some("600"), None), None),
            (0o604, Some("600"), of_root(Some("600"), Some("o=")), Some("o=")),
            (0o100_602, Some("600"), of_root(Some("600"), Some("o=")), Some("o=")),
        ] {
            let found = [Owner::This, Owner::Root, Owner::Other].map(|owner| better(mode, owner));
            assert_eq!(found, [own, roots, others], "{mode:o}");
        }
    }
}
