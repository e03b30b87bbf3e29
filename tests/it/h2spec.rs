//! h2spec, the test suite for HTTP/2 servers (`interop/h2spec`), against our listener, and against a
//! router that it serves.

use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use axum::Router;
use axum::routing::any;
use bytes::Bytes;
use h2conn::Conn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::support::tools::{Outcome, aloud, go_program};
use crate::support::{Over, TestResult, checked, listen, serve};

/// A server as h2spec expects it: it answers with some data, and ends when the client has ended.
async fn answer(mut conn: Conn) -> std::io::Result<()> {
    conn.write_all(b"This is what h2spec reads.\n").await?;
    while conn.read(&mut [0; 4096]).await? > 0 {}
    // The end of a dropped connection comes without a PING, and a shutdown's does not. h2spec takes the next PING for the
    // answer to its own.
    drop(conn);
    Ok(())
}

/// The server that is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Conns,
    Router,
}

/// Runs all cases, and returns the output of h2spec.
async fn run(program: &Path, over: Over, by: By) -> TestResult<String> {
    let (listener, site) = listen(over).await?;
    let serving = match by {
        By::Conns => serve(listener, answer),
        By::Router => {
            let answer = any(|_: Bytes| async { "This is what h2spec reads.\n" });
            let router = Router::new().route("/", answer);
            tokio::spawn(async move { drop(h2conn::serve(listener, router).await) })
        }
    };
    let port = site.addr.port().to_string();
    let mut h2spec = Command::new(program);
    h2spec.args(["--strict", "--host", "127.0.0.1", "--port", &port]);
    // Five fields of this length must exceed SETTINGS_MAX_FRAME_SIZE, which here is 64 KiB. One of
    // them must fit into SETTINGS_MAX_HEADER_LIST_SIZE, 16 KiB.
    h2spec.args(["--max-header-length", "15200"]);
    // No case that passes waits this long. h2spec's own 2 s are too short on a loaded machine.
    h2spec.args(["--timeout", "60"]);
    if over == Over::Tls {
        h2spec.args(["--tls", "--insecure"]);
    }
    let output = h2spec.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    serving.abort();
    let _ = serving.await;
    Ok(String::from_utf8(output.stdout)?)
}

/// The titles of cases that need not pass, and the reasons.
const EXCEPTIONS: [(&str, &str); 0] = [];

async fn check(over: Over, by: By) -> TestResult {
    static BUILT: OnceLock<Outcome> = OnceLock::new();
    let build =
        || go_program(&BUILT, "h2spec", "github.com/summerwind/h2spec/cmd/h2spec", "h2spec");
    let Some(program) = tokio::task::spawn_blocking(build).await?? else { return Ok(()) };
    checked(300, async {
        let printed = run(program, over, by).await?;
        let last = printed.trim_end().lines().last().context("h2spec printed nothing")?;
        aloud(format!("h2spec, {over:?}, {by:?}: {last}"));
        let (_, failures) = printed.split_once("Failures:").unwrap_or_default();
        let failed = failures.lines().filter_map(|line| line.trim().strip_prefix("× "));
        let unexpected: Vec<_> = failed
            .filter(|title| EXCEPTIONS.iter().all(|(known, _)| !title.ends_with(known)))
            .collect();
        ensure!(unexpected.is_empty(), "{unexpected:?}: {failures}");
        let passed = CASES - EXCEPTIONS.len();
        let expected =
            format!("{CASES} tests, {passed} passed, 0 skipped, {} failed", EXCEPTIONS.len());
        ensure!(last == expected, "{last}");
        Ok(())
    })
    .await
}

/// The number of cases in this version, including the strict ones.
const CASES: usize = 146;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_of_h2spec_pass_over_cleartext() -> TestResult {
    check(Over::Cleartext, By::Conns).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_of_h2spec_pass_over_tls() -> TestResult {
    check(Over::Tls, By::Conns).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_of_h2spec_pass_with_a_router_over_cleartext() -> TestResult {
    check(Over::Cleartext, By::Router).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_cases_of_h2spec_pass_with_a_router_over_tls() -> TestResult {
    check(Over::Tls, By::Router).await
}
