//! One measurement, in a process of its own, so that others do not affect its memory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::peers::Peer;
use crate::relay::{self, Line};
use crate::secure::{Identity, Trust};
use crate::workload::{Outcome, Workload};

/// The placement of the two ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Setup {
    /// In one runtime with two threads.
    Runtime,
    /// In two threads, each with a runtime of one thread.
    Threads,
    /// In two processes, each with a runtime of two threads.
    Processes,
}

#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Terms {
    #[arg(long)]
    pub(crate) workload: Workload,
    #[arg(long, default_value = "runtime")]
    pub(crate) setup: Setup,
    #[arg(long)]
    pub(crate) tls: bool,
    /// How long the measurement takes, in milliseconds.
    #[arg(long, default_value_t = 500)]
    pub(crate) millis: u64,
    /// The number of units, instead of as many as take that long. There is then no warm-up.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) line: Line,
}

/// The results of a measurement, as its process prints them.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    /// Units per second.
    pub(crate) rate: f64,
    /// Processor time of both ends for a unit, in microseconds.
    pub(crate) cpu: f64,
    /// Peak resident memory of both ends, in MiB.
    pub(crate) memory: f64,
    /// Round trips: the median, and the 99th and 99.9th percentile, in microseconds.
    pub(crate) trips: Option<[f64; 3]>,
    pub(crate) spread: Option<f64>,
}

/// The address of a server, as its process prints it.
#[derive(Debug, Deserialize, Serialize)]
struct Served {
    addr: SocketAddr,
    trust: Option<Trust>,
}

/// Serves until standard input ends.
pub(crate) fn serve<P: Peer>(tls: bool) -> Result<()> {
    two_threads()?.block_on(async {
        let identity = tls.then(Identity::new).transpose()?;
        let trust = identity.as_ref().map(Identity::trust);
        let addr = P::serve(identity).await?;
        println!("{}", serde_json::to_string(&Served { addr, trust })?);
        tokio::task::spawn_blocking(|| std::io::stdin().lines().count()).await?;
        Ok(())
    })
}

pub(crate) fn measure<P: Peer>(name: &str, terms: Terms) -> Result<Measured> {
    match terms.setup {
        Setup::Runtime => two_threads()?.block_on(async {
            let served = served_here::<P>(terms.tls).await?;
            tokio::spawn(client::<P>(served, terms, None)).await?
        }),
        Setup::Threads => {
            let (tell, told) = oneshot::channel();
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let _ = tell.send(served_here::<P>(terms.tls).await?);
                    std::future::pending::<Result<()>>().await
                })
            });
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { client::<P>(told.await?, terms, None).await })
        }
        Setup::Processes => {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["serve", name]).args(terms.tls.then_some("--tls"));
            let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
            let served = said(&mut server);
            let runtime = two_threads()?;
            let measured = runtime.block_on(async {
                let pid = server.id();
                tokio::spawn(client::<P>(served?, terms, Some(pid))).await?
            });
            drop(server.stdin.take());
            server.wait()?;
            measured
        }
    }
}

fn two_threads() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

async fn served_here<P: Peer>(tls: bool) -> Result<Served> {
    let identity = tls.then(Identity::new).transpose()?;
    let trust = identity.as_ref().map(Identity::trust);
    Ok(Served { addr: P::serve(identity).await?, trust })
}

fn said(server: &mut Child) -> Result<Served> {
    let mut line = String::new();
    let out = server.stdout.as_mut().context("its output is piped")?;
    BufReader::new(out).read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))
}

async fn client<P: Peer>(served: Served, terms: Terms, server: Option<u32>) -> Result<Measured> {
    let addr = match terms.line.is_plain() {
        true => served.addr,
        false => relay::before(served.addr, terms.line)?,
    };
    let link = P::link(addr, served.trust).await?;
    let workload = terms.workload;
    let count = match terms.count {
        Some(count) => count,
        None => {
            let target = Duration::from_millis(terms.millis);
            let mut count = workload.least();
            loop {
                let time = workload.run(&link, count).await?.time;
                let times = target.as_secs_f64() / time.as_secs_f64().max(1e-6);
                count = (count as f64 * times.min(16.0)).ceil().max(1.0) as u64;
                if times < 4.0 {
                    break count;
                }
            }
        }
    };
    let before = processor_time(server)?;
    let outcome = workload.run(&link, count).await?;
    let cpu = processor_time(server)? - before;
    let units = workload.units(count);
    Ok(Measured {
        rate: units / outcome.time.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / units,
        memory: peak_memory(server)?,
        spread: outcome.spread,
        trips: percentiles(outcome),
    })
}

fn percentiles(Outcome { mut trips, .. }: Outcome) -> Option<[f64; 3]> {
    trips.sort();
    let last = trips.len().checked_sub(1)?;
    Some([0.5, 0.99, 0.999].map(|part| {
        let index = (part * last as f64).round() as usize;
        trips[index].as_secs_f64() * 1e6
    }))
}

/// The processor time of this process and of the server's.
fn processor_time(server: Option<u32>) -> Result<Duration> {
    /// `sysconf(_SC_CLK_TCK)` on Linux, whatever the kernel's own clock is.
    const TICK: Duration = Duration::from_millis(10);
    let mut ticks = 0;
    for pid in pids(server) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may contain anything. User and system time come after it.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let times = fields.split_whitespace().skip(11).take(2);
        ticks += times.map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    }
    Ok(ticks * TICK)
}

fn peak_memory(server: Option<u32>) -> Result<f64> {
    let mut kibibytes = 0.0;
    for pid in pids(server) {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        kibibytes += size.context("the kernel tells a peak")?.parse::<f64>()?;
    }
    Ok(kibibytes / 1024.0)
}

fn pids(server: Option<u32>) -> impl Iterator<Item = u32> {
    [std::process::id()].into_iter().chain(server)
}
