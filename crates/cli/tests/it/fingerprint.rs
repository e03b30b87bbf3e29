//! Trust in one certificate, by its fingerprint.

use anyhow::Context;
use predicates::str::contains;

use crate::support::{Server, TestResult, h2conn};

const OTHER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The fingerprint in the line that names one.
fn fingerprint(said: &str) -> TestResult<String> {
    let line = said.lines().find_map(|line| line.split_once("SHA-256 "));
    Ok(line.context("a line with a fingerprint")?.1.to_owned())
}

/// The fingerprint that `-v` shows of the server's certificate.
fn shown(server: &Server) -> TestResult<String> {
    let assert = h2conn(["connect", "-vk", &server.url]).write_stdin("").assert().success();
    fingerprint(&String::from_utf8(assert.get_output().stderr.clone())?)
}

#[test]
fn the_fingerprint_of_a_server_makes_a_client_trust_it() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let colons = shown(&server)?;
    let plain = colons.replace(':', "").to_lowercase();
    for arguments in [
        vec!["--fingerprint", &colons],
        vec!["--fingerprint", &plain],
        vec!["--fingerprint", OTHER, "--fingerprint", &plain],
    ] {
        h2conn([&["connect", &server.url][..], &arguments].concat())
            .write_stdin("hi")
            .assert()
            .success()
            .stdout("hi");
    }
    h2conn(["ping", "-c", "1", "--fingerprint", &plain, &server.url]).assert().success();
    // `listen` prints the same fingerprint.
    #[cfg(unix)]
    anyhow::ensure!(fingerprint(&server.interrupt()?.stderr)? == colons);
    Ok(())
}

#[test]
fn another_certificate_is_a_tls_failure_that_shows_both_fingerprints() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let seen = shown(&server)?;
    h2conn(["connect", "--fingerprint", OTHER, &server.url])
        .write_stdin("secret")
        .assert()
        .code(3)
        .stdout("")
        .stderr(contains(&seen))
        .stderr(contains("00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11"));
    // The hint also names the option where no certificate is trusted.
    h2conn(["connect", &server.url])
        .assert()
        .code(3)
        .stderr(contains("--fingerprint SHA256 one certificate"));
    Ok(())
}

#[test]
fn a_fingerprint_that_cannot_be_used_is_a_usage_error() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("x");
    let file = file.to_str().context("a path of text")?;
    for (arguments, part) in [
        (vec!["--fingerprint", "5E:0A"], "64 hexadecimal digits"),
        (vec!["--fingerprint", &OTHER[..40]], "SHA-1"),
        (vec!["--fingerprint", OTHER, "-k"], "cannot be used with"),
        (vec!["--fingerprint", OTHER, "--cacert", "x.pem"], "cannot be used with"),
    ] {
        for command in [
            vec!["connect", "https://localhost:1/"],
            vec!["ping", "https://localhost:1/"],
            vec!["forward", "-L", "127.0.0.1:0:localhost:1", "https://localhost:1/"],
            vec![
                "send",
                concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
                "https://localhost:1/",
            ],
            vec!["recv", "https://localhost:1/x", file],
        ] {
            h2conn([command, arguments.clone()].concat())
                .assert()
                .code(1)
                .stdout("")
                .stderr(contains(part));
        }
    }
    Ok(())
}
