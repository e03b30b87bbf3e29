//! Ordinary requests of h2load to the same service under h2conn's server and under hyper.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::peers::{self, served};
use crate::secure::Identity;

/// The server under a service.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum By {
    H2conn,
    Hyper,
}

#[derive(Args)]
pub(crate) struct Plan {
    /// How often each measurement is repeated.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests for an answer of 12 bytes. Of larger answers there are fewer.
    #[arg(long, default_value_t = 50_000)]
    requests: usize,
}

/// The sizes of the answers, and how many times fewer requests there are.
const SIZES: [(&str, usize, usize); 3] =
    [("/small", 12, 1), ("/64k", 64 << 10, 20), ("/1m", 1 << 20, 200)];

async fn answer<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    static CONTENT: [u8; 1 << 20] = [b'.'; 1 << 20];
    let size = SIZES.iter().find(|(path, ..)| *path == request.uri().path());
    let content = size.map_or(&[][..], |(_, size, _)| &CONTENT[..*size]);
    let mut response = Response::new(Full::new(Bytes::from_static(content)));
    if size.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

/// Runs a server until the process ends, and prints its address.
pub(crate) fn serve(by: By, tls: bool) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let identity = tls.then(Identity::new).transpose()?;
        let addr = match by {
            By::H2conn => {
                let listener = served::listener(identity).await?;
                let addr = listener.local_addr().socket_addr().context("TCP has a port")?;
                tokio::spawn(async { h2conn::serve(listener, tower::service_fn(answer)).await });
                addr
            }
            By::Hyper => hyper(identity).await?,
        };
        println!("{addr}");
        std::future::pending::<()>().await;
        Ok(())
    })
}

async fn hyper(identity: Option<Identity>) -> Result<SocketAddr> {
    peers::listen(identity.map(|identity| identity.alpn(b"h2")), async |io| {
        let service = TowerToHyperService::new(tower::service_fn(answer));
        let server = http2::Builder::new(TokioExecutor::new());
        Ok(server.serve_connection(TokioIo::new(io), service).await?)
    })
    .await
}

/// A measurement.
struct Measured {
    per_second: f64,
    /// The server's processor time for a request, in microseconds.
    processor: f64,
    /// The server's largest memory, in MiB.
    memory: f64,
}

/// Measures all cases, and prints a table.
pub(crate) fn run(plan: &Plan) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        println!("| case | h2conn, requests/s | hyper | ratio | h2conn, µs/request | hyper | h2conn, MiB | hyper |");
        println!("|---|---|---|---|---|---|---|---|");
        for tls in [false, true] {
            for (path, _, fewer) in SIZES {
                let mut all = [Vec::new(), Vec::new()];
                for _ in 0..plan.rounds {
                    for (by, measured) in [By::H2conn, By::Hyper].into_iter().zip(&mut all) {
                        measured.push(measure(by, tls, path, plan.requests / fewer).await?);
                    }
                }
                print(path, tls, &all);
            }
        }
        Ok(())
    })
}

fn print(path: &str, tls: bool, all: &[Vec<Measured>; 2]) {
    let [ours, theirs] = all;
    let median = |all: &[Measured], of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let both = |of| (median(ours, of), median(theirs, of));
    let (per_second, hyper) = both(|measured| measured.per_second);
    let (processor, of_hyper) = both(|measured| measured.processor);
    let (memory, of_theirs) = both(|measured| measured.memory);
    let over = if tls { "TLS" } else { "cleartext" };
    println!(
        "| {path}, {over} | {per_second:.0} | {hyper:.0} | {:.2} | {processor:.1} | {of_hyper:.1} | {memory:.0} | {of_theirs:.0} |",
        per_second / hyper
    );
}

async fn measure(by: By, tls: bool, path: &str, requests: usize) -> Result<Measured> {
    let (server, addr) = start(by, tls).await?;
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{addr}{path}");
    // The first requests warm the server up.
    load(&url, requests / 10 + 100).await?;
    let before = processor(&server)?;
    let per_second = load(&url, requests).await?;
    let processor = (processor(&server)? - before) / requests as f64;
    Ok(Measured { per_second, processor, memory: memory(&server)? })
}

async fn start(by: By, tls: bool) -> Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    let by = by.to_possible_value().map_or_else(String::new, |by| by.get_name().to_owned());
    command.args(["router", &by]).stdout(Stdio::piped()).kill_on_drop(true);
    if tls {
        command.arg("--tls");
    }
    let mut server = command.spawn()?;
    let said = server.stdout.take().context("its output is piped")?;
    let addr = BufReader::new(said).lines().next_line().await?.context("it prints its address")?;
    Ok((server, addr))
}

/// Runs h2load, and returns the requests in a second.
async fn load(url: &str, requests: usize) -> Result<f64> {
    let mut h2load = Command::new("h2load");
    h2load.args(["-n", &requests.to_string(), "-c", "10", "-m", "100", "-t", "1", url]);
    let output = h2load.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.context("h2load, of nghttp2's clients, must be installed")?;
    let printed = String::from_utf8(output.stdout)?;
    let all = format!("{requests} done, {requests} succeeded");
    ensure!(printed.contains(&all), "not all requests succeeded: {printed}");
    let rate = printed.lines().find_map(|line| line.strip_prefix("finished in "));
    let rate = rate.and_then(|line| line.split(", ").nth(1)?.strip_suffix(" req/s"));
    Ok(rate.context("h2load's rate")?.parse()?)
}

/// The processor time of a process so far, in microseconds: `proc_pid_stat(5)`.
fn processor(process: &Child) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id().context("it runs")?))?;
    let after_name = stat.rsplit(") ").next().context("the end of its name")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    // A tick is a hundredth of a second on Linux.
    Ok(ticks * 10_000.0)
}

/// The largest memory of a process so far, in MiB.
fn memory(process: &Child) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id().context("it runs")?))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")).context("VmHWM")?;
    Ok(kibibytes.trim().parse::<f64>()? / 1024.0)
}
