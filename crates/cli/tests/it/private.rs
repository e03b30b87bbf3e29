//! Files with secrets that other users can use: a warning, in all commands that read one.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use h2conn::tls::Identity;
use tempfile::TempDir;

use crate::support::{Server, TestResult, h2conn};

/// A port on which no program listens: all files are read before a connection is tried.
const NOWHERE: &str = "https://127.0.0.1:1/files/x";

/// A folder with a file for each option.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let pem = Identity::self_signed_pem(["localhost"]).unwrap();
    fs::write(folder.path().join("pem"), pem).unwrap();
    fs::write(folder.path().join("token"), "a-token\n").unwrap();
    fs::write(folder.path().join("secret fields"), "x-one: 1\nAuthorization: Basic eDp5\n")
        .unwrap();
    fs::write(folder.path().join("plain fields"), "x-one: 1\n").unwrap();
    folder
}

/// Runs a command, in which `{}` is the folder, and gives its warnings.
fn warnings(folder: &TempDir, line: &str) -> Vec<String> {
    let path = folder.path().to_str().unwrap();
    let words = line.split(' ').map(|word| word.replace("{}", path).replace('~', " "));
    let output = h2conn(words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    // Otherwise the files may not have been read.
    let expected = if line.starts_with("serve") { 1 } else { 2 };
    assert_eq!(output.status.code(), Some(expected), "{line}: {said}");
    said.lines().filter(|line| line.contains("warning")).map(str::to_owned).collect()
}

/// Gives a file these permission bits.
fn set(folder: &TempDir, file: &str, mode: u32) {
    fs::set_permissions(folder.path().join(file), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_secret_that_others_can_read_gets_one_warning_and_a_private_one_none() {
    let folder = folder();
    let cases = [
        (format!("recv --token-file {{}}/token {NOWHERE}"), "token", "the token"),
        (format!("send --token-file {{}}/token {{}}/pem {NOWHERE}"), "token", "the token"),
        (format!("forward --token-file {{}}/token -L 0:x:1 {NOWHERE}"), "token", "the token"),
        // The folder of --files is looked for after the token is read.
        (
            "serve 127.0.0.1:0 --token-file {}/token --files {}/none".to_owned(),
            "token",
            "the token",
        ),
        (format!("ping --cert {{}}/pem --key {{}}/pem {NOWHERE}"), "pem", "the private key"),
        (format!("connect --cert {{}}/pem --key {{}}/pem {NOWHERE}"), "pem", "the private key"),
        (
            format!("connect -H @{{}}/secret~fields {NOWHERE}"),
            "secret fields",
            "a secret header field",
        ),
    ];
    for (line, file, holds) in cases {
        for mode in [0o644, 0o660, 0o602] {
            set(&folder, file, mode);
            let path = folder.path().join(file).display().to_string();
            let word = if path.contains(' ') { format!("'{path}'") } else { path.clone() };
            let expected = format!(
                "h2conn: warning: {path} holds {holds}, and its mode {mode:04o} lets others use it; `chmod 600 \
                 {word}` keeps them out"
            );
            assert_eq!(warnings(&folder, &line), [expected], "{line}");
        }
        for mode in [0o600, 0o400] {
            set(&folder, file, mode);
            assert_eq!(warnings(&folder, &line), [""; 0], "{line}");
        }
    }
    // There is no secret in this file.
    assert_eq!(warnings(&folder, &format!("connect -H @{{}}/plain~fields {NOWHERE}")), [""; 0]);
}

#[test]
fn a_listener_warns_of_its_key_and_starts_all_the_same() -> TestResult {
    let folder = folder();
    let path = folder.path().join("pem");
    let path = path.to_str().unwrap();
    for args in [&["--cert", path, "--key", path][..], &["--identity", path]] {
        for (mode, count) in [(0o644, 1), (0o600, 0)] {
            set(&folder, "pem", mode);
            let server = Server::start(&[&["--echo", "--keep-open"], args].concat())?;
            let said = server.interrupt()?.stderr;
            let warning =
                format!("{path} holds the private key, and its mode 0644 lets others use it");
            assert_eq!(said.matches(&warning).count(), count, "{said}");
            assert_eq!(said.matches("lets others use it").count(), count, "{said}");
        }
    }
    Ok(())
}
