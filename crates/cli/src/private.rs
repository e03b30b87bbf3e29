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
    let (mode, advice) = bits::advice(path)?;
    let shown = path.display();
    Some(format!(
        "others can use {shown}, which holds {holds} (mode {mode:04o}); `chmod {advice} {}` keeps them out",
        quoted(&shown.to_string())
    ))
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

    /// The permission bits of a file that others can use, and the mode that `chmod` should set.
    pub(super) fn advice(path: &Path) -> Option<(u32, &'static str)> {
        let metadata = fs::metadata(path).ok()?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        // The bits of a pipe say nothing: its bytes are read once.
        let open = metadata.is_file().then(|| open(metadata.mode(), is_own)).flatten()?;
        Some((metadata.mode() & 0o777, open))
    }

    /// The change for a file with this mode, if it needs one.
    ///
    /// As in ssh, the group of another user's file is not examined: it can be the way by which this user may read
    /// the file. systemd gives credentials to a service by an access control list, which shows in those bits.
    pub(super) fn open(mode: u32, is_own: bool) -> Option<&'static str> {
        match is_own {
            true => (mode & 0o077 != 0).then_some("600"),
            false => (mode & 0o007 != 0).then_some("o="),
        }
    }
}

/// Other systems have no such bits.
#[cfg(not(unix))]
mod bits {
    pub(super) fn advice(_: &std::path::Path) -> Option<(u32, &'static str)> {
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
        for mode in [0o604, 0o640, 0o620, 0o601, 0o644, 0o666] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = fault(&path, "the token").unwrap();
            let shown = path.display();
            let expected = format!(
                "others can use {shown}, which holds the token (mode {mode:04o}); `chmod 600 '{shown}'` \
                 keeps them out"
            );
            assert_eq!(said, expected);
            assert!(fault(&link, "the token").unwrap().contains(&format!("mode {mode:04o}")));
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
    fn the_group_of_another_users_file_is_not_examined() {
        for (mode, own, others) in [
            (0o600, None, None),
            (0o440, Some("600"), None),
            (0o660, Some("600"), None),
            (0o604, Some("600"), Some("o=")),
            (0o100_602, Some("600"), Some("o=")),
        ] {
            assert_eq!(
                (bits::open(mode, true), bits::open(mode, false)),
                (own, others),
                "{mode:o}"
            );
        }
    }
}
