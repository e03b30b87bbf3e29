//! Ctrl-C: once is an end in good order, twice is one at once.

use std::io::Read;
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Peer, Server, TestResult, WATCHDOG, Watch, connected, pid, program, wait};

#[test]
fn once_ends_the_connection_so_that_the_peer_reads_an_end_of_file() -> TestResult {
    for signal in [Signal::INT, Signal::TERM] {
        let peer = Peer::cleartext(|mut listener| async move {
            let mut conn = listener.accept().await.context("a request")?.accept()?;
            conn.write_all(b"x").await?;
            let mut said = String::new();
            conn.read_to_string(&mut said).await?;
            conn.close().await?;
            Ok(said)
        })?;
        let mut child = connected(&[&peer.url])?;
        child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
        kill_process(pid(&child)?, signal)?;
        ensure!(wait(&mut child)?.code() == Some(0));
        ensure!(peer.join()?.is_empty());
    }
    Ok(())
}

#[test]
fn twice_ends_the_process_though_the_peer_takes_nothing() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let conn = listener.accept().await.context("a request")?.accept()?;
        (&conn).write_all(b"x").await?;
        // It never reads, so that the client's end is never all sent.
        let _ = conn.closed().await;
        Ok(())
    })?;
    let mut endless = std::process::Command::new("yes").stdout(Stdio::piped()).spawn()?;
    let mut child = program()
        .args(["connect", "-v", &peer.url])
        .stdin(endless.stdout.take().context("a pipe")?)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    let status = insist(&mut child)?;
    let _ = endless.kill();
    endless.wait()?;
    ensure!(status.code() == Some(130), "{status}");
    peer.join()
}

/// Two signals that come at once are one, so it is told until it ends.
pub(crate) fn insist(child: &mut Child) -> TestResult<ExitStatus> {
    let began = Instant::now();
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status),
            None => kill_process(pid(child)?, Signal::INT)?,
        }
        ensure!(began.elapsed() < WATCHDOG, "it does not end");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn twice_leaves_nothing_of_the_commands_of_a_listener() -> TestResult {
    let watch = Watch::new()?;
    let command = format!("trap '' TERM; {}; sleep 4242; :", watch.hold);
    let mut server = Server::start(&["-k", "--exec", &command])?;
    let mut child = program().args(["connect", "-k", &server.url]).stdin(Stdio::piped()).spawn()?;
    watch.started()?;
    let status = insist(server.process())?;
    ensure!(status.code() == Some(130), "{status}");
    wait(&mut child)?;
    watch.gone()
}

#[test]
fn a_listener_ends_in_good_order_with_a_connection_open() -> TestResult {
    let server = Server::start(&["--echo", "-k"])?;
    let mut child = connected(&["-k", &server.url])?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    std::io::Write::write_all(&mut stdin, b"x")?;
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    server.signal(Signal::INT)?;
    // It waits for those who are there: this one ends now.
    drop(stdin);
    ensure!(wait(&mut child)?.success());
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn once_before_there_is_a_connection_is_no_success() -> TestResult {
    // It takes connections in, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}/", silent.local_addr()?);
    for args in [&["connect", "-k"][..], &["connect", "-k", "--reconnect"], &["ping", "-k"]] {
        let mut child = program().args(args).arg(&url).stdin(Stdio::null()).spawn()?;
        let (mut socket, _) = silent.accept()?;
        // The handshake has begun, so whoever waits for the user does.
        socket.read_exact(&mut [0])?;
        kill_process(pid(&child)?, Signal::INT)?;
        ensure!(wait(&mut child)?.code() == Some(130), "{args:?}");
    }
    Ok(())
}

#[test]
fn a_listener_of_one_connection_that_nobody_came_to_is_no_success() -> TestResult {
    for (args, code) in [(&["--echo"][..], 130), (&["--echo", "-k"], 0)] {
        let ended = Server::start(args)?.interrupt()?;
        ensure!(ended.code == Some(code), "{args:?}: {ended:?}");
    }
    Ok(())
}
