//! The cost of idle connections: the memory at both ends, the time to open them, and the delay of
//! an echo among them. There are 10,000 Conns on 100 links (HTTP/2 connections), as many on one
//! link, and as many WebSockets, each of which is a TCP connection. All of them are in cleartext.
//!
//! There are three kinds of processes: this one asks and prints, and each of its clients starts a
//! server of its own.

mod client;
mod server;
#[expect(dead_code, reason = "what the benchmarks of messages share")]
#[path = "../support.rs"]
mod support;

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use support::Rounds;

/// The files of a process besides its connections.
const OTHER_FILES: usize = 64;

#[derive(Parser)]
struct Options {
    /// The number of idle connections.
    #[arg(long, default_value_t = 10_000)]
    conns: usize,
    /// The number of links for the Conns of the first row.
    #[arg(long, default_value_t = 100)]
    links: usize,
    /// How often 500 round trips are timed, with and without idle connections.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The role of this process in a measurement.
    #[arg(long, hide = true)]
    role: Option<Role>,
    #[arg(long, hide = true, default_value = "conn")]
    kind: Kind,
    /// Given by `cargo bench`. Without it, as with `cargo test`, this program only checks that it
    /// runs.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Client,
    Server,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Conn,
    Websocket,
}

fn main() -> Result<()> {
    let mut options = Options::parse();
    match options.role {
        Some(Role::Client) => return client::run(options.kind),
        Some(Role::Server) => return server::run(options.kind),
        None => {}
    }
    let mut trips = 500;
    if !options.bench {
        (options.conns, options.links, options.rounds, trips) = (50, 5, 1, 5);
    }
    let Options { conns, links, rounds, .. } = options;
    ensure!((1..=conns).contains(&links), "there are {conns} Conns for {links} links");
    ensure!(rounds > 0, "one round at least");
    println!(
        "| {conns} idle connections | client's memory, each | server's memory, each | opened in \
         | echo alone: median, p99 | echo among them: median, p99 | the medians' ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rows = [
        (format!("Conns on {links} links"), Kind::Conn, links, links),
        ("Conns on 1 link".to_owned(), Kind::Conn, 1, 1),
        ("WebSockets of tokio-tungstenite".to_owned(), Kind::Websocket, 1, conns),
    ];
    for (name, kind, links, sockets) in rows {
        if let Some(limit) = file_limit()?
            && limit < sockets + OTHER_FILES
        {
            println!(
                "| {name} | not measured: a process may have {limit} files open and this takes {} \
                 (`ulimit -n`) | | | | | |",
                sockets + OTHER_FILES
            );
            continue;
        }
        println!("| {name} | {}", row(kind, conns, links, rounds, trips)?);
    }
    Ok(())
}

/// Measures one kind: a client with the idle connections, and one without.
fn row(kind: Kind, conns: usize, links: usize, rounds: usize, trips: usize) -> Result<String> {
    let mut busy = Process::start(Role::Client, kind)?;
    let mut quiet = Process::start(Role::Client, kind)?;
    for client in [&mut busy, &mut quiet] {
        client.ask("open 1 1")?;
        client.ask(&format!("echo {trips}"))?;
    }
    let opened = busy.ask(&format!("open {conns} {links}"))?;
    let [client, server, nanos] = numbers(&opened)?;
    let (mut alone, mut among) = (Trips::default(), Trips::default());
    for _ in 0..rounds {
        alone.add(&quiet.ask(&format!("echo {trips}"))?)?;
        among.add(&busy.ask(&format!("echo {trips}"))?)?;
    }
    let ratio = among.medians.ratio_to(&alone.medians);
    let each = |kib: u64| format!("{:.1} KiB", kib as f64 / conns as f64);
    Ok(format!(
        "{} | {} | {:.1} s | {alone} | {among} | {ratio} |",
        each(client),
        each(server),
        Duration::from_nanos(nanos).as_secs_f64(),
        alone = alone.text(),
        among = among.text(),
    ))
}

/// Round trips, in nanoseconds.
#[derive(Default)]
struct Trips {
    all: Vec<u64>,
    medians: Rounds,
}

impl Trips {
    fn add(&mut self, answer: &str) -> Result<()> {
        let mut round = answer
            .split_whitespace()
            .map(|nanos| Ok(nanos.parse()?))
            .collect::<Result<Vec<u64>>>()?;
        ensure!(!round.is_empty(), "a client timed nothing");
        round.sort_unstable();
        self.medians.push(round[round.len() / 2] as f64);
        self.all.extend(round);
        Ok(())
    }

    fn text(&mut self) -> String {
        self.all.sort_unstable();
        let at = |part: usize| self.all[self.all.len() * part / 100] / 1_000;
        format!("{} µs, {} µs", at(50), at(99))
    }
}

fn numbers<const N: usize>(answer: &str) -> Result<[u64; N]> {
    let all = answer.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    all.try_into().ok().with_context(|| format!("not {N} numbers: {answer}"))
}

/// This program in another role. It answers each line with a line.
struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(role: Role, kind: Kind) -> Result<Process> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.map(|value| value.get_name().to_owned()).unwrap_or_default()
        };
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--role", &name(role.to_possible_value())])
            .args(["--kind", &name(kind.to_possible_value())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("its input is piped")?;
        let output = child.stdout.take().context("its output is piped")?;
        Ok(Process { child, input, output: BufReader::new(output).lines() })
    }

    fn ask(&mut self, question: &str) -> Result<String> {
        writeln!(self.input, "{question}")?;
        self.output
            .next()
            .with_context(|| format!("no answer to {question:?}"))?
            .map_err(Into::into)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Otherwise the next measurement would share the processors with the end of this process.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers the questions on standard input, until there are no more.
fn answer(mut with: impl FnMut(&str, &[usize]) -> Result<String>) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let question = words.next().context("an empty question")?;
        let numbers = words.map(str::parse).collect::<Result<Vec<_>, _>>()?;
        println!("{}", with(question, &numbers)?);
    }
    Ok(())
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder.worker_threads(2).enable_all().build()?)
}

/// The memory of this process, in KiB.
fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")
        .context("only Linux tells a process what memory it has")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let Some(size) = line.and_then(|line| line.split_whitespace().next()) else {
        bail!("no VmRSS in /proc/self/status");
    };
    Ok(size.parse()?)
}

/// How many files this process may have open, if there is a limit.
fn file_limit() -> Result<Option<usize>> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()))
}
