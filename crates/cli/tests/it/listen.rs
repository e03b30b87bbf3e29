//! `listen`: which clients are served, how many of them, and by which service.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::process::Stdio;
use std::thread;

use anyhow::{Context, ensure};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::{Server, TestResult, connected, h2conn, noise, program, wait};

#[test]
fn one_connection_is_served_at_standard_input_and_output() -> TestResult {
    let mut command = program();
    command.args(["listen", "127.0.0.1:0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = Server::run(&mut command)?;
    let mut stdin = server.stdin().context("a pipe")?;
    stdin.write_all(b"welcome")?;
    drop(stdin);
    h2conn(["connect", "-k", &server.url])
        .write_stdin("hello")
        .assert()
        .success()
        .stdout("welcome");
    let ended = server.wait()?;
    ensure!(ended.code == Some(0) && ended.stdout == b"hello", "{ended:?}");
    Ok(())
}

#[test]
fn a_port_alone_is_reached_by_a_host_and_port_without_a_scheme() -> TestResult {
    let mut command = program();
    command.args(["listen", "0", "--echo"]).stdin(Stdio::null());
    let server = Server::run(&mut command)?;
    let port = server.url.strip_prefix("https://0.0.0.0:").context("not all addresses")?;
    let place = format!("127.0.0.1:{}", port.trim_end_matches('/'));
    h2conn(["connect", "-k", &place]).write_stdin("hi").assert().success().stdout("hi");
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn an_identity_is_made_once_and_kept_for_the_next_start() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("identity.pem");
    let file = file.to_str().context("a path of text")?;
    let mut fingerprints = Vec::new();
    for said in ["certificate made and kept in ", "certificate kept in "] {
        let server = Server::start(&["--echo", "--identity", file])?;
        // The certificate is in it, beside the key.
        h2conn(["connect", "--cacert", file, &server.url])
            .write_stdin("hi")
            .assert()
            .success()
            .stdout("hi");
        let stderr = server.wait()?.stderr;
        let line = stderr.lines().find(|line| line.starts_with(said)).context(stderr.clone())?;
        fingerprints.push(line.split_once("SHA-256 ").context("no fingerprint")?.1.to_owned());
    }
    ensure!(fingerprints[0] == fingerprints[1] && fingerprints[0].len() == 95, "{fingerprints:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file)?.permissions().mode();
        ensure!(mode & 0o777 == 0o600, "{mode:o}");
    }
    Ok(())
}

#[test]
fn another_is_turned_away_with_a_text_while_one_is_served() -> TestResult {
    let server = Server::start(&["--echo"])?;
    let mut first = connected(&["-k", &server.url])?;
    let mut stdin = first.stdin.take().context("a pipe")?;
    stdin.write_all(b"x")?;
    first.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    h2conn(["connect", "-k", &server.url])
        .assert()
        .code(4)
        .stderr(contains("503").and(contains("one connection at a time")));
    drop(stdin);
    ensure!(wait(&mut first)?.success() && server.wait()?.code == Some(0));
    Ok(())
}

#[cfg(unix)]
#[test]
fn many_are_served_one_after_the_other_and_at_once_when_it_keeps_open() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open", "--max-conns", "3"])?;
    let mut children = Vec::new();
    // All of them: nobody else can come for a place that was kept free.
    for _ in 0..3 {
        let mut child = connected(&["-k", &server.url])?;
        child.stdin.as_mut().context("a pipe")?.write_all(b"x")?;
        child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
        children.push(child);
    }
    h2conn(["connect", "-k", &server.url]).assert().code(4).stderr(contains("503"));
    for mut child in children {
        drop(child.stdin.take());
        ensure!(wait(&mut child)?.success());
    }
    for _ in 0..3 {
        h2conn(["connect", "-k", &server.url]).write_stdin("hi").assert().success().stdout("hi");
    }
    ensure!(server.interrupt()?.code == Some(0));
    Ok(())
}

/// A server that answers once, after the end of its input. With `cut` it cuts the connection
/// instead.
fn shouter(cut: bool) -> TestResult<(String, thread::JoinHandle<TestResult<Vec<u8>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?.to_string();
    let serving = thread::spawn(move || {
        let (mut socket, _) = listener.accept()?;
        let mut all = Vec::new();
        if cut {
            socket.read_exact(&mut [0])?;
            // Bytes that are unread make the system send RST.
            return Ok(all);
        }
        socket.read_to_end(&mut all)?;
        socket.write_all(&all.to_ascii_uppercase())?;
        socket.shutdown(Shutdown::Write)?;
        Ok(all)
    });
    Ok((addr, serving))
}

#[test]
fn a_tcp_server_that_answers_after_the_end_is_reached_with_to() -> TestResult {
    let (addr, serving) = shouter(false)?;
    let server = Server::start(&["--to", &addr])?;
    let bytes = noise(1_000_000);
    let assert =
        h2conn(["connect", "-k", &server.url]).write_stdin(bytes.clone()).assert().success();
    ensure!(assert.get_output().stdout == bytes.to_ascii_uppercase(), "not what was sent");
    ensure!(serving.join().map_err(|_| anyhow::anyhow!("it panicked"))?? == bytes);
    ensure!(server.wait()?.code == Some(0));
    Ok(())
}

#[test]
fn a_tcp_connection_that_is_cut_resets_the_one_that_it_is_relayed_to() -> TestResult {
    let (addr, serving) = shouter(true)?;
    let server = Server::start(&["--to", &addr])?;
    h2conn(["connect", "-k", &server.url])
        .write_stdin(noise(1_000_000))
        .assert()
        .code(5)
        .stderr(contains("CONNECT_ERROR"));
    serving.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    Ok(())
}

#[test]
fn where_nobody_is_behind_it_the_client_is_told_502_and_the_user_why() -> TestResult {
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let server = Server::start(&["--to", &nobody])?;
    h2conn(["connect", "-k", &server.url]).assert().code(4).stderr(contains("502 Bad Gateway"));
    let ended = server.wait()?;
    ensure!(ended.code == Some(2) && ended.stderr.contains(&nobody), "{ended:?}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn unix_sockets_serve_for_listening_connecting_and_handing_on() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| format!("unix:{}", folder.path().join(name).display());
    let (inner, outer) = (path("inner"), path("outer"));
    let start =
        |args: &[&str]| Server::run(program().arg("listen").args(args).stdin(Stdio::null()));
    // The inner server speaks plain bytes on a socket. Here these bytes are HTTP/2 again.
    let echo = start(&[&inner, "--cleartext", "--echo"])?;
    ensure!(echo.url == format!("{inner} (http)"), "{}", echo.url);
    let hand = start(&[&outer, "--cleartext", "--to", &inner])?;
    let socket = folder.path().join("inner");
    let socket = socket.to_str().context("a path of text")?;
    h2conn(["connect", "--unix-socket", socket, "http://anything/"])
        .write_stdin("hi")
        .assert()
        .success()
        .stdout("hi");
    ensure!(echo.wait()?.code == Some(0));
    ensure!(!folder.path().join("inner").exists(), "the socket's file is left");
    // No server is behind the outer one any more.
    let socket = folder.path().join("outer");
    let socket = socket.to_str().context("a path of text")?;
    h2conn(["connect", "--unix-socket", socket, "http://anything/"])
        .assert()
        .code(4)
        .stderr(contains("502"));
    ensure!(hand.wait()?.code == Some(2));
    Ok(())
}

#[test]
fn a_listener_whose_reader_has_gone_ends() -> TestResult {
    let mut command = program();
    command
        .args(["listen", "127.0.0.1:0", "--keep-open"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut server = Server::run(&mut command)?;
    drop(server.stdout());
    // The first chunk is lost, and the next write fails.
    h2conn(["connect", "-k", &server.url]).write_stdin(noise(3_000_000)).assert().stdout("");
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
