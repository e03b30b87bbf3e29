//! Errors of the library as the tool prints them: they name options, and no setters of Rust.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, ensure};
#[cfg(unix)]
use h2conn::tls::Identity;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

use crate::support::{Peer, Server, TestResult, WATCHDOG, h2conn, program};

const OTHER: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Fails unless a failed command says these things, and nothing that only a program can call.
fn check(output: &Output, code: i32, parts: &[&str]) -> TestResult {
    let said = String::from_utf8(output.stderr.clone())?;
    ensure!(output.status.code() == Some(code), "{}, expected {code}: {said}", output.status);
    for part in parts {
        ensure!(said.contains(part), "expected {part:?} in: {said}");
    }
    for name in ["::", "Tls", "_timeout", "max_", "setter"] {
        ensure!(!said.contains(name), "it says {name:?}: {said}");
    }
    Ok(())
}

/// Runs a command to its end.
fn fails(args: &[&str], code: i32, parts: &[&str]) -> TestResult {
    check(&h2conn(args).output()?, code, parts)
}

/// A certificate and its key, in two files whose names begin with `name`.
fn pair(folder: &TempDir, name: &str, params: CertificateParams) -> TestResult<[String; 2]> {
    let key = KeyPair::generate()?;
    let cert = params.self_signed(&key)?;
    let write = |kind: &str, pem: String| -> TestResult<String> {
        let path = folder.path().join(format!("{name}.{kind}"));
        std::fs::write(&path, pem)?;
        text(&path)
    };
    Ok([write("cert", cert.pem())?, write("key", key.serialize_pem())?])
}

fn text(path: &Path) -> TestResult<String> {
    Ok(path.to_str().context("a path of text")?.to_owned())
}

#[test]
fn a_certificate_that_is_not_trusted_is_explained_by_options() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let url = server.url.as_str();
    fails(
        &["connect", url],
        3,
        &["unknown authority", "pin its fingerprint (--fingerprint SHA256)"],
    )?;
    let pin = "if the server has a new certificate, pin that one (--fingerprint SHA256)";
    fails(&["ping", "--fingerprint", OTHER, url], 3, &[pin])?;

    let folder = tempfile::tempdir()?;
    let [cert, key] =
        pair(&folder, "other", CertificateParams::new(["other.example".to_owned()])?)?;
    let server = Server::start(&["--echo", "--keep-open", "--cert", &cert, "--key", &key])?;
    let way = "(--resolve HOST:PORT:ADDR gives it an address), or trust this certificate whatever its \
               names are (--fingerprint SHA256)";
    let parts = ["not valid for the name `127.0.0.1`", "`other.example`", way];
    fails(&["connect", "--cacert", &cert, &server.url], 3, &parts)?;
    // The advice helps.
    let port = server.url.trim_end_matches('/').rsplit(':').next().context("a port")?;
    let resolve = format!("other.example:{port}:127.0.0.1");
    let url = format!("other.example:{port}");
    let helped = ["connect", "--cacert", &cert, "--resolve", &resolve, &url];
    h2conn(helped).write_stdin("hi").assert().success().stdout("hi");

    // As plain `openssl req -x509` makes it.
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let [cert, key] = pair(&folder, "authority", params)?;
    let server = Server::start(&["--echo", "--keep-open", "--cert", &cert, "--key", &key])?;
    fails(&["connect", &server.url], 3, &["(--fingerprint SHA256)"])
}

#[test]
fn a_certificate_that_a_client_must_show_is_asked_for_by_options() -> TestResult {
    let folder = tempfile::tempdir()?;
    let [ca, _] = pair(&folder, "ca", CertificateParams::new(["client.example".to_owned()])?)?;
    let server = Server::start(&["--echo", "--keep-open", "--client-ca", &ca])?;
    let way = "asks for a client certificate: give one with --cert FILE and --key FILE";
    fails(&["connect", "-k", &server.url], 3, &[way])
}

