//! A standard error that has no reader, and peers that cause many messages.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, ensure};
use h2conn::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
#[cfg(target_os = "linux")]
use tokio::net::TcpSocket;

use crate::support::{Server, TestResult, WATCHDOG, h2conn, program, wait};

/// A listener whose standard error is read only up to the line with its address.
fn unread(args: &[&str]) -> TestResult<(Child, BufReader<ChildStderr>, String)> {
    let mut child = program().args(args).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("a pipe")?);
    loop {
        let mut line = String::new();
        ensure!(lines.read_line(&mut line)? > 0, "it does not listen");
        if let Some(url) = line.strip_prefix("listening on ") {
            return Ok((child, lines, url.trim_end().to_owned()));
        }
    }
}

/// Opens connections, each of which causes some lines in a log of frames. Together they fill many
/// pipes.
fn have_much_said(url: &str) -> TestResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::builder().build()?;
        for _ in 0..1000 {
            let (mut conn, _) = client.connect(url).await?;
            conn.write_all(b"hi").await?;
            conn.shutdown().await?;
            let mut echo = String::new();
            conn.read_to_string(&mut echo).await?;
            ensure!(echo == "hi");
        }
        Ok(client.close().await?)
    })
}

#[test]
fn a_listener_whose_standard_error_nobody_reads_serves_on_and_says_later_what_is_missing()
-> TestResult {
    let args = ["listen", "127.0.0.1:0", "--cleartext", "--echo", "--keep-open", "-vvv"];
    let (mut child, mut stderr, url) = unread(&args)?;
    have_much_said(&url)?;
    let (found, missing) = mpsc::channel();
    let reading = thread::spawn(move || {
        for line in (&mut stderr).lines().map_while(Result::ok) {
            if line.contains(" lines were dropped here, ") {
                let _ = found.send(line);
            }
        }
    });
    missing.recv_timeout(WATCHDOG).context("it does not say what is missing")?;
    // The listener still serves, now with a reader.
    h2conn(["connect", &url]).write_stdin("hi").assert().success().stdout("hi");
    child.kill()?;
    wait(&mut child)?;
    reading.join().map_err(|_| anyhow::anyhow!("it panicked"))
}

/// Only Linux tells how much a pipe holds.
#[cfg(target_os = "linux")]
#[test]
fn a_command_ends_with_its_exit_code_though_standard_error_takes_nothing() -> TestResult {
    let (reader, mut writer) = std::io::pipe()?;
    let size = rustix::pipe::fcntl_getpipe_size(&writer)?;
    writer.write_all(&vec![b'x'; size])?;
    // No server can listen on this port.
    let mut command = program();
    command.args(["connect", "http://127.0.0.1:0/"]).stdin(Stdio::null()).stderr(writer);
    let mut child = command.spawn()?;
    ensure!(wait(&mut child)?.code() == Some(2));
    drop(reader);
    // The same applies if the reader has gone.
    let (_, writer) = std::io::pipe()?;
    let mut child = command.stderr(writer).spawn()?;
    ensure!(wait(&mut child)?.code() == Some(2));
    Ok(())
}

#[test]
fn a_server_whose_standard_error_nobody_reads_still_ends() -> TestResult {
    let args = ["listen", "127.0.0.1:0", "--cleartext", "--echo", "--keep-open", "-vvv"];
    let (mut child, _stderr, url) = unread(&args)?;
    have_much_said(&url)?;
    rustix::process::kill_process(crate::support::pid(&child)?, rustix::process::Signal::INT)?;
    ensure!(wait(&mut child)?.code() == Some(0));
    Ok(())
}

#[test]
fn a_stranger_who_asks_again_and_again_fills_no_log_and_is_counted() -> TestResult {
    const ASKED: u64 = 1000;
    let mut serve = program();
    serve.args(["serve", "127.0.0.1:0", "--cleartext", "--allow", "127.0.0.1:1"]);
    let server = Server::run(serve.env("H2CONN_TOKEN", "0123456789abcdef"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::builder().build()?;
        for _ in 0..ASKED {
            let refused = client.connect(&server.url).await;
            ensure!(refused.is_err_and(|error| error.status().is_some_and(|s| s == 401)));
        }
        Ok(client.close().await?)
    })?;
    let said = server.interrupt()?.stderr;
    let lines: Vec<&str> = said.lines().filter(|line| line.contains(": 401 ")).collect();
    let number = |line: &str, before: &str, behind: &str| -> u64 {
        let number = line.split_once(behind).and_then(|(head, _)| head.rsplit_once(before));
        number.and_then(|(_, number)| number.parse().ok()).unwrap_or(0)
    };
    let before: u64 = lines.iter().map(|line| number(line, "(and ", " more like this")).sum();
    let after: u64 = said.lines().map(|line| number(line, ": ", " more lines were left out")).sum();
    ensure!(lines.len() >= 10 && lines.len() < 900, "{} lines", lines.len());
    ensure!(lines.len() as u64 + before + after == ASKED, "{before} and {after}:\n{said}");
    Ok(())
}

