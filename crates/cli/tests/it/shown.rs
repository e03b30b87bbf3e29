//! Text from peers is escaped, so that it cannot control a terminal. Secrets are not shown at all.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use anyhow::ensure;
use h2conn::http::{Response, StatusCode};
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::support::{Peer, Server, TestResult, h2conn};

/// A C0 escape sequence, a title with its bell, a C1 sequence, a new line, and a reversed
/// direction.
const HOSTILE: &str = "\x1b[31mRED\x1b]0;title\x07\u{9b}32m\r\nspoof\u{202e}";

/// The messages of a run of the tool. Fails if they contain characters that control a terminal.
fn harmless(args: &[&str]) -> TestResult<String> {
    let output = h2conn(args).env("H2CONN_TOKEN", "0123456789abcdef").output()?;
    let said = String::from_utf8(output.stderr)?;
    let is_obeyed = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    ensure!(!said.contains(is_obeyed), "{said:?}");
    ensure!(!said.lines().any(|line| line.starts_with("spoof")), "{said}");
    Ok(said)
}

#[test]
fn the_subject_of_a_certificate_is_shown_with_its_control_characters_escaped() -> TestResult {
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, HOSTILE);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str, pem: String| -> TestResult<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, pem)?;
        Ok(path.to_string_lossy().into_owned())
    };
    let cert = file("cert.pem", certificate.pem())?;
    let key = file("key.pem", key.serialize_pem())?;
    let server = Server::start(&["--echo", "--cert", &cert, "--key", &key])?;
    let said = harmless(&["connect", "-kv", &server.url])?;
    ensure!(said.contains("\\u{1b}[31mRED\\u{1b}]0;title\\u{7}\\u{9b}32m\\r\\nspoof"), "{said}");
    Ok(())
}

/// Answers each connection with these bytes, and ends it when the client does.
fn raw(answer: Vec<u8>) -> TestResult<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> TestResult {
        loop {
            let (mut tcp, _) = listener.accept()?;
            tcp.write_all(&answer)?;
            tcp.shutdown(std::net::Shutdown::Write)?;
            let _ = tcp.read_to_end(&mut Vec::new());
        }
    });
    Ok(address.to_string())
}

#[test]
fn the_text_of_a_goaway_and_the_answer_of_a_proxy_are_shown_escaped() -> TestResult {
    let mut goaway = b"\0\0\0\x04\0\0\0\0\0".to_vec();
    let text = HOSTILE.as_bytes();
    goaway.extend([0, 0, u8::try_from(text.len() + 8)?, 7, 0, 0, 0, 0, 0]);
    goaway.extend(b"\0\0\0\0\0\0\0\x0b");
    goaway.extend(text);
    let url = format!("http://{}/", raw(goaway)?);
    for verbose in ["-v", "-vv", "-vvv"] {
        harmless(&["connect", verbose, &url])?;
    }
    let proxy = format!("http://{}", raw(format!("HTTP/1.1 403 {HOSTILE}\r\n\r\n").into())?);
    let said = harmless(&["connect", "-x", &proxy, "http://example.com/"])?;
    ensure!(said.contains("403 \\u{1b}[31mRED"), "{said}");
    // An answer that is not HTTP at all.
    harmless(&["connect", &format!("http://{}/", raw(HOSTILE.into())?)])?;
    Ok(())
}

#[test]
fn the_text_and_the_fields_of_a_refusal_are_shown_escaped() -> TestResult {
    let peer = Peer::cleartext(|mut listener| async move {
        while let Some(incoming) = listener.accept().await {
            let mut response = Response::new(HOSTILE);
            *response.status_mut() = StatusCode::FORBIDDEN;
            let field = HOSTILE.replace(|c: char| c.is_ascii_control(), "").parse()?;
            response.headers_mut().insert("x-a", field);
            incoming.reject_with(response);
        }
        Ok(())
    })?;
    let said = harmless(&["forward", "-vv", "-L", "0:127.0.0.1:1", &peer.url])?;
    ensure!(said.contains("the server answered 403: \\u{1b}[31mRED"), "{said}");
    harmless(&["recv", "-vv", &format!("{}files/a", peer.url), "/nowhere/a"])?;
    harmless(&["connect", "-vv", &peer.url])?;
    Ok(())
}

