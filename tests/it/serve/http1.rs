//! Clients that speak HTTP/1.1 to a router that we serve.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::routing::{any, get, post};
use bytes::Bytes;
use h2conn::Listener;
use h2conn::axum::Accept;
use h2conn::http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{check_messages, served, served_with};
use crate::support::curl::{curl, curl_is_here};
use crate::support::foreign::{Io, io_to, tls_to};
use crate::support::websocket;
use crate::support::{Over, TestResult, echo, identity, noise, run};

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "the API" }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route(
            "/peer",
            get(|ConnectInfo(peer): ConnectInfo<std::net::SocketAddr>| async move { peer.to_string() }),
        )
        .route("/live", any(|accept: Accept| async {
            accept.on_conn(|conn| async { drop(echo(conn).await) })
        }))
}

#[test]
fn requests_over_http_1_are_answered_on_the_same_port() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = served(over, app()).await?;
            let io: Box<dyn Io> = match over {
                Over::Cleartext => io_to(&site).await?,
                Over::Tls => Box::new(tls_to(&site, &["http/1.1"]).await?),
            };
            let (mut send, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(io)).await?;
            tokio::spawn(connection);
            let much = noise(300_000, 1);
            let (status, live) = (StatusCode::HTTP_VERSION_NOT_SUPPORTED, &b"a full-duplex"[..]);
            for (method, path, content, expected, beginning) in [
                (Method::GET, "/", &[][..], StatusCode::OK, &b"the API"[..]),
                (Method::POST, "/echo", &much, StatusCode::OK, &much),
                (Method::GET, "/peer", &[], StatusCode::OK, b"127.0.0.1:"),
                (Method::GET, "/nowhere", &[], StatusCode::NOT_FOUND, b""),
                (Method::POST, "/live", b"x", status, live),
                (Method::HEAD, "/", &[], StatusCode::OK, b""),
            ] {
                let request = Request::builder().method(method).uri(path).header("host", "x");
                let request = request.body(Full::new(Bytes::copy_from_slice(content)))?;
                send.ready().await?;
                let response = send.send_request(request).await.with_context(|| path.to_owned())?;
                ensure!(response.status() == expected, "{path}: {}", response.status());
                ensure!(response.headers().contains_key("date"), "{path}");
                let body = response.into_body().collect().await?.to_bytes();
                ensure!(body.starts_with(beginning), "{path}: {} bytes", body.len());
            }
        }
        Ok(())
    })
}

#[test]
fn a_websocket_over_http_1_is_a_conn() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = served(over, app()).await?;
            let mut socket = websocket::open(&site, Version::HTTP_11, "/live").await?;
            check_messages(&mut socket).await?;
        }
        Ok(())
    })
}

#[test]
fn curl_gets_the_same_by_both_versions() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        let much: String = (0..100_000).map(|line| format!("line {line}\n")).collect();
        for (over, versions) in [
            (
                Over::Cleartext,
                &["--http1.1", "--http2-prior-knowledge", "--http2", "--http1.0"][..],
            ),
            (Over::Tls, &["--http1.1", "--http2"]),
        ] {
            let site = served(over, app()).await?;
            for version in versions {
                ensure!(curl(version, site.url("/"), b"").await? == "the API", "{version}");
                let arguments = format!("{version} --data-binary @-");
                let heard = curl(&arguments, site.url("/echo"), much.as_bytes()).await?;
                ensure!(heard == much, "{version}: {} of {} bytes", heard.len(), much.len());
            }
        }
        Ok(())
    })
}

#[test]
fn a_head_beyond_the_limit_gets_431() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        for (len, status) in [(10_000, "200"), (20_000, "431")] {
            let mut io = TcpStream::connect(site.addr).await?;
            let head = format!(
                "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n",
                "v".repeat(len)
            );
            io.write_all(head.as_bytes()).await?;
            let mut answer = [0; 12];
            io.read_exact(&mut answer).await?;
            ensure!(answer[9..] == *status.as_bytes(), "{len}: {}", answer.escape_ascii());
        }
        Ok(())
    })
}

/// A client may come before the program has said that it serves.
#[test]
fn a_client_that_comes_before_the_server_is_waited_for() -> TestResult {
    run(async {
        let tls = identity()?;
        let listener = Listener::builder().tls(tls.clone()).bind("127.0.0.1:0").await?;
        let addr = listener.local_addr().socket_addr().context("TCP")?;
        let site = crate::support::Site::tls(addr, &tls);
        let mut io = tls_to(&site, &["http/1.1"]).await?;
        io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        tokio::spawn(async move { h2conn::serve(listener, app()).await });
        let mut answer = String::new();
        io.read_to_string(&mut answer).await?;
        ensure!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("the API"),
            "{answer}"
        );
        Ok(())
    })
}

