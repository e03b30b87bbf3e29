//! Tests of the server's own secrets.

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
    secrets.open(|| File::open(path)).unwrap().unwrap().is_some()
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
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    let hard = folder.path().join("hard");
    fs::hard_link(&path, &hard).unwrap();
    assert!(!gives(&secrets, &path) && !gives(&secrets, &hard));
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("hard", &link).unwrap();
        assert!(!gives(&secrets, &link));
        let of_link = Secrets::at([&link], folder.path()).unwrap();
        assert!(!gives(&of_link, &path), "an option can name a link");
    }
    assert!(gives(&secrets, &folder.path().join("other")));
    assert!(gives(&Secrets::default(), &path));
    let missing = secrets.open(|| File::open(folder.path().join("missing")));
    let missing = missing.unwrap().unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_new_file_of_the_same_path_is_a_secret_too_and_the_old_one_remains_one() {
    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    let old = folder.path().join("token.old");
    fs::rename(&path, &old).unwrap();
    fs::write(&path, "second").unwrap();
    assert!(!gives(&secrets, &path) && !gives(&secrets, &old));
    replace(&path, "third");
    assert!(!gives(&secrets, &path));
    fs::remove_file(&path).unwrap();
    assert!(!gives(&secrets, &old));
}

#[test]
fn a_secret_that_was_in_place_between_two_others_remains_one() {
    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    let old = |n: usize| folder.path().join(format!("old{n}"));
    for n in 0..3 {
        fs::rename(&path, old(n)).unwrap();
        fs::write(&path, "next").unwrap();
        // A request for any file sees which one is in place.
        assert!(gives(&secrets, &folder.path().join("other")));
    }
    assert!((0..3).all(|n| !gives(&secrets, &old(n))));
    // Only so many are remembered, and the one that the server has read always.
    for n in 3..3 + SEEN {
        fs::rename(&path, old(n)).unwrap();
        fs::write(&path, "next").unwrap();
        secrets.look().unwrap();
    }
    assert!(!gives(&secrets, &old(0)) && gives(&secrets, &old(1)));
    assert!(!gives(&secrets, &old(2 + SEEN)) && !gives(&secrets, &path));
}

#[test]
fn a_new_file_does_not_get_the_number_of_the_one_that_the_server_has_read() {
    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    fs::remove_file(&path).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(folder.path().join(name), "no secret").unwrap();
        assert!(gives(&secrets, &folder.path().join(name)), "{name}");
    }
}

#[test]
fn a_secret_that_is_replaced_while_it_is_opened_is_not_given() {
    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    // The file at the start is known anyway.
    replace(&path, "second");
    let opened_first = secrets.open(|| {
        let file = File::open(&path);
        replace(&path, "third");
        file
    });
    assert!(opened_first.unwrap().unwrap().is_none());
    let replaced_first = secrets.open(|| {
        replace(&path, "fourth");
        File::open(&path)
    });
    assert!(replaced_first.unwrap().unwrap().is_none());
}

#[test]
fn the_place_of_a_secret_is_taken_also_while_it_is_empty() {
    let (folder, path) = folder();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let open = |path: &Path| Dir::open_ambient_dir(path, ambient_authority()).unwrap();
    let (dir, sub) = (open(folder.path()), open(&folder.path().join("sub")));
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    for is_there in [true, false] {
        for (name, named) in [("token", Named::Secret), ("TOKEN", Named::Alike)] {
            assert_eq!(secrets.named(&dir, name.as_ref()), named, "{name}");
            assert_eq!(secrets.named(&sub, name.as_ref()), Named::Other, "{name}");
        }
        assert_eq!(secrets.named(&dir, "other".as_ref()), Named::Other);
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
        let secrets = Secrets::at([&link], folder.path()).unwrap();
        assert_eq!(secrets.named(&sub, "key".as_ref()), Named::Secret);
        assert_eq!(secrets.named(&open(outside.path()), "link".as_ref()), Named::Secret);
        assert_eq!(secrets.named(&dir, "key".as_ref()), Named::Other);
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

#[cfg(unix)]
#[test]
fn the_place_of_a_secret_is_known_in_a_directory_that_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt;

    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o300)).unwrap();
    let named = secrets.named(&dir, "token".as_ref());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(named, Named::Secret);
}

#[cfg(unix)]
#[test]
fn a_path_of_which_the_system_says_nothing_is_named_and_no_file_is_given() {
    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("token", &path).unwrap();
    let error = secrets.open(|| File::open(folder.path().join("other"))).unwrap_err();
    let expected = format!("cannot look at {}, the path of a secret", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    let dir = Dir::open_ambient_dir(folder.path(), ambient_authority()).unwrap();
    assert_eq!(secrets.named(&dir, "token".as_ref()), Named::Secret);
}

#[cfg(target_os = "linux")]
#[test]
fn a_look_keeps_no_file_open_but_the_one_that_the_server_has_read() {
    use std::os::fd::AsRawFd;

    let (folder, path) = folder();
    let secrets = Secrets::at([&path], folder.path()).unwrap();
    let kept = secrets.0.all[0]._kept.as_ref().unwrap().as_raw_fd();
    replace(&path, "second");
    secrets.look().unwrap();
    // Other tests of this process open and close files meanwhile, but not below this directory.
    let of_here: Vec<_> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(folder.path())))
        .map(|fd| fd.file_name().into_string().unwrap())
        .collect();
    assert_eq!(of_here, [kept.to_string()]);
}

#[test]
fn a_secret_in_the_directory_does_not_have_the_name_of_a_partial_file() {
    let (folder, _) = folder();
    let path = folder.path().join("token.h2conn-part");
    fs::write(&path, "first").unwrap();
    let error = |path: &PathBuf| {
        let error = Secrets::at([path], folder.path()).unwrap_err().to_string();
        assert!(error.contains("token.h2conn-part") && error.contains("another name"), "{error}");
    };
    error(&path);
    let outside = tempfile::tempdir().unwrap();
    #[cfg(unix)]
    {
        let link = outside.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        error(&link);
    }
    // No file is removed elsewhere.
    Secrets::at([&path], outside.path()).unwrap();
}
