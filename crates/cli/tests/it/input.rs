//! Bad input of every kind: the messages, only on standard error, and the exit codes.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context, ensure};
use h2conn::Reason;
use h2conn::http::StatusCode;
use predicates::str::contains;
use tokio::io::AsyncWriteExt;

use crate::support::{Peer, Server, TestResult, WATCHDOG, h2conn, wait};

/// A file that exists.
const NO_PEM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

/// Runs a command that fails. Checks that its message has all of `parts`, and that it prints no
/// data.
fn fails(args: &[&str], code: i32, parts: &[&str]) {
    let mut assert = h2conn(args).assert().code(code).stdout("");
    for part in parts {
        assert = assert.stderr(contains(*part));
    }
}

#[test]
fn what_cannot_be_understood_is_a_usage_error_that_names_it() {
    let table: &[(&[&str], &str)] = &[
        (&[], "Usage: h2conn"),
        (&["conect"], "unrecognized subcommand 'conect'"),
        (&["connect"], "<URL>"),
        (&["connect", "https://host/", "more"], "unexpected argument 'more'"),
        (&["connect", "--frobnicate", "https://host/"], "--frobnicate"),
        (&["connect", "443"], "it is a port without a host"),
        (&["connect", "/echo"], "it has no host"),
        (&["connect", "https:/host"], "no // after https:"),
        (&["connect", "host:99999"], "port"),
        (&["forward", "-L", "1", "user:pass@host"], "user name"),
        (&["connect", "ftp://host/"], "the scheme ftp is not known"),
        (&["connect", "https://user:pass@host/"], "user name"),
        (&["connect", "https://host:99999/"], "port"),
        (&["connect", "-H", "no colon", "https://host/"], "expected 'name: value' or @FILE"),
        (&["connect", "-H", "a b: c", "https://host/"], "no name may have"),
        (&["connect", "-H", "host: other", "https://host/"], "HTTP/2 does without it"),
        (&["connect", "-H", "@no/such/file", "https://host/"], "no/such/file"),
        (&["connect", "-X", "CONNECT", "https://host/"], "CONNECT"),
        (&["connect", "-X", "two words", "https://host/"], "two words"),
        (&["connect", "-i", "never", "https://host/"], "expected a time above 0"),
        (&["connect", "-q", "0", "https://host/"], "expected a time above 0"),
        (&["connect", "--connect-timeout", "5 days", "https://host/"], "unit"),
        (&["connect", "--resolve", "host:1", "https://host/"], "expected HOST:PORT:ADDRESS"),
        (&["connect", "--cacert", "no/such.pem", "https://host/"], "no/such.pem"),
        (&["connect", "--cacert", NO_PEM, "https://host/"], "no certificate"),
        (&["connect", "--cert", "x.pem", "https://host/"], "--key"),
        (&["connect", "--cert", "no/such.pem", "--key", "x", "https://host/"], "no/such.pem"),
        (&["connect", "--stats=xml", "https://host/"], "xml"),
        (&["connect", "-x", "http://proxy", "ftp://host:443"], "the scheme ftp is not known"),
        (&["connect", "-x", "https://proxy", "https://host/"], "scheme \"https\" is not known"),
        (&["listen"], "<ADDR>"),
        (&["listen", "80000"], "is no port"),
        (&["listen", "host"], "expected HOST:PORT or unix:PATH"),
        (&["listen", "::1:8000"], "brackets"),
        (&["listen", "https://host:8000/"], "it is a URL"),
        (&["listen", "127.0.0.1:0", "--echo", "--exec", "cat"], "cannot be used with"),
        (&["listen", "127.0.0.1:0", "--echo", "-q", "1"], "cannot be used with"),
        (&["listen", "127.0.0.1:0", "--cleartext", "--client-ca", "x"], "cannot be used with"),
        (&["listen", "127.0.0.1:0", "--cleartext", "--identity", "x"], "cannot be used with"),
        (
            &["listen", "127.0.0.1:0", "--cert", "x", "--key", "x", "--identity", "x"],
            "cannot be used",
        ),
        (&["listen", "127.0.0.1:0", "--identity", NO_PEM], "no certificate in"),
        (&["listen", "127.0.0.1:0", "--identity", "no/such/file.pem"], "no/such/file.pem"),
        (&["listen", "127.0.0.1:0", "--echo", "-k"], "tip: --keep-open serves more than one"),
        (&["connect", "-d", "data", "https://host/"], "tip: standard input is sent"),
        (&["https://host/"], "tip: `h2conn connect URL` connects"),
        (&["listen", "127.0.0.1:0", "--echo", "-m", "3"], "--keep-open"),
        (&["listen", "127.0.0.1:0", "--keep-open", "-m", "3"], "--echo"),
        (&["listen", "127.0.0.1:0", "--to", "nowhere"], "expected HOST:PORT or unix:PATH"),
        (&["ping", "-c", "0", "https://host/"], "0"),
        (&["completions", "tcsh"], "tcsh"),
        (&["man", "nosuch"], "nosuch"),
    ];
    for (args, part) in table {
        fails(args, 1, &[part]);
    }
}

