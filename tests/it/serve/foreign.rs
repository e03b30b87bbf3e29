//! Clients in other languages, and curl, hear the same of a router under our server and under hyper,
//! by HTTP/2 and by HTTP/1.1. They need no words of ours: each sends the tables of `answers.rs` and of
//! `application.rs`.

use std::process::Stdio;

use anyhow::{Context, ensure};
use axum::Router;
use h2conn::http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::answers::{GET, ODD, PATHS, Row, app, hyper};
use super::served;
use crate::support::curl::curl_is_here;
use crate::support::script::Scratch;
use crate::support::tools::{go_peer, interop};
use crate::support::{Over, Site, TestResult, run};
use crate::{node, python};

/// A client that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Curl,
    Go,
    Node,
    Python,
}

/// A response, as a client tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Told {
    status: u16,
    fields: Vec<String>,
    len: usize,
    sum: String,
    trailers: Vec<String>,
    error: String,
}

/// Requests to a router.
pub(super) struct Table {
    pub(super) app: Router,
    pub(super) rows: Vec<Row>,
    /// At least so many have whole answers.
    pub(super) whole: usize,
}

/// The requests of `answers.rs` that a client can send, and whose answers are certain.
fn table(client: Client, version: &str) -> Table {
    let gets = PATHS.map(|target| Row { target, ..GET });
    let heads = PATHS.map(|target| Row { method: Method::HEAD, target, ..GET });
    let is_certain = |row: &Row| {
        // A server that answers early may end the connection before the client hears it.
        let reads_none = ["/early", "/ignore", "/text"].contains(&row.target);
        let is_early = !row.content.is_empty() && reads_none;
        // hyper sends content with a 204, see `answers.rs`.
        let is_wrong = row.target.starts_with("/204");
        let is_sent = row.trailers.is_none() || matches!(client, Client::Go | Client::Node);
        is_sent && !is_wrong && (!is_early || (version == "2" && client == Client::Go))
    };
    let rows = gets.into_iter().chain(heads).chain(ODD).filter(is_certain).collect();
    Table { app: app(), rows, whole: 60 }
}

/// The answers of one server to a client.
async fn told(
    client: Client,
    version: &str,
    site: &Site,
    rows: &[Row],
) -> TestResult<Option<Vec<Told>>> {
    let certificate = site.certificate.as_deref().context("a site with TLS")?;
    let file = Scratch::new(certificate)?;
    let mut command = match client {
        Client::Curl => {
            let mut all = Vec::new();
            for row in rows {
                all.push(by_curl(version, site, row).await?);
            }
            return Ok(Some(all));
        }
        Client::Go => {
            let Some(go) = go_peer()? else { return Ok(None) };
            let mut command = Command::new(go);
            command.args(["-roots", certificate, "requests", version]);
            command
        }
        Client::Node => {
            let mut command = Command::new("node");
            command.arg(interop("node/requests.mjs")?).arg(version).arg(file.path()?);
            command
        }
        Client::Python => {
            let Some(python) = python::with_package("httpx").await else { return Ok(None) };
            let mut command = Command::new(python);
            command.arg(interop("python/requests_peer.py")?).arg(version).arg(file.path()?);
            command
        }
    };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&format!("{}\n", line(site, row)));
    }
    let writing = async move { input.write_all(lines.as_bytes()).await };
    let (written, output) = tokio::join!(writing, child.wait_with_output());
    written?;
    let output = output?;
    ensure!(output.status.success(), "{client:?} {version}: {}", output.status);
    let output = String::from_utf8(output.stdout)?;
    let told = output.lines().take(rows.len()).map(serde_json::from_str);
    let told = told.collect::<Result<Vec<Told>, _>>();
    let told = told.with_context(|| format!("a line of {client:?}"))?;
    ensure!(told.len() == rows.len(), "{} of {}", told.len(), rows.len());
    Ok(Some(told))
}

/// A request in the form that the programs read.
fn line(site: &Site, row: &Row) -> String {
    let (body, fill) = match row.content {
        [] => (None, 0),
        [first, ..] if first.len() > 1000 => {
            (Some(String::new()), row.content.iter().map(|piece| piece.len()).sum())
        }
        pieces => (Some(String::from_utf8_lossy(&pieces.concat()).into_owned()), 0),
    };
    let trailers: Vec<_> = row.trailers.into_iter().collect();
    json!({
        "method": row.method.as_str(),
        "url": format!("https://localhost:{}{}", site.addr.port(), row.target),
        "fields": row.fields,
        "body": body,
        "fill": fill,
        "trailers": trailers,
    })
    .to_string()
}

