//! Other implementations at the other end: hyper, the bare h2 crate, curl.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::FutureExt;
use h2conn::http::{Method, Request, Response, StatusCode};
use h2conn::{ErrorKind, Listener};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::curl::{curl, curl_is_here};
use crate::support::foreign::{
    h2_echo, h2_pump, h2_read, h2_send, hyper_echo, io_to, server, tls_to,
};
use crate::support::{
    Over, TestResult, accept, check_echo, check_many, check_turns, echo_server, listen,
    listen_with, noise, ours, run, serve,
};

/// More than any window on the path.
const MUCH: usize = 3 << 20;

#[test]
fn our_client_talks_to_a_stock_hyper_server() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = server(over, hyper_echo).await?;
            check_turns(&site).await.with_context(|| format!("in turns over {over:?}"))?;
            let conn = site.connect().await?;
            check_echo(conn, &noise(MUCH, 1))
                .await
                .with_context(|| format!("bulk over {over:?}"))?;
            check_many(&site).await.with_context(|| format!("many over {over:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn our_client_talks_to_a_server_on_the_bare_h2_crate() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = server(over, h2_echo).await?;
            check_turns(&site).await.with_context(|| format!("in turns over {over:?}"))?;
            let conn = site.connect().await?;
            check_echo(conn, &noise(MUCH, 2))
                .await
                .with_context(|| format!("bulk over {over:?}"))?;
            check_many(&site).await.with_context(|| format!("many over {over:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn our_client_talks_to_our_listener() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            check_turns(&site).await.with_context(|| format!("in turns over {over:?}"))?;
            let conn = site.connect().await?;
            check_echo(conn, &noise(MUCH, 3))
                .await
                .with_context(|| format!("bulk over {over:?}"))?;
            check_many(&site).await.with_context(|| format!("many over {over:?}"))?;
        }
        Ok(())
    })
}

#[test]
fn a_client_on_the_bare_h2_crate_talks_to_our_listener() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
            let link = tokio::spawn(connection);
            let mut streams = JoinSet::new();
            for (number, size) in [0, 1, 5, 16 << 10, MUCH].into_iter().enumerate() {
                let (send, request) = (send.clone(), Request::post(site.url("/echo")).body(())?);
                streams.spawn(async move {
                    let (response, mut body) = send.ready().await?.send_request(request, false)?;
                    let response = response.await?;
                    ensure!(response.status() == StatusCode::OK, "{response:?}");
                    let said = noise(size, number as u64);
                    let all = Bytes::from(said.clone());
                    let write = async {
                        h2_send(&mut body, all).await?;
                        body.send_data(Bytes::new(), true)?;
                        TestResult::Ok(())
                    };
                    let (written, heard) = tokio::join!(write, h2_read(response.into_body()));
                    written?;
                    ensure!(heard? == said, "stream {number}");
                    Ok(())
                });
            }
            while let Some(stream) = streams.join_next().await {
                stream?.with_context(|| format!("{over:?}"))?;
            }
            // The link ends in order when its client drops it.
            drop(send);
            link.await??;
        }
        Ok(())
    })
}

/// A request body that is written step by step.
struct Written(mpsc::Receiver<Bytes>);

impl Body for Written {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[test]
fn a_stock_hyper_client_talks_to_our_listener() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let io = TokioIo::new(io_to(&site).await?);
            let (mut send, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            let (writer, body) = mpsc::channel(1);
            let request = Request::post(site.url("/echo")).body(Written(body))?;
            let response = send.send_request(request).await?;
            ensure!(response.status() == StatusCode::OK, "{response:?}");
            let mut body = response.into_body();
            for turn in 0..20 {
                let said = Bytes::from(noise(1 + turn * 5_000, turn as u64));
                writer.send(said.clone()).await?;
                let mut heard = Vec::new();
                while heard.len() < said.len() {
                    let frame = body.frame().await.context("the body ended early")??;
                    heard.extend_from_slice(frame.data_ref().context("data")?);
                }
                ensure!(heard == said, "turn {turn} over {over:?}");
            }
            drop(writer);
            // Our end follows the client's, without any data.
            ensure!(body.collect().await?.to_bytes().is_empty());
        }
        Ok(())
    })
}

#[test]
fn a_stock_client_that_asks_for_another_method_gets_405() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        let (send, connection) = h2::client::handshake(io_to(&site).await?).await?;
        tokio::spawn(connection);
        for (method, ended) in [(Method::HEAD, true), (Method::TRACE, false)] {
            let request = Request::builder().method(method).uri(site.url("/")).body(())?;
            let (response, _) = send.clone().ready().await?.send_request(request, ended)?;
            let response = response.await?;
            ensure!(response.status() == StatusCode::METHOD_NOT_ALLOWED, "{response:?}");
            ensure!(response.headers()["allow"] == "POST, PUT", "{response:?}");
        }
        Ok(())
    })
}

#[test]
fn a_conn_can_be_written_to_before_a_late_response() -> TestResult {
    run(async {
        for over in Over::BOTH {
            // This server answers only after it has received something.
            let site = server(over, |io| async {
                let mut connection = h2::server::handshake(io).await?;
                while let Some(arrival) = connection.accept().await {
                    let (request, mut respond) = arrival?;
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        let first = body.data().await.context("a first word")??;
                        body.flow_control().release_capacity(first.len())?;
                        let response = Response::builder().status(202).body(())?;
                        let mut send = respond.send_response(response, false)?;
                        h2_send(&mut send, first).await?;
                        h2_pump(body, send).await
                    });
                }
                Ok(())
            })
            .await?;
            let conn = site.client()?.open(site.url("/late")).await?;
            ensure!(conn.response().now_or_never().is_none(), "nothing was said yet");
            (&conn).write_all(b"hello").await?;
            ensure!(conn.response().await?.status() == StatusCode::ACCEPTED);
            let mut heard = [0; 5];
            (&conn).read_exact(&mut heard).await?;
            ensure!(&heard == b"hello");
            check_echo(conn, b"and on it goes").await?;
        }
        Ok(())
    })
}