#[test]
fn a_field_of_a_file_that_is_none_is_named_by_its_line_and_not_shown() -> TestResult {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("fields");
    std::fs::write(&file, "a: b\nhunter2\n")?;
    let at_file = format!("@{}", file.display());
    let assert = h2conn(["connect", "-H", &at_file, "https://host/"]).assert().code(1);
    let said = String::from_utf8(assert.get_output().stderr.clone())?;
    ensure!(said.contains("line 2 of") && !said.contains("hunter2"), "{said}");
    Ok(())
}

#[test]
fn a_field_of_the_environment_that_is_none_is_named_by_its_line_and_not_shown() -> TestResult {
    for bad in ["hunter2", "hunter2 hunter2: b"] {
        let mut command = h2conn(["connect", "https://host/"]);
        let assert = command.env("H2CONN_HEADERS", format!("a: b\n{bad}")).assert().code(1);
        let said = String::from_utf8(assert.get_output().stderr.clone())?;
        ensure!(said.contains("line 2 of H2CONN_HEADERS") && !said.contains("hunter2"), "{said}");
    }
    Ok(())
}

#[test]
fn where_nobody_listens_there_is_no_connection() -> TestResult {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("https://127.0.0.1:{port}/");
    fails(&["connect", "-k", &url], 2, &[&url, "nothing listens there"]);
    fails(&["ping", "-k", &url], 2, &["nothing listens there"]);
    fails(&["connect", "https://no-such-host.invalid/"], 2, &["no address is known"]);
    #[cfg(unix)]
    fails(&["connect", "--unix-socket", "/no/such.sock", "http://host/"], 2, &["/no/such.sock"]);
    let taken = Server::start(&["--echo"])?;
    let addr = taken.url.trim_start_matches("https://").trim_end_matches('/');
    fails(&["listen", addr, "--echo"], 2, &["another program listens there"]);
    Ok(())
}

#[test]
fn who_does_not_speak_http2_is_no_connection() -> TestResult {
    // A cleartext server and a TLS server that answer everything with HTTP/1.1.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", server.local_addr()?);
    let answering = std::thread::spawn(move || -> TestResult {
        let (mut socket, _) = server.accept()?;
        std::io::Write::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n")?;
        // Wait until the client has gone.
        std::io::copy(&mut socket, &mut std::io::sink())?;
        Ok(())
    });
    fails(&["connect", &url], 2, &["HTTP/1"]);
    answering.join().map_err(|_| anyhow::anyhow!("it panicked"))?
}