/// curl is a process for each request.
async fn by_curl(version: &str, site: &Site, row: &Row) -> TestResult<Told> {
    let mut command = Command::new("curl");
    let version = if version == "2" { "--http2" } else { "--http1.1" };
    command.args(["-q", "-sk", "--noproxy", "*", "-H", "accept:", version]);
    command.args(["--path-as-is", "-D", "/dev/stderr"]);
    match row.method {
        Method::HEAD => command.args(["-I", "-o", "/dev/null"]),
        _ => command.args(["-X", row.method.as_str()]),
    };
    for (name, value) in row.fields {
        command.arg("-H").arg(if value.is_empty() {
            format!("{name};")
        } else {
            format!("{name}: {value}")
        });
    }
    if !row.content.is_empty() {
        command.args(["--data-binary", "@-"]);
    }
    command.arg(format!("https://localhost:{}{}", site.addr.port(), row.target));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    let content = row.content.concat();
    // If curl is refused, it does not read all of its input.
    let writing = async move { drop(input.write_all(&content).await) };
    let ((), output) = tokio::join!(writing, child.wait_with_output());
    let output = output?;
    let heads = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut fields: Vec<String> = heads.lines().map(|line| line.trim_end().to_owned()).collect();
    fields.sort_unstable();
    let status = heads.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let error = if output.status.success() { String::new() } else { output.status.to_string() };
    let sum = format!("{:x}", <sha2::Sha256 as sha2::Digest>::digest(&output.stdout));
    Ok(Told { status, fields, len: output.stdout.len(), sum, trailers: Vec::new(), error })
}

/// Shows what must be the same for both servers. Times and the texts of errors need not be, nor a
/// description, which has the port, nor compressed bytes, which depend on the time at which each came.
fn comparable(row: &Row, told: &Told) -> String {
    let is_described = row.target.starts_with("/describe");
    let Told { status, fields, len, sum, trailers, error } = told;
    if !error.is_empty() {
        // How much comes before a failure is a matter of time.
        return "failed".to_owned();
    }
    let is_compressed =
        fields.iter().any(|field| field.eq_ignore_ascii_case("content-encoding: gzip"));
    let mut text = format!("{status} {trailers:?}");
    if !is_described && !is_compressed {
        text.push_str(&format!(" {len} bytes {sum}"));
    }
    for field in fields {
        match field.to_ascii_lowercase().split(": ").next() {
            Some("date") if !field.contains("1994") => text.push_str("\ndate"),
            Some("content-length") if is_described => {}
            _ => text.push_str(&format!("\n{field}")),
        }
    }
    text
}

/// A text of a server, such as the target of a redirection, without the port, which no two servers
/// share.
pub(super) fn without_port(text: &str, site: &Site) -> String {
    text.replace(&format!(":{}/", site.addr.port()), "/")
}

/// Compares what a client hears of both servers.
pub(super) async fn compare(client: Client, version: &str, table: Table) -> TestResult {
    let Table { app, rows, whole: least } = table;
    let sites = [hyper(Over::Tls, app.clone()).await?, served(Over::Tls, app).await?];
    let mut all = Vec::new();
    for site in &sites {
        let Some(mut told) = told(client, version, site, &rows).await? else { return Ok(()) };
        for field in told.iter_mut().flat_map(|told| &mut told.fields) {
            *field = without_port(field, site);
        }
        all.push(told);
    }
    let (mut wrong, mut whole) = (Vec::new(), 0);
    for (row, (hyper, ours)) in rows.iter().zip(all[0].iter().zip(&all[1])) {
        whole += usize::from(ours.error.is_empty() && ours.status > 0);
        let (hyper_told, ours_told) = (comparable(row, hyper), comparable(row, ours));
        if hyper_told != ours_told {
            wrong.push(format!(
                "{} {}:\nunder hyper: {hyper_told} {}\nunder ours: {ours_told} {}",
                row.method, row.target, hyper.error, ours.error
            ));
        }
    }
    ensure!(wrong.is_empty(), "{client:?} {version}:\n{}", wrong.join("\n\n"));
    ensure!(whole >= least, "{client:?} {version}: only {whole} answers were whole");
    Ok(())
}

async fn compare_all(client: Client) -> TestResult {
    for version in ["2", "1.1"] {
        compare(client, version, table(client, version)).await?;
    }
    Ok(())
}

#[test]
fn curl_hears_the_same_of_our_server_as_of_hyper() -> TestResult {
    run(async {
        if curl_is_here().await {
            compare_all(Client::Curl).await?;
        }
        Ok(())
    })
}

#[test]
fn go_hears_the_same_of_our_server_as_of_hyper() -> TestResult {
    // It is built before the watchdog of the test runs.
    go_peer()?;
    run(compare_all(Client::Go))
}

#[test]
fn node_hears_the_same_of_our_server_as_of_hyper() -> TestResult {
    run(async {
        if node::is_here().await? {
            compare_all(Client::Node).await?;
        }
        Ok(())
    })
}

#[test]
fn python_hears_the_same_of_our_server_as_of_hyper() -> TestResult {
    run(compare_all(Client::Python))
}