#[test]
fn what_was_written_before_the_response_is_there_when_our_listener_accepts() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let (mut listener, site) = listen(over).await?;
            let client = site.client()?;
            let mut conn = client.open(site.url("/")).await?;
            conn.write_all(b"said early").await?;
            conn.shutdown().await?;
            ensure!(conn.response().now_or_never().is_none(), "nobody has accepted yet");
            let mut server = accept(&mut listener).await?;
            let mut heard = String::new();
            server.read_to_string(&mut heard).await?;
            ensure!(heard == "said early", "{heard:?}");
            server.write_all(b"heard late").await?;
            server.shutdown().await?;
            ensure!(conn.response().await?.status() == StatusCode::OK);
            let mut answer = String::new();
            conn.read_to_string(&mut answer).await?;
            ensure!(answer == "heard late", "{answer:?}");
        }
        Ok(())
    })
}

#[test]
fn a_conn_that_is_refused_after_it_was_written_to_says_so_to_readers_and_writers() -> TestResult {
    run(async {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let mut conn = site.client()?.open(site.url("/")).await?;
        conn.write_all(b"may I?").await?;
        listener.accept().await.context("a request")?.reject(StatusCode::FORBIDDEN);
        ensure!(conn.response().await?.status() == StatusCode::FORBIDDEN);
        let error = conn.read(&mut [0; 1]).await.expect_err("it was refused");
        ensure!(ours(&error).kind() == ErrorKind::Rejected, "{error:?}");
        ensure!(ours(&error).status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        let error = conn.write(b"please").await.expect_err("it was refused");
        ensure!(ours(&error).status() == Some(StatusCode::FORBIDDEN), "{error:?}");
        Ok(())
    })
}

#[test]
fn curl_talks_to_our_listener() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        let tls = echo_server(Over::Tls).await?;
        let heard = curl("--http2 -T .", tls.url("/"), b"hi\n").await?;
        ensure!(heard == "hi\n", "{heard:?}");
        let cleartext = echo_server(Over::Cleartext).await?;
        let heard = curl("--http2-prior-knowledge -T .", cleartext.url("/"), b"hi\n").await?;
        ensure!(heard == "hi\n", "{heard:?}");

        // `-T -` reads the whole input first. The input may be large, or empty.
        let much: String = (0..200_000).map(|line| format!("line {line}\n")).collect();
        let heard = curl("--http2 -T -", tls.url("/"), much.as_bytes()).await?;
        ensure!(heard == much, "{} bytes of {}", heard.len(), much.len());
        let heard = curl("--http2 -T -", tls.url("/"), b"").await?;
        ensure!(heard.is_empty(), "{heard:?}");
        Ok(())
    })
}

#[test]
fn curl_answers_are_read_while_it_still_sends() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let version = if over == Over::Tls { "--http2" } else { "--http2-prior-knowledge" };
            let mut curl = Command::new("curl")
                .args(["-q", "-skN", "--noproxy", "*", version, "-T", ".", &site.url("/")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            let mut say = curl.stdin.take().context("curl's input")?;
            let mut hear = curl.stdout.take().context("curl's output")?;
            for turn in 0..3 {
                let line = format!("turn {turn}\n");
                say.write_all(line.as_bytes()).await?;
                let mut heard = vec![0; line.len()];
                hear.read_exact(&mut heard).await?;
                ensure!(heard == line.as_bytes(), "{:?}", String::from_utf8_lossy(&heard));
            }
            drop(say);
            ensure!(curl.wait().await?.success());
        }
        Ok(())
    })
}

#[test]
fn curl_with_http1_gets_505_and_reads_what_to_do() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            let heard = curl("--http1.1 -w %{http_code}", site.url("/"), b"").await?;
            ensure!(heard.ends_with("505") && heard.contains("--http2-prior-knowledge"), "{heard}");
            let heard = curl("--http1.1 -T . -w %{http_code}", site.url("/"), b"hi\n").await?;
            ensure!(heard.ends_with("505"), "{heard}");
        }
        Ok(())
    })
}

#[test]
fn curl_is_told_when_the_method_is_another() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        let builder = Listener::builder().methods([Method::POST]);
        let (listener, site) = listen_with(Over::Tls, builder).await?;
        serve(listener, crate::support::echo);
        // Not `-T .`: if an upload is refused, curl 7.88 ends it and then waits for ever, although
        // both sides of the stream have ended.
        let heard = curl("--http2 -X PUT -d hi -w %{http_code}", site.url("/"), b"").await?;
        ensure!(heard.contains("use one of: POST") && heard.ends_with("405"), "{heard}");
        let heard = curl("--http2 -X POST -T .", site.url("/"), b"hi\n").await?;
        ensure!(heard == "hi\n", "{heard:?}");
        Ok(())
    })
}

#[test]
fn a_tls_client_may_offer_h2_among_others() -> TestResult {
    run(async {
        let site = echo_server(Over::Tls).await?;
        let io = tls_to(&site, &["http/1.1", "h2"]).await?;
        let (send, connection) = h2::client::handshake(io).await?;
        tokio::spawn(connection);
        let request = Request::post(site.url("/")).body(())?;
        let (response, mut body) = send.ready().await?.send_request(request, false)?;
        let response = response.await?;
        body.send_data(Bytes::from_static(b"hello"), true)?;
        ensure!(h2_read(response.into_body()).await? == b"hello");
        Ok(())
    })
}
