//! A response that does not come: the tool says what it waits for, and `--connect-timeout` limits
//! the wait.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use tokio::sync::oneshot;

use crate::support::{Peer, TestResult, all_at_once, h2conn, program, wait};

/// A run whose standard input stays open, and its messages.
fn run(command: &mut Command) -> TestResult<(Child, BufReader<impl Read + use<>>)> {
    let mut child = command
        .env("H2CONN_TOKEN", "a-token-for-tests")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(child.stderr.take().context("a pipe")?);
    Ok((child, said))
}

/// The commands that wait for a response from `url`, with files in `folder`. The requests of the last two are
/// complete.
fn commands(url: &str, folder: &tempfile::TempDir) -> TestResult<[Vec<String>; 4]> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("here"), "a file")?;
    let url = |path: &str| format!("{url}{path}");
    let all = [
        vec!["connect".to_owned(), url("path?secret")],
        vec!["send".to_owned(), path("here"), url("files/there")],
        vec!["recv".to_owned(), url("files/there"), path("there")],
        vec!["forward".to_owned(), "-L".to_owned(), "0:127.0.0.1:1".to_owned(), url("")],
    ];
    Ok(all)
}

#[test]
fn a_response_that_does_not_come_is_explained_once() -> TestResult {
    let cases = ["connect", "send", "recv", "forward"];
    let mut which = 0..;
    all_at_once(cases.map(|name| {
        let which = which.next();
        (name, move || is_explained_once(which.context("a number")?))
    }))
}

/// Checks the command with this number.
fn is_explained_once(which: usize) -> TestResult {
    let folder = tempfile::tempdir()?;
    let (answer, asked) = oneshot::channel();
    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        asked.await?;
        // Some commands reject this answer.
        let _ = incoming.accept()?.close().await;
        Ok(())
    })?;
    let args = &commands(&peer.url, &folder)?[which];
    let (mut child, mut said) = run(program().args(args))?;
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line.contains(&peer.url) && line.contains("no response after 3 s"), "{line:?}");
    let more = ["input", "more of the request", "something else", "something else"][which];
    let more = format!("wait for {more} before");
    ensure!(line.contains("a proxy on the way") && line.contains(&more), "{line:?}");
    ensure!(!line.contains("secret"), "{line:?}");
    answer.send(()).map_err(|()| anyhow::anyhow!("the peer has gone"))?;
    drop(child.stdin.take());
    if which == 3 {
        // The command forwards now.
        said.read_line(&mut line)?;
        child.kill()?;
    }
    wait(&mut child)?;
    said.read_to_string(&mut line)?;
    ensure!(line.matches("no response").count() == 1, "{line:?}");
    peer.join()
}

#[test]
fn a_link_that_does_not_come_is_explained() -> TestResult {
    // This server accepts connections, and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}/", silent.local_addr()?);
    for args in [&["connect", "-k"][..], &["ping", "-k"]] {
        let (mut child, mut said) = run(program().args(args).arg(&url))?;
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(
            line == format!("h2conn: {url}: no connection after 3 s; still trying\n"),
            "{line:?}"
        );
        child.kill()?;
        wait(&mut child)?;
    }
    Ok(())
}

#[test]
fn a_limit_for_the_connection_holds_for_the_response() -> TestResult {
    let folder = tempfile::tempdir()?;
    for which in 0..4 {
        let peer = Peer::cleartext(|mut listener| async move {
            let incoming = listener.accept().await.context("a request")?;
            // Wait until the client has gone.
            listener.drain(crate::support::WATCHDOG).await;
            drop(incoming);
            Ok(())
        })?;
        let args = &commands(&peer.url, &folder)?[which];
        h2conn(args)
            .args(["--connect-timeout", "300ms"])
            .env("H2CONN_TOKEN", "a-token-for-tests")
            .assert()
            .code(6)
            .stdout("")
            .stderr(contains("no response within 0.3 s").and(contains("proxy")));
        peer.join()?;
    }
    Ok(())
}
