//! Certificates that both ends bring, instead of one that is made on the spot.

use std::path::{Path, PathBuf};

#[cfg(unix)]
use anyhow::ensure;
use predicates::str::contains;
use rcgen::{CertificateParams, DnType, KeyPair};
use tempfile::TempDir;

use crate::support::{Server, TestResult, h2conn};

/// A certificate and its key, in two files.
struct Pair {
    cert: String,
    key: String,
}

impl Pair {
    fn new(folder: &Path, name: &str) -> TestResult<Pair> {
        let mut params = CertificateParams::new([name.to_owned(), "127.0.0.1".to_owned()])?;
        // If two authorities have the same name, one would be taken for the other with a new key.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let write = |kind: &str, pem: String| -> TestResult<String> {
            let path: PathBuf = folder.join(format!("{name}.{kind}.pem"));
            std::fs::write(&path, pem)?;
            Ok(path.to_string_lossy().into_owned())
        };
        Ok(Pair {
            cert: write("cert", certificate.pem())?,
            key: write("key", key.serialize_pem())?,
        })
    }
}

fn pairs() -> TestResult<(TempDir, Pair, Pair)> {
    let folder = tempfile::tempdir()?;
    let server = Pair::new(folder.path(), "localhost")?;
    let client = Pair::new(folder.path(), "client.example")?;
    Ok((folder, server, client))
}

#[test]
fn a_listener_shows_the_certificate_that_it_is_given_and_no_other() -> TestResult {
    let (_folder, own, other) = pairs()?;
    let server = Server::start(&["--echo", "--keep-open", "--cert", &own.cert, "--key", &own.key])?;
    h2conn(["connect", "--cacert", &own.cert, &server.url])
        .write_stdin("hi")
        .assert()
        .success()
        .stdout("hi");
    h2conn(["connect", "--cacert", &other.cert, &server.url])
        .assert()
        .code(3)
        .stderr(contains("unknown authority"));
    // A key that does not belong to the certificate.
    h2conn(["listen", "127.0.0.1:0", "--cert", &own.cert, "--key", &other.key])
        .assert()
        .code(1)
        .stderr(contains("is not that of the first certificate"));
    Ok(())
}

#[test]
fn only_clients_with_a_certificate_of_those_who_are_trusted_are_let_in() -> TestResult {
    let (_folder, own, client) = pairs()?;
    let server = Server::start(&[
        "--echo",
        "-v",
        "--keep-open",
        "--cert",
        &own.cert,
        "--key",
        &own.key,
        "--client-ca",
        &client.cert,
    ])?;
    let url = server.url.as_str();
    h2conn(["connect", "--cacert", &own.cert, "--cert", &client.cert, "--key", &client.key, url])
        .write_stdin("hi")
        .assert()
        .success()
        .stdout("hi");
    // No certificate at all, and one that no trusted authority has signed.
    h2conn(["connect", "--cacert", &own.cert, url])
        .assert()
        .code(3)
        .stderr(contains("client certificate"));
    h2conn(["connect", "--cacert", &own.cert, "--cert", &own.cert, "--key", &own.key, url])
        .assert()
        .code(3)
        .stderr(contains("did not accept this client's certificate"));
    #[cfg(unix)]
    {
        let said = server.interrupt()?.stderr;
        let shown = "certificate of the client: for client.example, 127.0.0.1";
        ensure!(said.contains(shown), "{said}");
    }
    Ok(())
}