#[test]
fn a_file_without_certificates_is_named_by_its_option() -> TestResult {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("notes");
    std::fs::write(&path, "no certificate\n")?;
    let file = text(&path)?;
    let no = "no certificate in the file of --cacert: it has to be PEM";
    fails(&["connect", "--cacert", &file, "localhost:1"], 1, &[no])?;
    let no = "no certificate in the file of --client-ca: it has to be PEM";
    fails(&["listen", "127.0.0.1:0", "--client-ca", &file], 1, &[no])?;
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&path, pem)?;
    let wrong = "a certificate of --cacert cannot be trusted as a root";
    fails(&["connect", "--cacert", &file, "localhost:1"], 1, &[wrong])?;
    let wrong = "a certificate of --client-ca cannot be trusted as a root";
    fails(&["listen", "127.0.0.1:0", "--client-ca", &file], 1, &[wrong])
}

#[test]
fn a_time_that_no_timer_keeps_is_named_by_its_option() -> TestResult {
    for (option, long) in [("-i", "--idle-timeout"), ("--connect-timeout", "--connect-timeout")] {
        let said = format!("{long} is 172800s, and must be ");
        fails(&["connect", option, "2d", "localhost:1"], 1, &[&said])?;
    }
    let said = "--idle-timeout is 172800s, and must be ";
    fails(&["listen", "127.0.0.1:0", "--cleartext", "-i", "2d"], 1, &[said])
}

#[test]
fn a_connection_without_movement_and_a_response_that_does_not_come_name_no_setter() -> TestResult {
    let server = Server::start(&["--cleartext", "--echo", "--keep-open"])?;
    let mut idle = program();
    idle.args(["connect", "-i", "0.2", &server.url]).stdin(Stdio::piped());
    let mut idle = idle.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // The input has no end.
    let input = idle.stdin.take();
    let output = idle.wait_with_output()?;
    drop(input);
    let said = "no byte has come or gone for 0.2 s, the --idle-timeout of this side";
    check(&output, 6, &[said])?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file");
    std::fs::write(&file, "a file")?;
    let peer = Peer::cleartext(|mut listener| async move {
        let incoming = listener.accept().await.context("a request")?;
        // Wait until the client has gone.
        listener.drain(WATCHDOG).await;
        drop(incoming);
        Ok(())
    })?;
    let url = format!("{}files/file", peer.url);
    // The limit is also that of the connection, which takes longer on a busy machine than on an idle one.
    let args = ["send", "--connect-timeout", "10", &text(&file)?, &url];
    fails(&args, 6, &["no response within 10 s", "more of the request, or be at its limit"])?;
    peer.join()
}

