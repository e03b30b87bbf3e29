//! `connect`: the bytes of both directions, up to the end of each.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use anyhow::{Context, ensure};
use h2conn::Reason;
use h2conn::http::StatusCode;
use predicates::str::contains;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Peer, Server, TestResult, connected, h2conn, noise, program, wait};

/// A command for a shell that prints lines until nothing reads them.
const ENDLESS: &str = if cfg!(windows) { "for /L %i in (1,0,2) do @echo y" } else { "exec yes" };

#[test]
fn bytes_come_back_from_an_echo_as_they_were() -> TestResult {
    for args in [&["--echo"][..], &["--echo", "--cleartext"]] {
        let server = Server::start(args)?;
        let bytes = noise(3_000_000);
        let output =
            h2conn(["connect", "-k", &server.url]).write_stdin(bytes.clone()).assert().success();
        ensure!(output.get_output().stdout == bytes, "they are not the same");
        ensure!(output.get_output().stderr.is_empty(), "{:?}", output.get_output());
        ensure!(server.wait()?.code == Some(0));
    }
    Ok(())
}

#[test]
fn an_answer_that_is_given_after_the_end_of_input_is_printed() -> TestResult {
    let peer = Peer::tls(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        let mut said = String::new();
        conn.read_to_string(&mut said).await?;
        conn.write_all(format!("{} bytes", said.len()).as_bytes()).await?;
        conn.close().await?;
        Ok(())
    })?;
    let cacert = peer.cacert.to_str().context("a path of text")?;
    h2conn(["connect", "--cacert", cacert, &peer.url])
        .write_stdin("0123456789")
        .assert()
        .success()
        .stdout("10 bytes");
    peer.join()
}

#[test]
fn input_is_sent_to_its_end_though_the_peer_has_ended_its_own_direction() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        conn.shutdown().await?;
        let mut all = Vec::new();
        conn.read_to_end(&mut all).await?;
        drop(conn);
        // The client must learn that everything has arrived. If this peer exits now, it may not
        // tell the client.
        listener.drain(crate::support::WATCHDOG).await;
        Ok(all)
    })?;
    let bytes = noise(3_000_000);
    h2conn(["connect", &peer.url]).write_stdin(bytes.clone()).assert().success().stdout("");
    ensure!(peer.join()? == bytes, "not all has come");
    Ok(())
}

#[test]
fn a_peer_that_is_gone_after_its_answer_ends_the_command_with_input_left() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        conn.write_all(b"enough").await?;
        conn.shutdown().await?;
        conn.reset(Reason::NO_ERROR);
        // When the client has no more connections, it has the answer.
        let left = listener.drain(crate::support::WATCHDOG).await;
        Ok(left)
    })?;
    // The child's input never ends.
    let mut child = connected(&[&peer.url])?;
    let status = wait(&mut child)?;
    let output = child.wait_with_output()?;
    ensure!(status.success() && output.stdout == b"enough", "{status}: {output:?}");
    peer.join()?;
    Ok(())
}

/// HAProxy 2.6 sends this for an answer that its server has reset.
#[test]
fn an_end_and_then_a_reset_with_an_error_is_an_answer_that_may_be_cut() -> TestResult {
    for ends_input in [false, true] {
        let (said, input_ended) = std::sync::mpsc::channel::<()>();
        let peer = Peer::cleartext(move |mut listener| async move {
            let mut conn = listener.accept().await.context("a request")?.accept()?;
            if ends_input {
                conn.read_to_end(&mut Vec::new()).await?;
            }
            conn.write_all(b"half of i").await?;
            conn.shutdown().await?;
            conn.reset(Reason::CANCEL);
            drop(said);
            let left = listener.drain(crate::support::WATCHDOG).await;
            Ok(left)
        })?;
        let mut child = program()
            .args(["connect", &peer.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if ends_input {
            drop(child.stdin.take());
        }
        let _ = input_ended.recv();
        let status = wait(&mut child)?;
        let output = child.wait_with_output()?;
        ensure!(output.stdout == b"half of i", "{output:?}");
        if ends_input {
            // Both directions had ended, and none of the input was dropped.
            ensure!(status.success(), "{status}: {output:?}");
        } else {
            ensure!(status.code() == Some(5), "{status}: {output:?}");
            let stderr = String::from_utf8(output.stderr)?;
            ensure!(stderr.contains("may be cut"), "{stderr}");
            ensure!(stderr.lines().count() == 1, "{stderr}");
        }
        peer.join()?;
    }
    Ok(())
}

#[test]
fn each_line_is_answered_while_the_connection_goes_on() -> TestResult {
    let server = Server::start(&["--echo"])?;
    let mut child = connected(&["-k", &server.url])?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    for word in ["one", "two", "three"] {
        writeln!(stdin, "{word}")?;
        let line = lines.next().context("an answer")??;
        ensure!(line == word, "{line:?}");
    }
    drop(stdin);
    ensure!(lines.next().is_none() && wait(&mut child)?.success());
    Ok(())
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() -> TestResult {
    let server = Server::start(&["--exec", ENDLESS])?;
    let mut child = program()
        .args(["connect", "-k", &server.url])
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("a pipe")?).lines();
    ensure!(lines.next().context("a line")?? == "y");
    // From here on the output has no reader.
    drop(lines);
    let status = wait(&mut child)?;
    let output = child.wait_with_output()?;
    ensure!(status.success() && output.stderr.is_empty(), "{status}: {output:?}");
    Ok(())
}

#[test]
fn a_reader_that_has_seen_enough_does_not_wait_for_a_peer_that_does_not_read() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        // This peer never reads.
        while conn.write_all(b"answer\n").await.is_ok() {}
        let was_reset = conn.closed().await.is_err();
        drop(conn);
        // The server stays until its client knows that the bytes have arrived.
        listener.drain(crate::support::WATCHDOG).await;
        Ok(was_reset)
    })?;
    let [shell, flag] = if cfg!(windows) { ["cmd", "/C"] } else { ["sh", "-c"] };
    let mut endless = std::process::Command::new(shell);
    let mut endless = endless.args([flag, ENDLESS]).stdout(Stdio::piped()).spawn()?;
    let mut child = program()
        .args(["connect", &peer.url])
        .stdin(endless.stdout.take().context("a pipe")?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdout.take().context("a pipe")?.read_exact(&mut [0; 6])?;
    let status = wait(&mut child)?;
    let output = child.wait_with_output()?;
    let _ = endless.kill();
    endless.wait()?;
    ensure!(status.success() && output.stderr.is_empty(), "{status}: {output:?}");
    ensure!(peer.join()?, "half of the input looks like all of it");
    Ok(())
}