#[test]
fn passwords_in_urls_are_never_shown() -> TestResult {
    let dead = "http://user:hunter2@127.0.0.1:1";
    for args in [
        vec!["connect", "-vvv", dead],
        vec!["connect", "user:hunter2@127.0.0.1:1"],
        vec!["connect", "http://user:hun/hunter2@127.0.0.1:1"],
        vec!["connect", "-vvv", "-x", dead, "http://example.com/"],
        vec!["connect", "-vvv", "-x", "socks5h://user:hunter2@127.0.0.1:1", "http://a.example/"],
        vec!["connect", "-vvv", "-x", "ftp://user:hunter2@127.0.0.1:1", "http://a.example/"],
        vec!["forward", "-L", "0:127.0.0.1:1", dead],
        vec!["connect", "http://example.com/", dead],
        vec![dead],
    ] {
        let output = h2conn(&args).output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success() && !said.is_empty(), "{args:?}");
        ensure!(!said.contains("hunter2"), "{args:?}: {said}");
    }
    Ok(())
}

#[test]
fn a_query_is_shown_from_twice_verbose_on() -> TestResult {
    let server = Server::start(&["--echo", "--keep-open", "-v", "--cleartext"])?;
    let url = format!("{}path?key=hunter2", server.url);
    let said = |verbose: &str| -> TestResult<String> {
        let output = h2conn(["connect", verbose, &url]).output()?;
        Ok(String::from_utf8(output.stderr)?)
    };
    let once = said("-v")?;
    ensure!(once.contains("/path?(-vv shows it)") && !once.contains("hunter2"), "{once}");
    let twice = said("-vv")?;
    ensure!(twice.contains("/path?key=hunter2\n"), "{twice}");
    Ok(())
}

#[test]
fn a_token_that_goes_to_another_machine_in_cleartext_is_warned_of() -> TestResult {
    const WARNING: &str = "the token goes to ";
    let said = |args: &[&str]| -> TestResult<String> {
        let mut tool = h2conn(["forward", "-L", "0:127.0.0.1:1"]);
        let output = tool.args(args).env("H2CONN_TOKEN", "0123456789abcdef").output()?;
        Ok(String::from_utf8(output.stderr)?)
    };
    // A proxy that does not exist, so that none of these requests leaves this machine.
    let proxy = "http://127.0.0.1:1";
    for url in ["http://192.0.2.1/", "http://a.example:80/", "http://[2001:db8::1]/"] {
        let said = said(&["-x", proxy, url])?;
        ensure!(said.contains(WARNING), "{url}: {said}");
    }
    for url in ["https://a.example/", "http://127.9.9.9/", "http://localhost/", "http://[::1]/"] {
        let said = said(&["-x", proxy, url])?;
        ensure!(!said.contains(WARNING), "{url}: {said}");
    }
    let resolved = ["--resolve", "a.example:1:127.0.0.1", "http://a.example:1/"];
    let said = said(&resolved)?;
    ensure!(!said.contains(WARNING), "{said}");
    Ok(())
}

#[cfg(unix)]
#[test]
fn a_command_does_not_get_the_secrets_of_the_environment() -> TestResult {
    let mut listen = crate::support::program();
    listen.args(["listen", "127.0.0.1:0", "--cleartext", "--exec", "env"]);
    for name in ["H2CONN_TOKEN", "H2CONN_HEADERS", "H2CONN_PROXY"] {
        listen.env(name, "hunter2: hunter2");
    }
    let server = Server::run(listen.env("OTHER", "kept"))?;
    let output = h2conn(["connect", &server.url]).output()?;
    let environment = String::from_utf8(output.stdout)?;
    ensure!(environment.contains("OTHER=kept") && environment.contains("H2CONN_PEER="));
    ensure!(!environment.contains("hunter2"), "{environment}");
    Ok(())
}