/// A relay to the server at `url` for one client. The second result is the client's socket there.
fn relay(url: &str) -> TestResult<(String, mpsc::Receiver<TcpStream>)> {
    let target = url.trim_start_matches("https://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let relayed = format!("https://{}/", listener.local_addr()?);
    let (gives, client) = mpsc::channel();
    thread::spawn(move || -> TestResult {
        let (near, far) = (listener.accept()?.0, TcpStream::connect(target)?);
        gives.send(near.try_clone()?)?;
        let (mut to, mut from) = (far.try_clone()?, near.try_clone()?);
        // It reads to the client's end, so that the client's bytes cause no reset.
        thread::spawn(move || std::io::copy(&mut from, &mut to));
        std::io::copy(&mut &far, &mut &near)?;
        Ok(())
    });
    Ok((relayed, client))
}

#[test]
fn an_end_of_tcp_in_the_middle_of_tls_is_told_without_the_manual_of_a_library() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open"])?;
    let (url, relayed) = relay(&server.url)?;
    let mut connect = program();
    connect.args(["connect", "-k", &url]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut connect = connect.stderr(Stdio::piped()).spawn()?;
    let mut input = connect.stdin.take().context("a pipe")?;
    input.write_all(b"x")?;
    connect.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
    relayed.recv()?.shutdown(Shutdown::Write)?;
    let output = connect.wait_with_output()?;
    drop(input);
    let said = String::from_utf8(output.stderr.clone())?;
    // A line about a long wait can name the URL.
    ensure!(!said.contains("docs.rs") && !said.contains("manual"), "{said}");
    check(&output, 5, &["peer closed connection without sending TLS close_notify\n"])
}

#[test]
fn other_input_that_cannot_be_used_names_no_setter() -> TestResult {
    for args in [
        &["connect", "-X", "HEAD", "localhost:1"][..],
        &["connect", "-X", "CONNECT", "localhost:1"],
        &["connect", "-H", "not a name: x", "localhost:1"],
        &["connect", "-H", "connection: close", "localhost:1"],
        &["connect", "-H", "content-length: 5", "localhost:1"],
        &["connect", "ftp://localhost/"],
        &["connect", "https://local host/"],
        &["connect", "--cert", "/no/such", "--key", "/no/such", "localhost:1"],
        &["connect", "--fingerprint", "5E:0A", "localhost:1"],
        &["listen", "127.0.0.1:0", "--identity", "/no/such/file"],
    ] {
        fails(args, 1, &["h2conn: "]).with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_path_and_a_header_field_with_the_name_of_a_setter_stay_as_they_are() -> TestResult {
    let folder = tempfile::tempdir()?;
    let socket = text(&folder.path().join("unix_socket"))?;
    let pem = text(&folder.path().join("idle_timeout"))?;
    let mut listen = program();
    listen.args(["listen", "-v", &format!("unix:{socket}"), "--echo", "--keep-open"]);
    let server = Server::run(listen.args(["--identity", &pem]).stdin(Stdio::null()))?;
    let connect = ["connect", "-v", "-k", "--unix-socket", &socket, "https://localhost/"];
    let output = h2conn(connect).args(["-H", "x-error: connect_timeout"]).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.success() && said.contains("> x-error: connect_timeout\n"), "{said}");
    let said = server.interrupt()?.stderr;
    let lines = [
        format!("listening on unix:{socket} "),
        format!("kept in {pem}, "),
        "< x-error: connect_timeout\n".to_owned(),
    ];
    for line in lines {
        ensure!(said.contains(&line), "expected {line:?} in: {said}");
    }
    Ok(())
}

/// `ping` prints failures to standard output, among its data.
#[cfg(unix)]
#[test]
fn a_ping_to_a_server_that_comes_back_with_another_certificate_names_the_option() -> TestResult {
    use std::io::{BufRead, BufReader};

    let folder = tempfile::tempdir()?;
    let (socket, first) = (folder.path().join("socket"), folder.path().join("first.pem"));
    let path = text(&socket)?;
    let start = |identity: &Path| -> TestResult<Server> {
        let mut listen = program();
        listen.args(["listen", &format!("unix:{path}"), "--echo", "--keep-open", "--identity"]);
        Server::run(listen.arg(identity).stdin(Stdio::null()))
    };
    let server = start(&first)?;
    let fingerprint = Identity::from_pem_files(&first, &first)?.fingerprint();
    let mut ping = program();
    ping.args([
        "ping",
        "--unix-socket",
        &path,
        "--fingerprint",
        &fingerprint,
        "--interval",
        "50ms",
    ]);
    // Even on a busy machine the second server is there before the last of them.
    ping.args(["-c", "10000", "https://localhost/"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut ping = ping.spawn()?;
    let mut lines = BufReader::new(ping.stdout.take().context("a pipe")?).lines();
    let mut says = |part: &str| {
        lines.by_ref().find(|line| line.as_ref().is_ok_and(|line| line.contains(part)))
    };
    let answered = says("answer from").is_some();
    drop(server);
    std::fs::remove_file(&socket)?;
    let _server = start(&folder.path().join("second.pem"))?;
    let line = says("has the SHA-256 fingerprint");
    ping.kill()?;
    ping.wait()?;
    let line = line.context("no refusal")??;
    ensure!(answered && line.starts_with("no new link: "), "{line}");
    ensure!(line.contains("pin that one (--fingerprint SHA256)") && !line.contains("::"), "{line}");
    Ok(())
}
