//! HTTP/1.1 on either side. It cannot carry a connection, and both sides must learn this.

use std::io;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::{HeaderValue, Request, StatusCode, Version, header};
use h2conn::tls::{ClientTls, ServerTls};
use h2conn::{Client, ErrorKind, Listener};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::foreign::{Io, client_config, hyper_http1, server_config, tls_server, tls_to};
use crate::support::websocket;
use crate::support::{
    Over, Site, TestResult, accept, check_echo, echo, echo_server, io_kind, port_of, run, serve,
    tcp_server,
};

/// The words that HTTP/1.1 clients must find in the answer.
const ADVICE: [&str; 4] = ["h2conn", "HTTP/2", "ALPN", "--http2-prior-knowledge"];

/// Makes a request with a stock HTTP/1.1 client, and returns the status and the text of the answer.
async fn ask_with_http1(io: impl Io, body: Bytes) -> TestResult<(StatusCode, String)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let request = Request::post("/echo").header("host", "localhost").body(Full::new(body))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(text.to_vec())?))
}

fn is_advice(status: StatusCode, text: &str) -> TestResult {
    ensure!(status == StatusCode::HTTP_VERSION_NOT_SUPPORTED, "{status}: {text}");
    for part in ADVICE {
        ensure!(text.contains(part), "{part:?} is not in: {text}");
    }
    Ok(())
}

#[test]
fn a_cleartext_http1_client_gets_505_and_is_told_why() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        for body in [0, 10, 100_000] {
            let io = TcpStream::connect(site.addr).await?;
            let (status, text) = ask_with_http1(io, Bytes::from(vec![b'x'; body])).await?;
            is_advice(status, &text).with_context(|| format!("a body of {body} bytes"))?;
        }
        // The listener still serves correct clients.
        check_echo(site.connect().await?, b"hello").await
    })
}

#[test]
fn a_tls_http1_client_gets_505_and_is_told_why() -> TestResult {
    run(async {
        let site = echo_server(Over::Tls).await?;
        let offers: [&[&str]; 3] = [&["http/1.1"], &[], &["http/1.1", "h2"]];
        for alpn in offers {
            let io = tls_to(&site, alpn).await?;
            let (status, text) = ask_with_http1(io, Bytes::from_static(b"x")).await?;
            is_advice(status, &text).with_context(|| format!("offering {alpn:?}"))?;
        }
        check_echo(site.connect().await?, b"hello").await
    })
}

#[test]
fn a_websocket_and_an_upgrade_to_http2_are_told_why_they_are_not_taken() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let websocket = websocket::request(&site, Version::HTTP_11, "/")?;
            let told = websocket::told(websocket::send(&site, Version::HTTP_11, websocket).await?);
            let told = told.await?;
            ensure!(told.starts_with("501 this Listener of h2conn takes no WebSockets"), "{told}");
            for part in [
                "takes no WebSockets",
                "`ListenerBuilder::websockets`",
                "\"websocket\"",
                "POST over HTTP/2",
            ] {
                ensure!(told.contains(part), "{part:?} is not in: {told}");
            }
            let mut h2c = websocket::request(&site, Version::HTTP_11, "/")?;
            h2c.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("h2c"));
            let told = websocket::told(websocket::send(&site, Version::HTTP_11, h2c).await?);
            let told = told.await?;
            let text = told.strip_prefix("505 ").with_context(|| told.clone())?;
            is_advice(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text)?;
            ensure!(text.contains("in place of --http2"), "{text}");
            check_echo(site.connect().await?, b"hello").await?;
        }
        Ok(())
    })
}

#[test]
fn an_http1_request_that_comes_byte_by_byte_gets_505() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        let mut io = TcpStream::connect(site.addr).await?;
        io.set_nodelay(true)?;
        // The method shares its first two letters with the preface of HTTP/2.
        for byte in b"PROPFIND / HTTP/1.1\r\nhost: x\r\n\r\n" {
            io.write_all(&[*byte]).await?;
        }
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
        Ok(())
    })
}

