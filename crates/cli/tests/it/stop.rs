//! Ctrl-C: the first one tells the peers, the second one ends the program at once.

use std::io::Read;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::{Client, Reason};
use rustix::process::{Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Peer, Server, TestResult, WATCHDOG, Watch, connected, pid, program, wait};

/// How a stream has ended for a peer that has read to its end.
fn reason(error: &std::io::Error) -> TestResult<Option<Reason>> {
    Ok(h2conn::Error::from_io(error).context("an error of the library")?.reason())
}

#[test]
fn once_in_the_middle_of_the_input_is_a_reset_and_no_end() -> TestResult {
    for signal in [Signal::INT, Signal::TERM] {
        let peer = Peer::cleartext(|mut listener| async move {
            let mut conn = listener.accept().await.context("a request")?.accept()?;
            conn.write_all(b"x").await?;
            let mut said = String::new();
            let end = conn.read_to_string(&mut said).await.err().context("an end of file")?;
            ensure!(reason(&end)? == Some(Reason::CANCEL), "{end}");
            Ok(())
        })?;
        let mut child = connected(&[&peer.url])?;
        child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
        kill_process(pid(&child)?, signal)?;
        ensure!(wait(&mut child)?.code() == Some(130));
        peer.join()?;
    }
    Ok(())
}

#[test]
fn once_while_the_answer_is_waited_for_is_no_success() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        let mut said = String::new();
        conn.read_to_string(&mut said).await?;
        conn.write_all(b"x").await?;
        let error = conn.closed().await.err().context("it ended in order")?;
        ensure!(error.reason() == Some(Reason::CANCEL), "{error}");
        Ok(said)
    })?;
    let mut child = connected(&[&peer.url])?;
    std::io::Write::write_all(&mut child.stdin.take().context("a pipe")?, b"all of it")?;
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    kill_process(pid(&child)?, Signal::INT)?;
    ensure!(wait(&mut child)?.code() == Some(130));
    ensure!(peer.join()? == "all of it");
    Ok(())
}

#[test]
fn once_in_the_middle_of_a_listeners_input_is_a_reset_and_no_end() -> TestResult {
    for (args, code) in [(&[][..], 130), (&["--keep-open"], 0)] {
        let (mut server, mut stdin) = talker(args)?;
        std::io::Write::write_all(&mut stdin, b"half")?;
        let end = tokio::runtime::Runtime::new()?.block_on(async {
            let mut conn = Client::new()?.open(&server.url).await?;
            conn.read_exact(&mut [0; 4]).await?;
            server.signal(Signal::INT)?;
            conn.read_to_end(&mut Vec::new()).await.err().context("an end of file")
        })?;
        ensure!(reason(&end)? == Some(Reason::CANCEL), "{end}");
        ensure!(wait(server.process())?.code() == Some(code), "{args:?}");
        drop(stdin);
    }
    Ok(())
}

#[test]
fn once_leaves_a_listeners_whole_answer_what_it_is() -> TestResult {
    let (mut server, mut stdin) = talker(&[])?;
    std::io::Write::write_all(&mut stdin, b"all of it")?;
    drop(stdin);
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut conn = Client::new()?.open(&server.url).await?;
        let mut said = String::new();
        conn.read_to_string(&mut said).await?;
        ensure!(said == "all of it", "{said:?}");
        server.signal(Signal::INT)?;
        // With this reason, no proxy drops bytes that arrived before.
        if let Err(error) = conn.closed().await {
            ensure!(error.reason() == Some(Reason::NO_ERROR), "{error}");
        }
        Ok(())
    })?;
    ensure!(wait(server.process())?.code() == Some(130));
    Ok(())
}

#[test]
fn once_is_no_success_of_a_client_whose_bytes_nobody_takes() -> TestResult {
    for args in [&[][..], &["--keep-open"]] {
        let (mut server, stdin) = talker(args)?;
        drop(stdin);
        let end = tokio::runtime::Runtime::new()?.block_on(async {
            let mut conn = Client::new()?.open(&server.url).await?;
            conn.write_all(b"some").await?;
            // The listener's side has ended.
            ensure!(conn.read(&mut [0]).await? == 0);
            server.signal(Signal::TERM)?;
            loop {
                if let Err(error) = conn.write_all(&[0; 4096]).await {
                    return Ok(error);
                }
            }
        })?;
        ensure!(reason(&end)? == Some(Reason::CANCEL), "{end}");
        wait(server.process())?;
    }
    Ok(())
}