#[test]
fn what_is_neither_http_1_nor_http_2_is_sent_away_as_by_every_listener() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        let mut io = TcpStream::connect(site.addr).await?;
        io.write_all(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3]).await?;
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await?;
        ensure!(answer == [0x15, 3, 3, 0, 2, 2, 10], "an alert: {answer:?}");
        for other in ["SSH-2.0-OpenSSH_9.6 Debian-1\r\n", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "{"] {
            let mut io = TcpStream::connect(site.addr).await?;
            io.write_all(other.as_bytes()).await?;
            let mut answer = Vec::new();
            io.read_to_end(&mut answer).await?;
            ensure!(answer.is_empty(), "{other}: {}", answer.escape_ascii());
        }
        Ok(())
    })
}

/// hyper judges all but the last two, whose answer has a text.
#[test]
fn unusual_first_lines_are_answered() -> TestResult {
    run(async {
        let site = served(Over::Cleartext, app()).await?;
        let long = "a".repeat(20_000);
        for (line, status) in [
            ("\r\nGET / HTTP/1.1".to_owned(), "200 OK"),
            ("\n\r\nGET / HTTP/1.1".to_owned(), "200 OK"),
            ("get / HTTP/1.1".to_owned(), "405 Method Not Allowed"),
            ("x-search!* / HTTP/1.1".to_owned(), "405 Method Not Allowed"),
            ("M@THOD / HTTP/1.1".to_owned(), "400 Bad Request"),
            ("GET / HTTP/1.9".to_owned(), "400 Bad Request"),
            (format!("GET /{long} HTTP/1.1"), "431 Request Header Fields Too Large"),
            ("GET /".to_owned(), "505 HTTP Version Not Supported"),
            ("GET / HTTP/2.0".to_owned(), "505 HTTP Version Not Supported"),
        ] {
            let mut io = TcpStream::connect(site.addr).await?;
            let head = format!("{line}\r\nhost: x\r\nconnection: close\r\n\r\n");
            io.write_all(head.as_bytes()).await?;
            let mut answer = String::new();
            io.read_to_string(&mut answer).await?;
            let begins = &line[..line.len().min(40)];
            ensure!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{begins}: {answer}");
            ensure!(!status.starts_with("505") || answer.contains("first line"), "{answer}");
        }
        Ok(())
    })
}

/// Tells when it is dropped.
struct Gone(Option<oneshot::Sender<()>>);

impl Drop for Gone {
    fn drop(&mut self) {
        // The test may be over.
        self.0.take().map(|gone| gone.send(()));
    }
}

/// A transport on which nothing moves for the timeouts of the listener is closed, and nothing of its
/// request is left.
#[test]
fn a_client_that_sends_nothing_more_or_reads_nothing_is_given_up() -> TestResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let upload = "POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\npart";
    let download = "GET /download HTTP/1.1\r\nhost: x\r\n\r\n";
    run(async move {
        for over in Over::BOTH {
            for (builder, request) in [
                (Listener::builder().idle_timeout(LIMIT), upload),
                (Listener::builder().idle_timeout(LIMIT), download),
                (Listener::builder().stall_timeout(LIMIT), download),
            ] {
                let (tell, gone) = oneshot::channel();
                let guard = Arc::new(Mutex::new(Some(Gone(Some(tell)))));
                let (uploaded, downloaded) = (Arc::clone(&guard), guard);
                let app = Router::new()
                    .route(
                        "/upload",
                        post(|body: Body| async move {
                            let _guard = uploaded.lock().expect("no panic").take();
                            body.collect().await.map_or("a part", |_| "all").to_owned()
                        }),
                    )
                    .route(
                        "/download",
                        get(|| async move {
                            let guard = downloaded.lock().expect("no panic").take();
                            let endless = futures_util::stream::repeat_with(move || {
                                let _guard = &guard;
                                Ok::<_, Infallible>(Bytes::from_static(&[7; 10_000]))
                            });
                            Body::from_stream(endless)
                        }),
                    );
                let site = served_with(over, builder, app).await?;
                let mut io: Box<dyn Io> = match over {
                    Over::Cleartext => io_to(&site).await?,
                    Over::Tls => Box::new(tls_to(&site, &["http/1.1"]).await?),
                };
                io.write_all(request.as_bytes()).await?;
                gone.await.with_context(|| format!("{over:?} {request}"))?;
                // Bytes that were on their way still come. A reset is an end, too.
                let mut heard = Vec::new();
                let _ = io.read_to_end(&mut heard).await;
                ensure!(!heard.ends_with(b"all"), "{over:?}: {}", heard.escape_ascii());
            }
        }
        Ok(())
    })
}