#[test]
fn a_stranger_fills_no_log_with_lines_that_the_user_has_asked_for() -> TestResult {
    const LINKS: usize = 400;
    let args = ["--echo", "--keep-open", "--cleartext", "-v", "--stats"];
    let server = Server::start(&args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for _ in 0..LINKS {
            let client = Client::builder().build()?;
            let (mut conn, _) = client.connect(&server.url).await?;
            conn.shutdown().await?;
            conn.close().await?;
            client.close().await?;
        }
        anyhow::Ok(())
    })?;
    let said = server.interrupt()?.stderr;
    for part in
        ["* settings of the peer: ", "* connection from ", "< POST ", "sent 0 bytes", "* closed: "]
    {
        let shown = said.lines().filter(|line| line.contains(part)).count();
        // One more for each second that this takes.
        ensure!((10..LINKS * 3 / 4).contains(&shown), "{part:?}: {shown} lines");
    }
    for kind in ["settings", "accepted", "stats", "closed"] {
        let counted = format!(" more lines were left out ({kind})");
        // A message of one line has the count of those before it at its end.
        let is_told = |line: &str| {
            line.contains("* settings of the peer: ") && line.contains(" more like this before")
        };
        ensure!(
            said.contains(&counted) || kind == "settings" && said.lines().any(is_told),
            "{kind}: {said}"
        );
    }
    // The lines of a message are together.
    let (messages, ends) = ("* connection from ", |line: &&str| *line == "<");
    let messages = said.lines().filter(|line| line.contains(messages)).count();
    ensure!(said.lines().filter(ends).count() == messages, "{said}");
    Ok(())
}

#[test]
fn a_client_without_a_place_at_a_listener_is_warned_of_with_the_option() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open", "--cleartext", "--max-conns", "1"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::builder().build()?;
        let (one, _) = client.connect(&server.url).await?;
        let refused = client.connect(&server.url).await;
        ensure!(refused.is_err_and(|error| error.status().is_some_and(|s| s == 503)));
        one.close().await?;
        Ok(client.close().await?)
    })?;
    let said = server.interrupt()?.stderr;
    ensure!(said.contains("503") && said.contains("--max-conns"), "{said}");
    Ok(())
}

/// On Linux, all of 127.0.0.0/8 belongs to this machine.
#[cfg(target_os = "linux")]
#[test]
fn a_client_of_a_listener_has_at_most_as_many_places_as_it_leaves_to_others() -> TestResult {
    let args =
        ["listen", "0.0.0.0:0", "--echo", "--keep-open", "--cleartext", "--max-conns", "100"];
    let server = Server::run(program().args(args).stdin(Stdio::null()))?;
    let url = server.url.replace("0.0.0.0", "127.0.0.1");
    let addr = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut kept = Vec::new();
        for (source, most) in [("127.0.0.1:0", 50), ("127.0.0.2:0", 25), ("127.0.0.3:0", 13)] {
            let socket = TcpSocket::new_v4()?;
            socket.bind(source.parse()?)?;
            let client = Client::builder().build_over(socket.connect(addr).await?).await?;
            for n in 0..most {
                let (conn, _) = client.connect(&url).await.context(format!("{source} {n}"))?;
                kept.push(conn);
            }
            let refused = client.connect(&url).await;
            ensure!(refused.is_err_and(|error| error.status().is_some_and(|s| s == 503)));
        }
        Ok(())
    })?;
    let said = server.interrupt()?.stderr;
    ensure!(
        said.contains("503 this peer has 50 of the 100 connections that --max-conns"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_warning_of_the_library_is_shown_without_being_asked_for() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open", "--cleartext"])?;
    let address = server.url.trim_start_matches("http://").trim_end_matches('/');
    let mut stranger = TcpStream::connect(address)?;
    stranger.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    // One SETTINGS frame with more entries than any real peer sends.
    stranger.write_all(b"\0\0\xc6\x04\0\0\0\0\0")?;
    stranger.write_all(&b"\0\x03\0\0\0\x64".repeat(33))?;
    let _ = stranger.read_to_end(&mut Vec::new());
    h2conn(["connect", &server.url]).write_stdin("hi").assert().success().stdout("hi");
    let said = server.interrupt()?.stderr;
    ensure!(said.contains(" WARN ") && said.contains("reason=\"abuse\""), "{said}");
    ensure!(said.contains(&format!("peer={}", stranger.local_addr()?)), "{said}");
    Ok(())
}

#[test]
fn a_client_over_the_cap_on_links_is_warned_of_by_the_name_of_the_cap() -> TestResult {
    let mut serve = program();
    let args = ["serve", "127.0.0.1:0", "--cleartext", "--allow", "*:*", "--max-links", "1"];
    let server = Server::run(serve.args(args).env("H2CONN_TOKEN", "0123456789abcdef"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (one, other) = (Client::builder().build()?, Client::builder().build()?);
        // The request is refused, and its link stays.
        ensure!(one.connect(&server.url).await.is_err_and(|error| error.status().is_some()));
        ensure!(other.connect(&server.url).await.is_err_and(|error| error.status().is_none()));
        Ok(())
    })?;
    let said = server.interrupt()?.stderr;
    ensure!(said.contains("at a limit limit=\"max_links\" peer=127.0.0.1:"), "{said}");
    ensure!(!said.contains("link opened"), "{said}");
    Ok(())
}
