//! Conns that start and end in every way, 200 at a time. Nothing may be left of them.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::testing::none_alive;
use h2conn::{Client, Conn, OnDrop, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::process::{self, memory, open_files, output, said};
use crate::support::{Over, Site, TestResult, checked, echo_server, long, noise};

/// How much memory may be added after the first quarter of the run, in KiB: an allocator keeps this
/// much back.
const MORE: u64 = 16 << 10;

/// The tasks of the two servers: each accepts sockets, and hands out the connections.
const SERVING: usize = 4;

/// Tasks that have dropped their Conn, and sockets of links that have ended, just before they
/// finish.
const FEW: usize = 4;

/// The duration of the run: `H2CONN_CHURN` seconds, if that is set.
fn duration() -> TestResult<Duration> {
    let seconds = match std::env::var("H2CONN_CHURN") {
        Ok(seconds) => seconds.parse().context("H2CONN_CHURN is a number of seconds")?,
        Err(_) => {
            if long() {
                20.0
            } else {
                2.0
            }
        }
    };
    Ok(Duration::from_secs_f64(seconds))
}

/// The resources of the process at a moment when no Conn is open.
#[derive(Clone, Copy, Debug)]
struct State {
    memory: u64,
    files: usize,
    tasks: usize,
}

impl State {
    async fn at_rest() -> TestResult<State> {
        timeout(Duration::from_secs(10), none_alive()).await.context("something is left over")?;
        let tasks = Handle::current().metrics().num_alive_tasks();
        Ok(State { memory: memory("VmRSS"), files: open_files(), tasks })
    }
}

/// Opens a Conn, uses it, and ends it in the way with this number.
async fn come_and_go(client: Client, url: String, number: u64) -> TestResult {
    let conn = client.open(url).await?;
    let said = noise(1_000 + (number as usize * 517) % 30_000, number);
    (&conn).write_all(&said).await?;
    match number % 8 {
        0 => {
            hear(&conn, &said).await?;
            conn.close().await?;
        }
        1 => drop(conn),
        2 => conn.reset(Reason::CANCEL),
        3 => {
            let (reader, writer) = conn.into_split();
            drop(reader);
            writer.sent().await?;
        }
        4 => {
            (&conn).shutdown().await?;
            hear(&conn, &said).await?;
            ensure!((&conn).read(&mut [0; 1]).await? == 0);
        }
        5 => conn.on_drop(OnDrop::Reset),
        6 => {
            // A read that is cancelled midway.
            let _ = timeout(Duration::from_micros(50), (&conn).read(&mut [0; 10])).await;
        }
        _ => {
            let panicked = tokio::spawn(async move {
                let _held = conn;
                std::panic::resume_unwind(Box::new("while it holds a Conn"));
            });
            ensure!(panicked.await.is_err_and(|error| error.is_panic()));
        }
    }
    Ok(())
}

async fn hear(mut conn: &Conn, said: &[u8]) -> TestResult {
    let mut heard = vec![0; said.len()];
    conn.read_exact(&mut heard).await?;
    ensure!(heard == said, "not what was said");
    Ok(())
}

/// Runs 200 at a time, of which ten have a link of their own.
async fn round(site: &Site) -> TestResult {
    let shared = site.client()?;
    let mut conns = JoinSet::new();
    for number in 0..200 {
        let client = if number % 20 == 0 { site.client()? } else { shared.clone() };
        conns.spawn(come_and_go(client, site.url("/"), number));
    }
    while let Some(done) = conns.join_next().await {
        done??;
    }
    Ok(())
}

/// Not a real test, but the process of the test below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_of_the_churn() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    let sites = [echo_server(Over::Cleartext).await?, echo_server(Over::Tls).await?];
    let (duration, start) = (duration()?, Instant::now());
    let (mut conns, mut first) = (0, None);
    for quarter in 1..=4 {
        while start.elapsed() < duration * quarter / 4 {
            for site in &sites {
                round(site).await?;
                conns += 200;
            }
        }
        let state = State::at_rest().await?;
        println!("\n@state {conns} conns, {state:?}");
        let first = *first.get_or_insert(state);
        ensure!(state.memory <= first.memory + MORE, "{first:?}, and later {state:?}");
        ensure!(state.files <= first.files + FEW, "{first:?}, and later {state:?}");
        ensure!(state.tasks <= SERVING + FEW, "{state:?}");
    }
    println!("\n@done {conns}");
    Ok(())
}

#[tokio::test]
async fn conns_that_come_and_go_leave_no_memory_tasks_or_files_behind() -> TestResult {
    checked(duration()?.as_secs() + 60, async {
        let mut child = process::spawn("churn::the_process_of_the_churn", "churn")?;
        let mut output = output(&mut child)?;
        for _ in 0..4 {
            eprintln!("churn: {}", said(&mut output, "state").await?);
        }
        said(&mut output, "done").await?;
        while output.next_line().await?.is_some() {}
        ensure!(child.wait().await?.success());
        Ok(())
    })
    .await
}
