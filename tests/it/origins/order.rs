//! A page of another origin gets 403 whatever else is wrong with its request: a table of forms and
//! wrongs. Each row first gets its other answer, as a program that names no origin.

use std::time::Duration;

use anyhow::{Context, ensure};
use h2::ext::Protocol;
use h2conn::http::{Method, Request};
use h2conn::{Acceptor, Listener, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::EVIL;
use crate::support::foreign::h2_read;
use crate::support::framework::{Host, hyper_server};
use crate::support::{Over, Site, TestResult, echo, listen_with, run, serve};

type Fields = &'static [(&'static str, &'static str)];

/// The request of a row.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// The first line of HTTP/1, and fields beside `host`.
    Http1(&'static str, Fields),
    /// A request of HTTP/2 that its head ends.
    Http2(&'static str, Fields),
    /// A CONNECT with this `:protocol`.
    Connect(Option<&'static str>, Fields),
}
use Form::{Connect, Http1, Http2};

/// The form, and the status that a program gets.
type Row = (Form, u16);

const LISTENER: [Row; 10] = [
    (Http2("POST", &[]), 200),
    (Http2("HEAD", &[]), 405),
    (Http2("TRACE", &[]), 405),
    (Connect(None, &[]), 405),
    (Connect(Some("raw"), &[]), 200),
    (Connect(Some("websocket"), VERSION), 501),
    (Http1("POST / HTTP/1.1", &[]), 505),
    (Http1("POST / HTTP/1.0", &[]), 505),
    (Http1("GET / HTTP/1.1", WEBSOCKET), 501),
    (Http1("GET / HTTP/1.1", &[("upgrade", "h2c"), CONNECTION]), 505),
];

const WITH_WEBSOCKETS: [Row; 11] = [
    (Http2("POST", &[]), 200),
    (Connect(Some("websocket"), VERSION), 200),
    (Connect(Some("websocket"), &[]), 400),
    (Connect(Some("connect-udp"), VERSION), 501),
    (Http1("POST / HTTP/1.1", &[]), 505),
    (Http1("GET / HTTP/1.1", WEBSOCKET), 101),
    (Http1("GET / HTTP/1.0", WEBSOCKET), 505),
    (Http1("POST / HTTP/1.1", WEBSOCKET), 405),
    (Http1("GET / HTTP/1.1", &[("upgrade", "websocket"), CONNECTION]), 400),
    (Http1("GET / HTTP/1.1", WITH_CONTENT), 400),
    (Http1("GET / HTTP/1.1", &[("upgrade", "h2c"), CONNECTION]), 505),
];

const ACCEPT: [Row; 18] = [
    (Http2("POST", &[]), 200),
    (Http2("HEAD", &[]), 405),
    (Http2("TRACE", &[]), 405),
    (Http2("GET", &[]), 400),
    (Http2("OPTIONS", &[]), 400),
    (Connect(Some("connect-udp"), &[]), 405),
    (Connect(Some("websocket"), VERSION), 200),
    (Connect(Some("websocket"), &[]), 400),
    (Http1("POST / HTTP/1.1", &[("content-length", "0")]), 505),
    (Http1("POST / HTTP/1.0", &[("content-length", "0")]), 505),
    (Http1("GET / HTTP/1.1", &[]), 400),
    (Http1("GET / HTTP/1.1", WEBSOCKET), 101),
    (Http1("GET / HTTP/1.0", WEBSOCKET), 505),
    (Http1("POST / HTTP/1.1", WEBSOCKET), 405),
    (Http1("GET / HTTP/1.1", &[UPGRADE, CONNECTION, VERSION[0]]), 400),
    (Http1("GET / HTTP/1.1", WITH_CONTENT), 400),
    (Http1("GET / HTTP/1.1", &[UPGRADE, CONNECTION, KEY, ("sec-websocket-version", "8")]), 426),
    (Http1("GET / HTTP/1.1", &[UPGRADE, CONNECTION, KEY, VERSION[0], ("host", "two")]), 400),
];

/// A CONNECT without a path, which the routes of axum do not have.
const HYPER: [Row; 1] = [(Connect(None, &[]), 405)];

/// Where WebSockets are switched off.
const WITHOUT: [Row; 2] =
    [(Http1("GET / HTTP/1.1", WEBSOCKET), 501), (Connect(Some("websocket"), VERSION), 501)];

const DRAINED: [Row; 3] = [
    (Http2("POST", &[]), 503),
    (Http1("GET / HTTP/1.1", WEBSOCKET), 503),
    (Connect(Some("websocket"), VERSION), 503),
];

const UPGRADE: (&str, &str) = ("upgrade", "websocket");
const CONNECTION: (&str, &str) = ("connection", "Upgrade");
const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: Fields = &[("sec-websocket-version", "13")];
const WEBSOCKET: Fields = &[UPGRADE, CONNECTION, KEY, VERSION[0]];
const WITH_CONTENT: Fields = &[UPGRADE, CONNECTION, KEY, VERSION[0], ("content-length", "7")];

/// The marks of a page of another origin.
const FOREIGN: [(&str, &str); 3] =
    [("origin", EVIL), ("origin", "null"), ("sec-fetch-site", "cross-site")];

/// Sends a request with one more field. Returns the status, and the text of a refusal.
async fn ask(site: &Site, form: Form, more: Option<(&str, &str)>) -> TestResult<(u16, String)> {
    let mut io = TcpStream::connect(site.addr).await?;
    if let Http1(line, fields) = form {
        let host = site.addr.to_string();
        let mut head = format!("{line}\r\nhost: {host}\r\n");
        for (name, value) in fields.iter().copied().chain(more) {
            head += &format!("{name}: {value}\r\n");
        }
        io.write_all(format!("{head}\r\n").as_bytes()).await?;
        // An answer that is no refusal leaves the transport open, so read only what is needed.
        let (mut heard, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let n = io.read(&mut buffer).await?;
            heard += std::str::from_utf8(&buffer[..n])?;
            let whole = heard.split_once("\r\n\r\n").is_some_and(|(_, text)| text.ends_with('\n'));
            if n == 0 || whole || heard.starts_with("HTTP/1.1 101 ") {
                break;
            }
        }
        let status = heard.split(' ').nth(1).with_context(|| format!("{heard:?}"))?;
        return Ok((status.parse()?, heard));
    }
    let (method, protocol, fields) = match form {
        Connect(protocol, fields) => ("CONNECT", protocol, fields),
        Http2(method, fields) | Http1(method, fields) => (method, None, fields),
    };
    let uri = match (method, protocol) {
        ("CONNECT", None) => site.addr.to_string(),
        _ => site.url("/"),
    };
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields.iter().copied().chain(more) {
        request = request.header(name, value);
    }
    if let Some(protocol) = protocol {
        request = request.extension(Protocol::from(protocol));
    }
    let (send, connection) = h2::client::handshake(io).await?;
    tokio::spawn(connection);
    let (response, _body) =
        send.ready().await?.send_request(request.body(())?, method != "CONNECT")?;
    let response = response.await?;
    let status = response.status();
    if status.is_success() {
        return Ok((status.as_u16(), String::new()));
    }
    let text = String::from_utf8(h2_read(response.into_body()).await?)?;
    let bodiless = method == Method::HEAD.as_str();
    ensure!(text.is_empty() == bodiless, "{form:?} with {more:?}: {status} {text:?}");
    Ok((status.as_u16(), text))
}

async fn check(server: &str, site: &Site, rows: &[Row]) -> TestResult {
    for &(form, expected) in rows {
        let (status, text) = ask(site, form, None).await?;
        ensure!(status == expected, "{server}, {form:?}: {status} {text}");
        for foreign in FOREIGN {
            let (status, text) = ask(site, form, Some(foreign)).await?;
            ensure!(status == 403, "{server}, {form:?} with {foreign:?}: {status} {text}");
            let says = text.contains("may not connect here") || matches!(form, Http2("HEAD", _));
            ensure!(says, "{server}, {form:?} with {foreign:?}: {text}");
        }
    }
    Ok(())
}

#[test]
fn a_page_of_another_origin_gets_403_whatever_else_is_wrong() -> TestResult {
    run(async {
        let builder = Listener::builder().protocols(["raw"]);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        serve(listener, echo);
        check("a listener", &site, &LISTENER).await?;
        let builder = Listener::builder().protocols(["raw"]).websockets(WebSockets::new());
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        serve(listener, echo);
        check("a listener with WebSockets", &site, &WITH_WEBSOCKETS).await?;
        for host in Host::OF_ACCEPT {
            let site = host.echo(Over::Cleartext).await?;
            check(&format!("{host:?}"), &site, &ACCEPT).await?;
            if host == Host::Hyper {
                check("hyper", &site, &HYPER).await?;
            }
        }
        let without = Acceptor::builder().no_websockets().build()?;
        let site = hyper_server(Over::Cleartext, without, echo).await?;
        check("hyper without WebSockets", &site, &WITHOUT).await?;
        let drained = Acceptor::default();
        ensure!(drained.drain(Duration::ZERO).await, "it had no connections");
        let site = hyper_server(Over::Cleartext, drained, echo).await?;
        check("hyper that drains", &site, &DRAINED).await
    })
}