#[test]
fn a_certificate_that_is_not_trusted_is_a_tls_failure_with_a_hint() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    fails(&["connect", &server.url], 3, &["unknown authority", "--cacert FILE"]);
    // TLS to a server that does not speak it.
    let server = Server::start(&["--echo", "--keep-open", "--cleartext"])?;
    let url = server.url.replace("http:", "https:");
    fails(&["connect", "-k", &url], 3, &["does not speak TLS"]);
    Ok(())
}

#[test]
fn a_status_that_is_not_2xx_is_shown_with_what_the_server_says() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        listener.accept().await.context("a request")?.reject(StatusCode::NOT_FOUND);
        listener.drain(WATCHDOG).await;
        Ok(())
    })?;
    fails(&["connect", &peer.url], 4, &["404 Not Found"]);
    peer.join()
}

#[test]
fn a_reset_is_no_clean_end_and_what_came_before_it_is_printed() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        let mut conn = listener.accept().await.context("a request")?.accept()?;
        conn.write_all(b"half of it").await?;
        conn.sent().await?;
        conn.reset(Reason::INTERNAL_ERROR);
        listener.drain(WATCHDOG).await;
        Ok(())
    })?;
    h2conn(["connect", &peer.url])
        .assert()
        .code(5)
        .stdout("half of it")
        .stderr(contains("INTERNAL_ERROR"));
    peer.join()
}

#[test]
fn time_that_is_up_has_a_code_of_its_own() -> TestResult {
    // This server accepts connections, and sends nothing.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("https://{}/", silent.local_addr()?);
    fails(&["connect", "-k", "--connect-timeout", "300ms", &url], 6, &["no link to", "0.3 s"]);

    let peer = Peer::cleartext(|mut listener| async move {
        let conn = listener.accept().await.context("a request")?.accept()?;
        let _ = conn.closed().await;
        Ok(())
    })?;
    fails(&["connect", "-i", "0.3", &peer.url], 6, &["0.3 s"]);
    peer.join()
}

/// A file on a disk that is full.
#[cfg(target_os = "linux")]
fn full() -> TestResult<std::fs::File> {
    Ok(std::fs::File::options().write(true).open("/dev/full")?)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure_of_this_side() -> TestResult {
    let server = Server::start(&["--exec", "yes"])?;
    let mut command = crate::support::program();
    command.args(["connect", "-k", &server.url]).stdout(full()?).stdin(Stdio::null());
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(7), "{:?}: {said}", output.status);
    ensure!(said.contains("cannot write to standard output"), "{said}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[test]
fn a_peer_whose_last_bytes_cannot_be_written_hears_of_it() -> TestResult {
    for (ways, more) in [(&[][..], "-v"), (&["--reach", "websocket"], "-v"), (&[], "--keep-open")] {
        let mut listen = crate::support::program();
        listen.args(["listen", "127.0.0.1:0", more]).stdin(Stdio::piped()).stdout(full()?);
        let mut server = Server::run(&mut listen)?;
        // Its input does not end, so its side of the connection is open.
        let _stdin = server.stdin();
        h2conn([&["connect", "-k", &server.url], ways].concat())
            .write_stdin("hello")
            .assert()
            .code(5)
            .stderr(contains("CANCEL"));
        let ended = server.wait()?;
        ensure!(ended.code == Some(7), "{ended:?}");

        let mut listen = crate::support::program();
        listen.args(["listen", "127.0.0.1:0"]).stdin(Stdio::piped());
        let mut server = Server::run(&mut listen)?;
        server.stdin().context("a pipe")?.write_all(b"hello")?;
        let mut connect = crate::support::program();
        connect.args(["connect", "-k", &server.url]).args(ways);
        let mut client = connect.stdin(Stdio::piped()).stdout(full()?).spawn()?;
        let (code, ended) = (wait(&mut client)?.code(), server.wait()?);
        ensure!(code == Some(7) && ended.code == Some(5), "{code:?}, {ended:?}");
    }
    Ok(())
}
