//! Clients that speak HTTP/1 and still send when they have been answered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use h2conn::http::StatusCode;
use h2conn::{ErrorKind, Listener, ListenerBuilder, WebSockets};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Stoppable;
use crate::support::foreign::{Io, io_to, tls_to};
use crate::support::{Over, Site, TestResult, listen_with, run};

/// Time enough that no test ends for lack of it.
const HOUR: Duration = Duration::from_secs(3600);

/// More than all buffers of two sockets hold.
const UPLOAD: usize = 32 << 20;

fn patient() -> ListenerBuilder {
    Listener::builder().linger_timeout(HOUR)
}

fn app() -> Router {
    Router::new()
        .route("/early", post(|_: Body| async { (StatusCode::PAYLOAD_TOO_LARGE, "too large") }))
        .route("/fine", post(|_: Body| async { "fine" }))
        .route("/", get(|| async { "the API" }))
}

async fn io_of(site: &Site) -> TestResult<Box<dyn Io>> {
    Ok(match site.certificate {
        None => io_to(site).await?,
        Some(_) => Box::new(tls_to(site, &["http/1.1"]).await?),
    })
}

fn upload(path: &str, fields: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{fields}content-length: {UPLOAD}\r\n\r\n")
}

/// Sends a head and a long body, and only then reads the answer.
async fn answer_after_all(io: &mut Box<dyn Io>, head: &str) -> TestResult<String> {
    io.write_all(head.as_bytes()).await?;
    let part = [7; 64 << 10];
    for sent in 0..UPLOAD / part.len() {
        io.write_all(&part).await.with_context(|| format!("part {sent}"))?;
    }
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.context("the answer")?;
    Ok(answer)
}

#[test]
fn a_client_that_reads_only_after_its_upload_gets_an_early_answer() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (listener, site) = listen_with(over, patient()).await?;
            tokio::spawn(async move { h2conn::serve(listener, app()).await });
            let known = "HTTP/1.1 200 OK\r\n";
            for (path, beginning, end) in
                [("/early", "HTTP/1.1 413 ", "too large"), ("/fine", known, "fine")]
            {
                let answer = answer_after_all(&mut io_of(&site).await?, &upload(path, "")).await;
                let answer = answer.with_context(|| format!("{over:?} {path}"))?;
                ensure!(
                    answer.starts_with(beginning) && answer.ends_with(end),
                    "{over:?} {answer}"
                );
                ensure!(answer.contains("\r\nconnection: close\r\n"), "{over:?} {answer}");
            }
        }
        Ok(())
    })
}

/// The end of the connection is announced only where it comes.
#[test]
fn a_client_whose_content_is_short_or_read_keeps_its_connection() -> TestResult {
    run(async {
        let (listener, site) = listen_with(Over::Cleartext, patient()).await?;
        let app = app().route("/all", post(|_: Bytes| async { "fine" }));
        tokio::spawn(async move { h2conn::serve(listener, app).await });
        let mut io = TcpStream::connect(site.addr).await?;
        let much = "7".repeat(100_000);
        for (path, fields, content) in [
            ("/fine", "content-length: 4", "ping"),
            ("/all", "content-length: 100000", &much),
            ("/all", "transfer-encoding: chunked", "4\r\nping\r\n0\r\n\r\n"),
            ("/fine", "content-length: 0", ""),
        ] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n\r\n");
            io.write_all((head + content).as_bytes()).await?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nfine") {
                let n = io.read_buf(&mut answer).await?;
                ensure!(n > 0, "{path} {fields}: {}", answer.escape_ascii());
            }
        }
        Ok(())
    })
}