#[test]
fn the_request_has_the_method_and_the_fields_of_the_command_line_a_file_and_the_environment()
-> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("fields");
    std::fs::write(&file, "authorization: Bearer s3cret\n\nx-more: a: b\r\n")?;
    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        let field = |name| incoming.headers().get(name).and_then(|value| value.to_str().ok());
        let seen =
            ["authorization", "x-more", "x-given"].map(|name| field(name).map(str::to_owned));
        let method = incoming.method().to_string();
        incoming.accept()?.close().await?;
        Ok((method, seen))
    })?;
    let at_file = format!("@{}", file.display());
    h2conn(["connect", "-X", "PUT", "-H", "x-given: 1", "-H", &at_file, &peer.url])
        .assert()
        .success();
    let (method, seen) = peer.join()?;
    let [authorization, more, given] = seen.map(Option::unwrap_or_default);
    ensure!(method == "PUT" && authorization == "Bearer s3cret", "{method} {authorization}");
    ensure!(more == "a: b" && given == "1", "{more} {given}");

    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        let seen = incoming.headers().get("x-token").cloned();
        incoming.reject(StatusCode::FORBIDDEN);
        listener.drain(crate::support::WATCHDOG).await;
        Ok(seen)
    })?;
    let assert = h2conn(["connect", "-v", "-H", "x-given: 1", &peer.url])
        .env("H2CONN_HEADERS", "x-token: t\nx-other: o\n")
        .assert()
        .code(4)
        .stderr(contains("403 Forbidden"));
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    ensure!(said.contains("> x-token: (hidden)") && said.contains("> x-given: 1"), "{said}");
    ensure!(peer.join()?.context("the field")? == "t");
    Ok(())
}

#[test]
fn after_the_linger_time_a_connection_is_closed_in_good_order() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        conn.write_all(b"and then nothing").await?;
        let mut said = String::new();
        conn.read_to_string(&mut said).await?;
        // This peer does not end its direction: the client must not wait for that.
        let _ = conn.closed().await;
        Ok(said)
    })?;
    let mut child = connected(&["-q", "0.5", &peer.url])?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    stdin.write_all(b"question")?;
    let mut said = [0; 16];
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut said)?;
    ensure!(&said == b"and then nothing");
    // The linger time begins now.
    drop(stdin);
    ensure!(wait(&mut child)?.success());
    ensure!(peer.join()? == "question");
    Ok(())
}

#[test]
fn an_answer_that_is_not_printed_after_the_linger_time_is_no_success_of_its_sender() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        let sending = async {
            conn.read_to_string(&mut String::new()).await?;
            conn.write_all(&vec![7; 8 << 20]).await?;
            Ok(conn.close().await?)
        };
        let sent: std::io::Result<()> = sending.await;
        let error = sent.err().context("nobody has read it")?;
        let error = h2conn::Error::from_io(&error).context("an error of the library")?;
        ensure!(error.reason() == Some(Reason::CANCEL), "{error}");
        Ok(())
    })?;
    // Its standard output is a pipe that is not read before the end.
    let mut child = connected(&["-q", "0.5", &peer.url])?;
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().context("a pipe")?;
    peer.join()?;
    std::io::copy(&mut stdout, &mut std::io::sink())?;
    ensure!(wait(&mut child)?.success());
    Ok(())
}

#[test]
fn a_name_is_resolved_as_the_command_line_says() -> TestResult {
    let server = Server::start(&["--echo"])?;
    let port = server.url.trim_end_matches('/').rsplit(':').next().context("a port")?;
    let url = format!("https://no-such.invalid:{port}/");
    let resolve = format!("no-such.invalid:{port}:127.0.0.1");
    h2conn(["connect", "-k", "--resolve", &resolve, &url])
        .write_stdin("hi")
        .assert()
        .success()
        .stdout("hi");
    Ok(())
}
