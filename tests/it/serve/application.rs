//! An application as it is written with axum and tower-http: static files, compression, server-sent
//! events, JSON and a live route. Every client hears the same of it under our server and under hyper.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use axum::Router;
use axum::http::HeaderMap;
use axum::response::Html;
use axum::response::sse::{Event, Sse};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::{Stream, stream};
use h2conn::Listener;
use h2conn::axum::Accept;
use h2conn::http::{Method, Response, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::process::Command;
use tokio::sync::Notify;
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;

use super::answers::{GET, Row, hyper};
use super::foreign::{Client, Table, compare, without_port};
use super::{served, served_with};
use crate::node;
use crate::support::browser::browser_scripts;
use crate::support::curl::{curl, curl_is_here};
use crate::support::tools::go_peer;
use crate::support::{Over, Site, TestResult, checked, echo, noise, skipped};

/// The length of the largest file.
const LARGE: u64 = 100_000_000;

/// How long a test may take. It moves hundreds of megabytes, and other processes may use the machine.
const WATCHDOG: u64 = 600;

/// The files of the application, which are removed when this is dropped.
struct Files(PathBuf);

impl Files {
    fn new() -> TestResult<Files> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("application-{}-{number}", std::process::id());
        let files = Files(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
        let Files(folder) = &files;
        std::fs::create_dir_all(folder.join("folder"))?;
        let lines: String = (0..2_000).map(|line| format!("line {line} of a text\n")).collect();
        std::fs::write(folder.join("small.txt"), &lines)?;
        std::fs::write(folder.join("a name.html"), "<!doctype html>\n<title>a name</title>\n")?;
        std::fs::write(
            folder.join("folder/index.html"),
            "<!doctype html>\n<title>index</title>\n",
        )?;
        std::fs::write(folder.join("empty.css"), "")?;
        std::fs::write(folder.join("large.bin"), large())?;
        Ok(files)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Files that cannot be removed do no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The content of the largest file: no two of its pieces are the same.
fn large() -> Vec<u8> {
    let piece = noise(1 << 16, 1);
    let mut content = Vec::with_capacity(LARGE as usize);
    while content.len() < LARGE as usize {
        let at = content.len();
        let end = (at + piece.len()).min(LARGE as usize);
        content.extend_from_slice(&piece[..end - at]);
        content[at..end.min(at + 8)].copy_from_slice(&at.to_le_bytes()[..(end - at).min(8)]);
    }
    content
}

/// Events that go on where the client has heard the last one.
async fn events(fields: HeaderMap) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = fields.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let last: u64 = last.unwrap_or_default();
    let some = (last + 1..=last + 3).map(|id| {
        let event = Event::default().id(id.to_string()).event("tick").data(format!("{id}\nof all"));
        Ok(event.retry(std::time::Duration::from_millis(1)))
    });
    Sse::new(stream::iter(some))
}

/// Events of which each waits until the client has heard the one before.
fn steps(heard: Arc<Notify>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    Sse::new(stream::unfold(0, move |step| {
        let heard = Arc::clone(&heard);
        async move {
            if step > 0 {
                heard.notified().await;
            }
            (step < 3).then(|| (Ok(Event::default().data(step.to_string())), step + 1))
        }
    }))
}

fn json(value: &Value) -> Response<axum::body::Body> {
    let response = Response::builder().header("content-type", "application/json");
    response.body(value.to_string().into()).expect("a response")
}

fn application(Files(folder): &Files) -> Router {
    let heard = Arc::new(Notify::new());
    let told = Arc::clone(&heard);
    Router::new()
        .route("/", get(|| async { Html("<!doctype html>\n<title>application</title>\n") }))
        .route("/text", get(|| async { "a line that is often the same\n".repeat(1_000) }))
        .route(
            "/json",
            get(|| async { json(&serde_json::json!({ "numbers": [1, 2.5], "text": "ü" })) }).post(
                |body: Bytes| async move {
                    match serde_json::from_slice(&body) {
                        Ok(value) => json(&Value::Array(vec![value])),
                        Err(_) => {
                            let mut refusal = json(&Value::Null);
                            *refusal.status_mut() = StatusCode::BAD_REQUEST;
                            refusal
                        }
                    }
                },
            ),
        )
        .route("/events", get(events))
        .route("/steps", get(move || async move { steps(Arc::clone(&heard)) }))
        .route("/heard", post(move || async move { told.notify_one() }))
        .route(
            "/live",
            any(|accept: Accept| async { accept.on_conn(|conn| async { drop(echo(conn).await) }) }),
        )
        .nest_service("/files", ServeDir::new(folder))
        .layer(CompressionLayer::new())
}

const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const FUTURE: &str = "Wed, 06 Nov 2052 08:49:37 GMT";
const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];

/// Requests as browsers, mirrors and scanners send them.
fn rows() -> Vec<Row> {
    let to = |target| Row { target, ..GET };
    let with = |target, fields| Row { target, fields, ..GET };
    let small = |fields| with("/files/small.txt", fields);
    let post = |target, content| Row { method: Method::POST, target, content, ..GET };
    let head = |target| Row { method: Method::HEAD, target, ..GET };
    vec![
        to("/"),
        to("/text"),
        with("/text", GZIP),
        with("/text", &[("accept-encoding", "br;q=1.0, gzip;q=0.5, *;q=0")]),
        with("/text", &[("accept-encoding", "identity;q=0")]),
        head("/text"),
        Row { fields: GZIP, ..head("/text") },
        to("/json"),
        with("/json", GZIP),
        post("/json", &[br#"{"a":[true,null]}"#]),
        post("/json", &[b"no JSON"]),
        Row { method: Method::DELETE, ..to("/json") },
        to("/events"),
        with("/events", &[("last-event-id", "6"), ("accept", "text/event-stream")]),
        with("/events", GZIP),
        head("/events"),
        to("/files/small.txt"),
        head("/files/small.txt"),
        small(GZIP),
        small(&[("range", "bytes=0-9")]),
        small(&[("range", "bytes=-5")]),
        small(&[("range", "bytes=40-")]),
        small(&[("range", "bytes=0-0,2-3")]),
        small(&[("range", "bytes=9000000-")]),
        small(&[("range", "lines=1-2")]),
        small(&[("range", "bytes=0-9"), ("accept-encoding", "gzip")]),
        small(&[("if-modified-since", FUTURE)]),
        small(&[("if-modified-since", OLD)]),
        small(&[("if-unmodified-since", OLD)]),
        small(&[("if-unmodified-since", FUTURE)]),
        to("/files/empty.css"),
        head("/files/empty.css"),
        to("/files/a%20name.html"),
        to("/files/folder"),
        to("/files/folder/"),
        to("/files/"),
        to("/files/nothing"),
        to("/files/%2e%2e/%2e%2e/Cargo.toml"),
        to("/files/..%2f..%2fCargo.toml"),
        to("/files/small.txt/more"),
        to("/files/%ff%00"),
        post("/files/small.txt", &[]),
        Row { method: Method::OPTIONS, ..to("/files/small.txt") },
        post("/heard", &[]),
        to("/live"),
        to("/nowhere"),
        head("/files/large.bin"),
        with("/files/large.bin", &[("range", "bytes=99000000-")]),
        to("/files/large.bin"),
    ]
}

/// Compares what a client hears, by both versions of HTTP.
async fn compare_all(client: Client) -> TestResult {
    checked(WATCHDOG, async {
        let files = Files::new()?;
        for version in ["2", "1.1"] {
            let (app, rows) = (application(&files), rows());
            let whole = rows.len();
            compare(client, version, Table { app, rows, whole }).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    if !curl_is_here().await {
        return Ok(());
    }
    compare_all(Client::Curl).await?;
    checked(WATCHDOG, async {
        let files = Files::new()?;
        let site = served(Over::Tls, application(&files)).await?;
        let lines = std::fs::read_to_string(files.0.join("small.txt"))?;
        for version in ["--http2", "--http1.1"] {
            let arguments = format!("{version} --compressed -w %{{size_download}}");
            let heard = curl(&arguments, site.url("/files/small.txt"), b"").await?;
            let size = heard.strip_prefix(&lines).context("the file")?;
            ensure!(size.parse::<usize>()? < lines.len() / 2, "{version}: {size} bytes came");
        }
        Ok(())
    })
    .await
}

#[test]
fn go_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    // It is built without a runtime.
    go_peer()?;
    tokio::runtime::Runtime::new()?.block_on(compare_all(Client::Go))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    if !node::is_here().await? {
        return Ok(());
    }
    compare_all(Client::Node).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    compare_all(Client::Python).await
}

/// The fields of a response that nghttp has printed, and the number of bytes of its content.
fn heard_by_nghttp(printed: &str) -> (Vec<&str>, usize) {
    let (mut fields, mut len) = (Vec::new(), 0);
    for line in printed.lines() {
        let Some((_, said)) = line.split_once("recv ") else { continue };
        if let Some((_, field)) =
            said.split_once("(stream_id=").and_then(|(_, f)| f.split_once(") "))
        {
            if !field.starts_with("date: ") {
                fields.push(field);
            }
        } else if let Some(frame) = said.strip_prefix("DATA frame <length=") {
            let length = frame.split_once(',').map(|(length, _)| length.parse::<usize>());
            len += length.and_then(Result::ok).unwrap_or_default();
        }
    }
    fields.sort_unstable();
    (fields, len)
}

/// The output of a client of nghttp2. `None`, with a message, if it is not here.
async fn printed(mut client: Command) -> TestResult<Option<String>> {
    match client.stdin(Stdio::null()).kill_on_drop(true).output().await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped(format!("no {client:?}: it is in nghttp2's clients"));
            Ok(None)
        }
        output => {
            let output = output?;
            ensure!(output.status.success(), "{client:?}: {output:?}");
            Ok(Some(String::from_utf8(output.stdout)?))
        }
    }
}

async fn by_nghttp(site: &Site, row: &Row) -> TestResult<Option<String>> {
    let mut command = Command::new("nghttp");
    command.args(["-vny", "--no-dep"]);
    if row.method != Method::GET {
        command.arg(format!("-H:method: {}", row.method));
    }
    let encoding = [("accept-encoding", "identity")];
    for (name, value) in encoding.iter().chain(row.fields) {
        command.arg(format!("-H{name}: {value}"));
    }
    command.arg(site.url(row.target));
    printed(command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nghttp_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    checked(WATCHDOG, async {
        let files = Files::new()?;
        let app = application(&files);
        let sites = [hyper(Over::Tls, app.clone()).await?, served(Over::Tls, app).await?];
        let encodes = |row: &Row| row.fields.iter().any(|(name, _)| *name == "accept-encoding");
        for row in rows().iter().filter(|row| row.content.is_empty() && !encodes(row)) {
            let Some(hyper) = by_nghttp(&sites[0], row).await? else { return Ok(()) };
            let Some(ours) = by_nghttp(&sites[1], row).await? else { return Ok(()) };
            let [hyper, ours] = [(hyper, &sites[0]), (ours, &sites[1])]
                .map(|(printed, site)| without_port(&printed, site));
            let (hyper, ours) = (heard_by_nghttp(&hyper), heard_by_nghttp(&ours));
            ensure!(ours.0.iter().any(|field| field.starts_with(":status: ")), "{row:?}: {ours:?}");
            ensure!(hyper == ours, "{row:?}:\nunder hyper: {hyper:?}\nunder ours: {ours:?}");
            let is_whole = row.method == Method::GET && row.fields.is_empty();
            if row.target == "/files/large.bin" && is_whole {
                ensure!(ours.1 as u64 == LARGE, "{} bytes", ours.1);
            }
        }
        Ok(())
    })
    .await
}

/// The lines of h2load about statuses, and the number of bytes of content.
fn heard_by_h2load(printed: &str) -> TestResult<(&str, &str)> {
    let line = |name: &str| printed.lines().find(|line| line.starts_with(name));
    let traffic = line("traffic: ").context("h2load did not finish")?;
    let (_, content) = traffic.rsplit_once("), ").context("three numbers")?;
    Ok((line("status codes: ").context("statuses")?, content))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2load_hears_the_same_of_an_application_as_under_hyper() -> TestResult {
    checked(WATCHDOG, async {
        let files = Files::new()?;
        let app = application(&files);
        let sites = [hyper(Over::Tls, app.clone()).await?, served(Over::Tls, app).await?];
        for path in
            ["/json", "/text", "/events", "/files/small.txt", "/files/nothing", "/files/folder"]
        {
            let mut all = Vec::new();
            for site in &sites {
                let mut h2load = Command::new("h2load");
                h2load.args(["-n", "400", "-c", "4", "-m", "20", "-t", "1", &site.url(path)]);
                let Some(said) = printed(h2load).await? else { return Ok(()) };
                all.push(said);
            }
            let (hyper, ours) = (heard_by_h2load(&all[0])?, heard_by_h2load(&all[1])?);
            ensure!(hyper == ours, "{path}:\nunder hyper: {hyper:?}\nunder ours: {ours:?}");
        }
        Ok(())
    })
    .await
}

/// A page of the application in Chromium, which `interop/browser/application.mjs` drives.
async fn browse(flag: &str) -> TestResult {
    let Some(scripts) = browser_scripts().await? else { return Ok(()) };
    checked(WATCHDOG, async {
        let files = Files::new()?;
        let app = application(&files);
        let builder = Listener::builder().protocols(["websocket"]);
        let served = served_with(Over::Tls, builder, app.clone()).await?;
        let mut all = Vec::new();
        for site in [hyper(Over::Tls, app).await?, served] {
            let url = format!("https://localhost:{}/", site.addr.port());
            let mut command = Command::new("node");
            command.arg(scripts.join("application.mjs")).args([flag, &url]).stdin(Stdio::null());
            let output = command.kill_on_drop(true).output().await?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            all.push(serde_json::from_slice::<Value>(&output.stdout)?);
        }
        ensure!(all[0] == all[1], "under hyper: {}\nunder ours: {}", all[0], all[1]);
        let sum = format!("{:x}", Sha256::digest(large()));
        ensure!(all[1]["file"] == serde_json::json!([LARGE, sum]), "{}", all[1]);
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_uses_an_application_as_under_hyper_by_http_2() -> TestResult {
    browse("--http2").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_uses_an_application_as_under_hyper_by_http_1() -> TestResult {
    browse("--http1").await
}
