//! `h2conn doctor` and the other end that a program's own server has, `h2conn::doctor`: in a router that a listener
//! serves, and in a stock axum server. The proxies' tests have it through boxes.

use std::net::SocketAddr;

use anyhow::ensure;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::any;
use axum::serve::ListenerExt;
use h2conn::axum::Accept;
use h2conn::doctor::Doctor;
use h2conn::{Conn, Listener};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::support::{TestResult, WATCHDOG, h2conn};

/// The findings at a path of a server, and the exit code.
async fn examined(addr: SocketAddr, path: &str) -> TestResult<(Value, Option<i32>)> {
    let url = format!("http://{addr}{path}");
    let examining = tokio::task::spawn_blocking(move || {
        let args = ["doctor", "--json", "-W", "60", &url];
        let assert = h2conn(args).assert();
        let output = assert.get_output();
        anyhow::Ok((serde_json::from_slice(&output.stdout)?, output.status.code()))
    });
    tokio::time::timeout(WATCHDOG, examining).await??
}

/// All findings are good, and each probe was made both ways.
fn all_is_well(findings: &Value, code: Option<i32>) -> TestResult {
    ensure!(code == Some(0), "{code:?}: {findings:#}");
    let findings = findings["findings"].as_array().into_iter().flatten();
    let (mut by_http2, mut by_websocket) = (0, 0);
    for finding in findings {
        ensure!(finding["result"] != "FAULT", "{finding:#}");
        match finding["reach"].as_str() {
            Some("websocket") => by_websocket += 1,
            _ => by_http2 += 1,
        }
    }
    // The limit of streams is a finding of HTTP/2 alone.
    ensure!((by_http2, by_websocket) == (11, 10), "{by_http2}, {by_websocket}");
    Ok(())
}

fn app() -> Router {
    Router::new().merge(Doctor::default().router("/doctor/"))
}

async fn serve(app: Router) -> TestResult<SocketAddr> {
    let listener = Listener::builder().bind("127.0.0.1:0").await?;
    let addr = listener.local_addr().socket_addr();
    tokio::spawn(h2conn::serve(listener, app).into_future());
    addr.ok_or_else(|| anyhow::anyhow!("it listens on TCP"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_in_a_served_router() -> TestResult {
    let (findings, code) = examined(serve(app()).await?, "/doctor/").await?;
    all_is_well(&findings, code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_is_well_in_a_stock_axum_server() -> TestResult {
    let socket = TcpListener::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    let socket = socket.tap_io(|io| io.set_nodelay(true).expect("it is a TCP socket"));
    tokio::spawn(axum::serve(socket, app()).into_future());
    let (findings, code) = examined(addr, "/doctor/").await?;
    all_is_well(&findings, code)
}

/// A live route, a page that has moved, and one that is closed. All else is not found.
fn without_doctor() -> Router {
    let live = any(async |accept: Accept| accept.on_conn(async |conn: Conn| drop(conn)));
    Router::new()
        .route("/live/{*rest}", live)
        .route("/moved/{*rest}", any(async || Redirect::permanent("/doctor/")))
        .route("/closed/{*rest}", any(async || (StatusCode::FORBIDDEN, "not you")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_the_probes_is_told_from_a_box() -> TestResult {
    let addr = serve(without_doctor()).await?;
    for (path, seen) in [
        ("/live/", "400 Bad Request"),
        ("/moved/", "308 Permanent Redirect to \"/doctor/\""),
        ("/closed/", "403 Forbidden, \"not you\""),
        ("/elsewhere/", "404 Not Found"),
    ] {
        let (findings, code) = examined(addr, path).await?;
        ensure!(code == Some(8), "{path}, {code:?}: {findings:#}");
        let first = &findings["findings"][0];
        ensure!(contains(&first["seen"], seen), "{path}: {first:#}");
        ensure!(contains(&first["advice"], "the way passes"), "{path}: {first:#}");
        let verdict = if path == "/live/" { "answers no probes" } else { "refuses the probes" };
        ensure!(contains(&findings["verdict"], verdict), "{path}: {findings:#}");
    }
    Ok(())
}

fn contains(value: &Value, part: &str) -> bool {
    value.as_str().is_some_and(|text| text.contains(part))
}
