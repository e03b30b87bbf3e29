//! h2load, the load generator of nghttp2, against our listener, and against a router that it serves.

use std::io;
use std::process::Stdio;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::any;
use h2conn::{Conn, Listener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::support::tools::aloud;
use crate::support::{Over, Site, TestResult, checked, listen, long, serve, skipped};

/// Each link carries a thousand of them, 100 at a time.
const REQUESTS: usize = 10_000;

async fn answer(mut conn: Conn) -> io::Result<()> {
    while conn.read(&mut [0; 4096]).await? > 0 {}
    conn.write_all(&[b'.'; 1_000]).await?;
    conn.shutdown().await
}

async fn check_answer(site: &Site) -> TestResult {
    let mut conn = site.connect().await?;
    conn.shutdown().await?;
    let mut got = Vec::new();
    ensure!(conn.read_to_end(&mut got).await? == 1_000);
    Ok(())
}

/// A task that answers the requests of a listener.
type Serving = fn(Listener) -> JoinHandle<()>;

fn by_conns(listener: Listener) -> JoinHandle<()> {
    serve(listener, answer)
}

fn by_a_router(listener: Listener) -> JoinHandle<()> {
    let router = Router::new().route("/", any(|| async { ".".repeat(1_000) }));
    tokio::spawn(async move { drop(h2conn::serve(listener, router).await) })
}

async fn check(over: Over, by: Serving) -> TestResult {
    checked(120, async {
        let (listener, site) = listen(over).await?;
        let serving = by(listener);
        let requests = if long() { 10 * REQUESTS } else { REQUESTS };
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", &requests.to_string(), "-c", "10", "-m", "100", "-t", "1", &site.url("/")]);
        let output = match h2load.stdin(Stdio::null()).kill_on_drop(true).output().await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                skipped("no h2load: it is in nghttp2's clients");
                return Ok(());
            }
            output => output?,
        };
        let printed = String::from_utf8(output.stdout)?;
        let closing = printed.split_once("finished in").context("h2load did not finish")?.1;
        let closing: Vec<_> = closing.trim().lines().take(3).collect();
        aloud(format!("h2load, {over:?}: finished in{}", closing.join(" | ")));
        let expected = format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, \
             0 failed, 0 errored, 0 timeout"
        );
        ensure!(closing.contains(&expected.as_str()), "{printed}");
        ensure!(printed.contains(&format!("status codes: {requests} 2xx")), "{printed}");
        // The listener still works.
        check_answer(&site).await?;
        serving.abort();
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_of_h2load_all_succeed_over_cleartext() -> TestResult {
    check(Over::Cleartext, by_conns).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_of_h2load_all_succeed_over_tls() -> TestResult {
    check(Over::Tls, by_conns).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_of_h2load_to_a_router_all_succeed() -> TestResult {
    check(Over::Cleartext, by_a_router).await?;
    check(Over::Tls, by_a_router).await
}