/// A listener whose standard input the test holds.
fn talker(args: &[&str]) -> TestResult<(Server, ChildStdin)> {
    let mut command = program();
    command.args(["listen", "127.0.0.1:0", "--cleartext"]).args(args);
    let mut server = Server::run(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
    let stdin = server.stdin().context("a pipe")?;
    Ok((server, stdin))
}

#[test]
fn once_in_the_middle_of_a_file_is_a_reset_and_no_end() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (file, token) = (folder.path().join("file"), folder.path().join("token"));
    std::fs::File::create(&file)?.set_len(1 << 30)?;
    std::fs::write(&token, "a-token-for-tests\n")?;
    let (began, begun) = mpsc::channel();
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        // The server has nothing of the file yet.
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        conn.write_all(format!("have 0 {digest}\n").as_bytes()).await?;
        conn.read_exact(&mut [0; 100_000]).await?;
        began.send(())?;
        // The bytes from before the interrupt arrive, and no end.
        let end = conn.read_to_end(&mut Vec::new()).await.err().context("an end of file")?;
        ensure!(reason(&end)? == Some(Reason::CANCEL), "{end}");
        Ok(())
    })?;
    let mut send = program();
    send.arg("send").arg("--token-file").arg(&token).arg(&file).arg(format!("{}file", peer.url));
    let mut child = send.stdin(Stdio::null()).spawn()?;
    begun.recv_timeout(WATCHDOG)?;
    kill_process(pid(&child)?, Signal::INT)?;
    ensure!(wait(&mut child)?.code() == Some(130));
    peer.join()
}

#[test]
fn twice_ends_the_process_though_nobody_reads_its_output() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        while conn.write_all(&[0; 1000]).await.is_ok() {}
        Ok(())
    })?;
    let mut child = connected(&[&peer.url])?;
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    let status = insist(&mut child)?;
    ensure!(status.code() == Some(130), "{status}");
    peer.join()
}

/// Two signals that arrive at once count as one, so this repeats the signal until the process ends.
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
    let mut server = Server::start(&["--keep-open", "--exec", &command])?;
    let mut child = program().args(["connect", "-k", &server.url]).stdin(Stdio::piped()).spawn()?;
    watch.started()?;
    let status = insist(server.process())?;
    ensure!(status.code() == Some(130), "{status}");
    let said = server.wait()?.stderr;
    ensure!(said.contains("interrupted again: ended at once"), "{said}");
    wait(&mut child)?;
    watch.gone()
}

#[test]
fn a_listener_ends_in_good_order_with_a_connection_open() -> TestResult {
    let mut server = Server::start(&["--echo", "--keep-open"])?;
    let mut child = connected(&["-k", &server.url])?;
    let mut stdin = child.stdin.take().context("a pipe")?;
    std::io::Write::write_all(&mut stdin, b"x")?;
    child.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    server.signal(Signal::INT)?;
    let waits = |line: &str| line.contains("for 1 connection to end; a second Ctrl-C");
    server.says("that it waits for the open connection", waits)?;
    drop(stdin);
    ensure!(wait(&mut child)?.success());
    let ended = server.wait()?;
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}

#[test]
fn once_before_there_is_a_connection_is_no_success() -> TestResult {
    // This server accepts connections, and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}/", silent.local_addr()?);
    let none = "there was no connection yet";
    for (args, word) in [
        (&["connect", "-k"][..], none),
        (&["connect", "-k", "--reconnect"], none),
        (&["ping", "-k"], none),
        (&["forward", "-k", "-L", "0:localhost:1"], "the server had not answered"),
    ] {
        let mut child = program();
        child.args(args).arg(&url).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = child.spawn()?;
        let (mut socket, _) = silent.accept()?;
        // The handshake has begun, so the client already handles the signal.
        socket.read_exact(&mut [0])?;
        kill_process(pid(&child)?, Signal::INT)?;
        ensure!(wait(&mut child)?.code() == Some(130), "{args:?}");
        let mut said = String::new();
        child.stderr.take().context("a pipe")?.read_to_string(&mut said)?;
        ensure!(said.contains(word), "{args:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_listener_of_one_connection_that_nobody_came_to_is_no_success() -> TestResult {
    for (args, code) in [(&["--echo"][..], 130), (&["--echo", "--keep-open"], 0)] {
        let ended = Server::start(args)?.interrupt()?;
        ensure!(ended.code == Some(code), "{args:?}: {ended:?}");
        let said = "no connection ";
        ensure!(ended.stderr.contains(said), "{args:?}: {ended:?}");
    }
    Ok(())
}
