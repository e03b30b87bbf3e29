//! The extractor `axum::Accept` inside a stock axum server. The connection tests (`nettest.rs`) use
//! it too.

use anyhow::{Context, ensure};
use axum::serve::ListenerExt;
use bytes::Bytes;
use h2conn::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::curl::{curl, curl_is_here};
use crate::support::framework::{Host, axum_server};
use crate::support::{
    Over, Site, TestResult, check_echo, check_many, check_turns, echo, noise, run,
};

/// More than any window on the path.
const MUCH: usize = 3 << 20;

async fn echo_server(over: Over) -> TestResult<Site> {
    axum_server(over, |conn| async {
        // The test checks the client's side.
        let _ = echo(conn).await;
    })
    .await
}

#[test]
fn conns_are_accepted_on_a_route_beside_others() -> TestResult {
    run(async {
        for over in Over::BOTH {
            let site = echo_server(over).await?;
            check_turns(&site).await.with_context(|| format!("in turns over {over:?}"))?;
            check_echo(site.connect().await?, &noise(MUCH, 1)).await?;
            check_many(&site).await.with_context(|| format!("many over {over:?}"))?;
            let error = site.client()?.connect(site.url("/nowhere")).await.err();
            ensure!(error.context("no such route")?.status() == Some(StatusCode::NOT_FOUND));
        }
        Ok(())
    })
}

#[test]
fn the_clients_address_is_known_where_axum_knows_it() -> TestResult {
    run(async {
        let (client, server) = Host::Axum.pair(Over::Cleartext).await?;
        ensure!(server.peer_addr() == client.local_addr(), "{}", server.peer_addr());
        Ok(())
    })
}

/// The documentation of `accept` warns of this.
#[test]
fn tcp_nodelay_is_left_to_the_program() -> TestResult {
    run(async {
        let (sender, mut seen) = mpsc::unbounded_channel();
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let socket = socket.tap_io(move |io| drop(sender.send(io.nodelay())));
        tokio::spawn(axum::serve(socket, axum::Router::new()).into_future());
        let _client = TcpStream::connect(addr).await?;
        ensure!(!seen.recv().await.context("the server has ended")??, "axum has set it");
        Ok(())
    })
}

#[test]
fn http1_gets_the_other_routes_and_is_told_why_it_gets_no_conn() -> TestResult {
    run(async {
        let site = echo_server(Over::Cleartext).await?;
        for (method, path, status, text) in [
            (Method::GET, "/api", StatusCode::OK, "the API"),
            (Method::POST, "/", StatusCode::HTTP_VERSION_NOT_SUPPORTED, "needs HTTP/2"),
        ] {
            let io = TokioIo::new(TcpStream::connect(site.addr).await?);
            let (mut send, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", "x");
            let response = send.send_request(request.body(Empty::<Bytes>::new())?).await?;
            ensure!(response.status() == status, "{path}: {}", response.status());
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(std::str::from_utf8(&body)?.contains(text), "{path}: {body:?}");
        }
        Ok(())
    })
}

#[test]
fn curl_talks_to_an_axum_route() -> TestResult {
    run(async {
        if !curl_is_here().await {
            return Ok(());
        }
        let tls = echo_server(Over::Tls).await?;
        ensure!(curl("--http2 -T .", tls.url("/"), b"hi\n").await? == "hi\n");
        let much: String = (0..200_000).map(|line| format!("line {line}\n")).collect();
        let expecting = "--http2 -H expect:100-continue -T -";
        for arguments in ["--http2 -T -", expecting, "--http2 --data-binary @-"] {
            let heard = curl(arguments, tls.url("/"), much.as_bytes()).await?;
            ensure!(heard == much, "{arguments}: {} of {} bytes", heard.len(), much.len());
        }
        // As somebody tries the URL.
        let told = curl("--http2 -w %{http_code}", tls.url("/"), b"").await?;
        ensure!(told.ends_with("400") && told.contains("curl -T . URL"), "{told}");
        let cleartext = echo_server(Over::Cleartext).await?;
        let heard = curl("--http2-prior-knowledge -T .", cleartext.url("/"), b"hi\n").await?;
        ensure!(heard == "hi\n", "{heard:?}");
        Ok(())
    })
}