/// No matter who refuses it: the listener without a server for HTTP/1, or the one of its WebSockets.
#[test]
fn a_client_that_reads_only_after_its_upload_hears_of_its_refusal() -> TestResult {
    const WEBSOCKET: &str = "connection: upgrade\r\nupgrade: websocket\r\n\
                             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    run(async {
        for over in Over::BOTH {
            for (builder, fields, status) in [
                (patient(), "", "HTTP/1.1 505 "),
                (patient(), WEBSOCKET, "HTTP/1.1 501 "),
                (
                    patient().websockets(WebSockets::new()).handshake_timeout(HOUR),
                    "",
                    "HTTP/1.1 505 ",
                ),
                (
                    patient().websockets(WebSockets::new()).handshake_timeout(HOUR),
                    WEBSOCKET,
                    "HTTP/1.1 400 ",
                ),
            ] {
                let (mut listener, site) = listen_with(over, builder).await?;
                tokio::spawn(async move { listener.accept().await.is_none() });
                let answer = answer_after_all(&mut io_of(&site).await?, &upload("/", fields)).await;
                let answer = answer.with_context(|| format!("{over:?} {status}{fields}"))?;
                ensure!(answer.starts_with(status), "{over:?} {fields}: {answer}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_server_that_ends_waits_for_a_client_that_still_sends() -> TestResult {
    run(async {
        let answered = Arc::new(Notify::new());
        let told = Arc::clone(&answered);
        let early = post(|_: Body| async move {
            told.notify_one();
            StatusCode::PAYLOAD_TOO_LARGE
        });
        let app = Router::new().route("/early", early);
        let server = Stoppable::start(patient(), app, Some(HOUR)).await?;
        let mut io = io_of(&server.site).await?;
        let head = upload("/early", "");
        let (begun, rest) = head.as_bytes().split_at(head.len());
        io.write_all(begun).await?;
        answered.notified().await;
        let ended = server.stop();
        let answer = answer_after_all(&mut io, std::str::from_utf8(rest)?).await?;
        ensure!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        ensure!(!ended.is_finished(), "the client has not ended yet");
        drop(io);
        Ok(ended.await??)
    })
}

/// Many programs keep a connection for their next request, and look at it only then.
#[test]
fn a_client_between_two_requests_does_not_delay_the_end() -> TestResult {
    run(async {
        let server = Stoppable::start(patient(), app(), Some(HOUR)).await?;
        let mut io = TcpStream::connect(server.site.addr).await?;
        io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"the API") {
            ensure!(io.read_buf(&mut answer).await? > 0, "{}", answer.escape_ascii());
        }
        server.stop().await??;
        ensure!(io.read(&mut [0]).await? == 0, "an end and no reset");
        Ok(())
    })
}

#[test]
fn a_client_that_is_answered_and_stays_takes_a_place_and_can_lose_it() -> TestResult {
    run(async {
        let builder = patient().max_links(1);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        tokio::spawn(async move { h2conn::serve(listener, app()).await });
        let mut stays = TcpStream::connect(site.addr).await?;
        stays.write_all(b"GET /nowhere HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stays.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        let mut refused = 0;
        // Clients of one network do not push each other out in the first second.
        loop {
            let mut io = TcpStream::connect(site.addr).await?;
            io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            io.read_to_string(&mut answer).await?;
            if answer.starts_with("HTTP/1.1 200 ") {
                break;
            }
            ensure!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            refused += 1;
        }
        ensure!(refused > 0, "it had the only place");
        drop(stays);
        Ok(())
    })
}

/// How each of these ends: the transport of an answer over HTTP/1.0 is its length.
#[test]
fn an_answer_over_http_1_0_that_is_cut_short_does_not_look_whole() -> TestResult {
    const LIMIT: Duration = Duration::from_millis(300);
    let part = || Ok::<_, std::io::Error>(Bytes::from_static(b"a part"));
    let app = move || {
        Router::new()
            .route(
                "/whole",
                get(async move || Body::from_stream(futures_util::stream::iter([part()]))),
            )
            .route("/sized", get(|| async { "a part" }))
            .route(
                "/fails",
                get(async move || {
                    let fails = [part(), Err(std::io::Error::other("no more"))];
                    Body::from_stream(futures_util::stream::iter(fails))
                }),
            )
            .route(
                "/panics",
                get(async move || {
                    let panics = futures_util::stream::repeat_with(|| {
                        std::panic::resume_unwind(Box::new("a panic"))
                    });
                    let panics = futures_util::stream::iter([part()]).chain(panics);
                    Body::from_stream(panics)
                }),
            )
            .route(
                "/pauses",
                get(async move || {
                    let pauses =
                        futures_util::stream::iter([part()]).chain(futures_util::stream::pending());
                    Body::from_stream(pauses)
                }),
            )
    };
    run(async move {
        for over in Over::BOTH {
            let ask = async |builder: ListenerBuilder, path: &str, stops: Option<Duration>| {
                let server = Stoppable::start_over(over, builder, app(), stops).await?;
                let mut io = io_of(&server.site).await?;
                io.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
                let mut heard = Vec::new();
                if stops.is_some() {
                    while !heard.ends_with(b"a part") {
                        ensure!(io.read_buf(&mut heard).await? > 0);
                    }
                    let error = server.stop().await?.err().context("a connection was left")?;
                    ensure!(error.kind() == ErrorKind::TimedOut, "{error}");
                }
                Ok(io.read_to_end(&mut heard).await.map(|_| heard))
            };
            for path in ["/whole", "/sized"] {
                let heard = ask(patient(), path, None).await??;
                ensure!(heard.ends_with(b"a part"), "{over:?} {path}");
            }
            let idle = patient().idle_timeout(LIMIT);
            for (path, builder, stops) in [
                ("/fails", patient(), None),
                ("/panics", patient(), None),
                ("/pauses", idle, None),
                ("/pauses", patient(), Some(LIMIT)),
            ] {
                let heard: std::io::Result<Vec<u8>> = ask(builder, path, stops).await?;
                let error = heard.err().with_context(|| format!("{over:?} {path}: an end"))?;
                ensure!(
                    error.kind() == std::io::ErrorKind::ConnectionReset,
                    "{over:?} {path}: {error}"
                );
            }
        }
        Ok(())
    })
}