#[test]
fn unusual_first_lines_get_505_too() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(20_000));
        for (request, part) in [
            ("\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n", "came by HTTP/1"),
            ("get / HTTP/1.1\r\nhost: x\r\n\r\n", "came by HTTP/1"),
            ("GET / HTTP/1.1\nhost: x\n\n", "came by HTTP/1"),
            (&long, "came by HTTP/1"),
            ("GET /\r\n", "the version of HTTP"),
            ("GET / HTTP/2.0\r\nhost: x\r\n\r\n", "the version of HTTP"),
        ] {
            let mut io = TcpStream::connect(site.addr).await?;
            io.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            io.read_to_string(&mut answer).await?;
            let is_good = answer.starts_with("HTTP/1.1 505 ") && answer.contains(part);
            ensure!(is_good, "{}: {answer}", &request[..request.len().min(40)]);
        }
        // The fields are read behind an empty line, too.
        let mut io = TcpStream::connect(site.addr).await?;
        io.write_all(b"\r\nGET / HTTP/1.1\r\nhost: x\r\norigin: http://y\r\n\r\n").await?;
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        Ok(())
    })
}

async fn is_unsupported(site: &Site, seen: &str) -> TestResult {
    let error = site.connect().await.expect_err("the server has no HTTP/2");
    ensure!(error.kind() == ErrorKind::Unsupported, "{error:?}");
    ensure!(io_kind(&error) == io::ErrorKind::Unsupported, "{error:?}");
    ensure!(!error.was_not_processed() && error.is_by_peer(), "{error:?}");
    let text = error.to_string();
    for part in [site.url("/").as_str(), seen] {
        ensure!(text.contains(part), "{part:?} is not in: {text}");
    }
    Ok(())
}

#[test]
fn an_http1_server_behind_tls_is_unsupported() -> TestResult {
    run(async {
        // One server without ALPN, and one that refuses all protocols but its own.
        let site = tls_server(&[], hyper_http1).await?;
        is_unsupported(&site, "does not offer HTTP/2").await?;
        let site = tls_server(&["http/1.1"], hyper_http1).await?;
        is_unsupported(&site, "does not offer HTTP/2").await
    })
}

#[test]
fn a_cleartext_http1_server_that_answers_is_unsupported() -> TestResult {
    run(async {
        let addr = tcp_server(|mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await?;
            let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nwhat was that?";
            stream.write_all(answer).await?;
            stream.shutdown().await?;
            while stream.read(&mut [0; 4096]).await? > 0 {}
            Ok(())
        })
        .await?;
        is_unsupported(&Site::cleartext(addr), "HTTP/1.1 400 Bad Request").await
    })
}

#[test]
fn a_cleartext_http1_server_that_hangs_up_is_named_as_the_one_who_ended_it() -> TestResult {
    run(async {
        let addr = tcp_server(hyper_http1).await?;
        let site = Site::cleartext(addr);
        let error = site.connect().await.expect_err("the server has no HTTP/2");
        ensure!(error.kind() == ErrorKind::Truncated, "{error:?}");
        ensure!(io_kind(&error) == io::ErrorKind::UnexpectedEof, "{error:?}");
        ensure!(error.to_string().contains(&site.url("/")), "{error}");
        Ok(())
    })
}

/// HTTP/1.1 on both sides is impossible: whatever the rustls configurations say, it is HTTP/2.
#[test]
fn two_ends_that_are_configured_for_http1_speak_http2() -> TestResult {
    run(async {
        let (certificate, server) = server_config(&["http/1.1"])?;
        let client = client_config(&certificate, &["http/1.1"])?;
        let mut listener =
            Listener::builder().tls(ServerTls::from(Arc::new(server))).bind("127.0.0.1:0").await?;
        let client = Client::builder().tls(ClientTls::from(Arc::new(client))).build()?;
        let url = format!("https://{}/", port_of(&listener));
        let (connected, accepted) = tokio::join!(client.connect(&url), accept(&mut listener));
        let echoing = tokio::spawn(echo(accepted?));
        check_echo(connected?.0, b"over HTTP/2").await?;
        echoing.await??;
        serve(listener, echo).abort();
        Ok(())
    })
}
