//! Certificates as `openssl` makes them.

use std::process::Stdio;

use anyhow::ensure;
use h2conn::tls::{ClientTls, Identity, ServerTls};
use h2conn::{Client, ErrorKind, Listener};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::{TestResult, accept, check_echo, echo, port_of, run, serve, skipped};

/// As in many manuals. The certificate is an authority's (`CA:TRUE`).
const PLAIN: &str = "req -x509 -newkey rsa:2048 -nodes -keyout - -subj /CN=localhost \
                     -addext subjectAltName=DNS:localhost";

/// The output of `openssl` for these arguments and this input. Says aloud if there is no such
/// program, and returns `None`.
async fn openssl(arguments: &str, input: &str) -> TestResult<Option<String>> {
    let spawned = Command::new("openssl")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut openssl) = spawned else {
        skipped("no openssl: there is no program `openssl`");
        return Ok(None);
    };
    if let Some(mut stdin) = openssl.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = openssl.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {arguments}: {said}");
    Ok(Some(String::from_utf8(output.stdout)?))
}

/// A key with its certificate, by [`PLAIN`] and these arguments.
async fn made(more: &str) -> TestResult<Option<Identity>> {
    let Some(pem) = openssl(&format!("{PLAIN} {more}"), "").await? else { return Ok(None) };
    Ok(Some(Identity::from_pem(&pem, &pem)?))
}

/// Connects to a server of `identity`, and has it echo.
async fn echoes(tls: ClientTls, identity: &Identity) -> TestResult {
    let mut listener = Listener::builder().tls(identity.clone()).bind("127.0.0.1:0").await?;
    let client = Client::builder().tls(tls).build()?;
    let url = format!("https://localhost:{}/", port_of(&listener).port());
    let (connected, accepted) = tokio::join!(client.connect(&url), accept(&mut listener));
    tokio::spawn(echo(accepted?));
    check_echo(connected?.0, b"over a certificate of openssl").await
}

#[test]
fn a_certificate_of_plain_openssl_is_accepted_where_it_was_given() -> TestResult {
    run(async {
        for more in ["", "-addext basicConstraints=critical,CA:FALSE"] {
            let Some(own) = made(more).await? else { return Ok(()) };
            let certificate = own.certificate_pem();
            echoes(ClientTls::new().only_root_certificates(&certificate), &own).await?;
            echoes(ClientTls::new().root_certificates(&certificate), &own).await?;
        }
        Ok(())
    })
}

#[test]
fn the_fingerprint_that_openssl_prints_can_be_pinned() -> TestResult {
    run(async {
        let Some(own) = made("").await? else { return Ok(()) };
        let printed = openssl("x509 -noout -fingerprint -sha256", &own.certificate_pem()).await?;
        let printed = printed.unwrap_or_default();
        let fingerprint = printed.trim().split_once('=').map_or("", |(_, fingerprint)| fingerprint);
        ensure!(own.fingerprint() == fingerprint, "{printed} is not {}", own.fingerprint());
        echoes(ClientTls::new().pinned(fingerprint), &own).await?;

        let Some(other) = made("").await? else { return Ok(()) };
        let listener = Listener::builder().tls(other.clone()).bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/", port_of(&listener).port());
        serve(listener, echo);
        let tls = ClientTls::new().pinned(fingerprint);
        let error = Client::builder().tls(tls).build()?.connect(&url).await.map(drop);
        let error = error.expect_err("another certificate than the one that is pinned");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
        for part in [&own.fingerprint(), &other.fingerprint(), &url] {
            ensure!(error.to_string().contains(part), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_certificate_of_plain_openssl_that_was_not_given_is_refused_with_what_to_do() -> TestResult {
    run(async {
        let (Some(own), Some(other)) = (made("").await?, made("").await?) else { return Ok(()) };
        let listener = Listener::builder().tls(own).bind("127.0.0.1:0").await?;
        let url = format!("https://localhost:{}/", port_of(&listener).port());
        serve(listener, echo);
        let tls = ClientTls::new().only_root_certificates(other.certificate_pem());
        let error = Client::builder().tls(tls).build()?.connect(&url).await.map(drop);
        let error = error.expect_err("a certificate that nobody has given");
        ensure!(error.kind() == ErrorKind::Tls, "{error:?}");
        for part in ["CA:TRUE", "ClientTls::pinned"] {
            ensure!(error.to_string().contains(part), "{error}");
        }
        Ok(())
    })
}

#[test]
fn a_client_with_a_certificate_of_plain_openssl_is_let_in_where_it_was_given() -> TestResult {
    run(async {
        let (Some(own), Some(me)) = (made("").await?, made("").await?) else { return Ok(()) };
        let tls = ServerTls::new(own.clone()).client_roots(me.certificate_pem());
        let mut listener = Listener::builder().tls(tls).bind("127.0.0.1:0").await?;
        let tls = ClientTls::new().pinned(own.fingerprint()).identity(me);
        let client = Client::builder().tls(tls).build()?;
        let url = format!("https://localhost:{}/", port_of(&listener).port());
        let (connected, accepted) = tokio::join!(client.connect(&url), accept(&mut listener));
        let server = accepted?;
        ensure!(server.peer_certificates().len() == 1, "the client has shown its own");
        tokio::spawn(echo(server));
        check_echo(connected?.0, b"hello").await
    })
}
