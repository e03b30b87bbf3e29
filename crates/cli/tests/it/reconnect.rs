//! `connect --reconnect`: failures that can pass are retried, others are not.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;
use h2conn::{Listener, Reason};
use predicates::str::contains;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use crate::support::{Peer, Server, TestResult, WATCHDOG, h2conn, program, wait};

#[test]
fn a_connection_that_breaks_off_or_is_refused_is_made_again_and_input_goes_on() -> TestResult {
    let peer = Peer::cleartext(|mut listener: Listener| async move {
        let conn = listener.accept().await.context("the first")?.accept()?;
        let mut lines = tokio::io::BufReader::new(&conn).lines();
        let first = lines.next_line().await?.context("a line")?;
        (&conn).write_all(b"got it\n").await?;
        conn.sent().await?;
        conn.reset(Reason::INTERNAL_ERROR);
        listener.accept().await.context("the second")?.reject(StatusCode::SERVICE_UNAVAILABLE);
        let conn = listener.accept().await.context("the third")?.accept()?;
        (&conn).write_all(b"here again\n").await?;
        let mut lines = tokio::io::BufReader::new(&conn).lines();
        let second = lines.next_line().await?.context("a line")?;
        conn.close().await?;
        Ok((first, second))
    })?;
    let mut child = program()
        .args(["connect", "--reconnect", &peer.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    writeln!(stdin, "one")?;
    ensure!(lines.next().context("an answer")?? == "got it");
    ensure!(lines.next().context("a greeting")?? == "here again");
    writeln!(stdin, "two")?;
    drop(stdin);
    ensure!(wait(&mut child)?.success());
    let said = String::from_utf8(child.wait_with_output()?.stderr)?;
    ensure!(said.contains("INTERNAL_ERROR") && said.contains("503"), "{said}");
    ensure!(said.matches("; again in ").count() == 2, "{said}");
    let said = peer.join()?;
    ensure!(said == ("one".to_owned(), "two".to_owned()), "{said:?}");
    Ok(())
}

#[test]
fn what_would_fail_again_is_not_tried_again() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    h2conn(["connect", "--reconnect", &server.url]).assert().code(3);
    let peer = Peer::cleartext(|mut listener| async move {
        listener.accept().await.context("a request")?.reject(StatusCode::FORBIDDEN);
        listener.drain(WATCHDOG).await;
        Ok(())
    })?;
    h2conn(["connect", "--reconnect", &peer.url]).assert().code(4).stderr(contains("403"));
    peer.join()
}
