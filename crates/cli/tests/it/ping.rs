//! `ping`: round trips and statistics.

#[cfg(unix)]
use std::io::{BufRead, BufReader};
#[cfg(unix)]
use std::process::Stdio;

use anyhow::{Context, ensure};
use h2conn::http::StatusCode;

use crate::support::{Peer, TestResult, h2conn};
#[cfg(unix)]
use crate::support::{Server, pid, program, wait};

#[test]
fn round_trips_are_printed_with_statistics_whatever_the_server_answers() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        let method = incoming.method().to_string();
        incoming.reject(StatusCode::NOT_FOUND);
        // The link stays open for the PINGs.
        ensure!(listener.accept().await.is_none());
        Ok(method)
    })?;
    let assert =
        h2conn(["ping", "-c", "3", "--interval", "10ms", &peer.url]).assert().success().stderr("");
    let said = String::from_utf8(assert.get_output().stdout.clone())?;
    for part in ["PING http://", " seq=1 ", " seq=3 ", "3 pings sent, 3 answered, 0% lost", "mdev"]
    {
        ensure!(said.contains(part), "{part:?} is not in: {said}");
    }
    ensure!(said.matches(" time=").count() == 3, "{said}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_server_that_is_gone_between_two_pings_is_a_loss_and_no_failure() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let mut child = program()
        .args(["ping", "-k", "--interval", "100ms", &server.url])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    let mut read_until = |part: &str| -> TestResult {
        loop {
            let line = lines.next().with_context(|| format!("no line with {part:?}"))??;
            if line.contains(part) {
                return Ok(());
            }
        }
    };
    read_until("answer from 127.0.0.1")?;
    // The server goes silently.
    drop(server);
    read_until("no answer from")?;
    read_until("nothing listens there")?;
    rustix::process::kill_process(pid(&child)?, rustix::process::Signal::INT)?;
    read_until("pings sent")?;
    read_until("mdev")?;
    ensure!(wait(&mut child)?.code() == Some(0));
    Ok(())
}
