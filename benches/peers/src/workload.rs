//! The workloads, which are the same for all transports.

use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::peers::Link;
use crate::pipe::{Rx, Tx, receive};
use crate::service::{Order, Service, message};

const BULK: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Writes of 64 KiB, one way.
    Bulk,
    /// Writes of 64 KiB, both ways at once.
    BothWays,
    /// Messages of 64 bytes one way, each sent by itself.
    #[value(name = "messages-64")]
    #[serde(rename = "messages-64")]
    Messages64,
    /// Messages of 1 KiB one way, each sent by itself.
    #[value(name = "messages-1k")]
    #[serde(rename = "messages-1k")]
    Messages1k,
    /// 64 bytes there and back, again and again.
    #[value(name = "ping-pong-64")]
    #[serde(rename = "ping-pong-64")]
    PingPong64,
    /// 16 KiB there and back.
    #[value(name = "ping-pong-16k")]
    #[serde(rename = "ping-pong-16k")]
    PingPong16k,
    /// Writes of 64 KiB on each of 100 pipes at once.
    Hundred,
    /// Pipes that are opened, used for a byte there and back, and dropped; 16 at a time.
    Opening,
    /// 64 bytes there and back, while another pipe carries writes of 64 KiB.
    Beside,
    /// 64 bytes there and back, on each of 1,000 pipes at once.
    Thousand,
}

/// The result of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) time: Duration,
    /// Each round trip, if they are measured.
    pub(crate) trips: Vec<Duration>,
    /// The difference between the fastest and the slowest of several pipes, relative to their mean.
    pub(crate) spread: Option<f64>,
}

impl Workload {
    /// The unit that is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Workload::Bulk | Workload::BothWays | Workload::Hundred => "MB",
            Workload::Messages64 | Workload::Messages1k => "messages",
            Workload::PingPong64 | Workload::PingPong16k => "round trips",
            Workload::Beside | Workload::Thousand => "round trips",
            Workload::Opening => "pipes",
        }
    }

    /// How many units `count` is. Both directions count.
    pub(crate) fn units(self, count: u64) -> f64 {
        let megabytes = count as f64 * BULK as f64 / 1e6;
        match self {
            Workload::Bulk => megabytes,
            Workload::BothWays => 2.0 * megabytes,
            Workload::Hundred => 100.0 * megabytes,
            Workload::Thousand => 1_000.0 * count as f64,
            _ => count as f64,
        }
    }

    /// An initial count that takes very little time.
    pub(crate) fn least(self) -> u64 {
        match self {
            Workload::Messages64 | Workload::Messages1k => 256,
            Workload::Opening | Workload::Beside => 16,
            Workload::Hundred | Workload::Thousand => 2,
            _ => 32,
        }
    }

    /// Runs `count` units on `link`.
    pub(crate) async fn run<L: Link>(self, link: &L, count: u64) -> Result<Outcome> {
        match self {
            Workload::Bulk => one_way(link, BULK, count).await,
            Workload::BothWays => both_ways(link, count).await,
            Workload::Messages64 => one_way(link, 64, count).await,
            Workload::Messages1k => one_way(link, 1 << 10, count).await,
            Workload::PingPong64 => ping_pong(link, 64, count).await,
            Workload::PingPong16k => ping_pong(link, 16 << 10, count).await,
            Workload::Hundred => hundred(link, count).await,
            Workload::Opening => opening(link, count).await,
            Workload::Beside => beside(link, count).await,
            Workload::Thousand => thousand(link, count).await,
        }
    }
}

/// Opens a pipe, and makes one round trip on it.
async fn open<L: Link>(link: &L) -> Result<(L::Tx, L::Rx)> {
    let (mut tx, mut rx) = link.open().await?;
    exchange(&mut tx, &mut rx, 1, 1, &mut Vec::new()).await?;
    Ok((tx, rx))
}

async fn send(tx: &mut impl Tx, message: &Bytes, count: u64) -> Result<()> {
    for _ in 0..count {
        tx.send(message).await?;
    }
    Ok(())
}

/// Sends `count` messages, and waits for the answer to the last one.
async fn sink(tx: &mut impl Tx, rx: &mut impl Rx, size: usize, count: u64) -> Result<()> {
    let message = message(size);
    tx.send(&Order { service: Service::Sink, size, count }.encode()).await?;
    send(tx, &message, count).await?;
    receive(rx, 1).await
}

/// Makes `count` round trips.
async fn exchange(
    tx: &mut impl Tx,
    rx: &mut impl Rx,
    size: usize,
    count: u64,
    trips: &mut Vec<Duration>,
) -> Result<()> {
    let message = message(size);
    tx.send(&Order { service: Service::Echo, size, count }.encode()).await?;
    for _ in 0..count {
        let began = Instant::now();
        tx.send(&message).await?;
        receive(rx, size as u64).await?;
        trips.push(began.elapsed());
    }
    Ok(())
}

async fn one_way<L: Link>(link: &L, size: usize, count: u64) -> Result<Outcome> {
    let (mut tx, mut rx) = open(link).await?;
    let began = Instant::now();
    sink(&mut tx, &mut rx, size, count).await?;
    Ok(Outcome { time: began.elapsed(), ..Outcome::default() })
}

async fn both_ways<L: Link>(link: &L, count: u64) -> Result<Outcome> {
    let (mut tx, mut rx) = open(link).await?;
    let order = Order { service: Service::Both, size: BULK, count };
    let began = Instant::now();
    tx.send(&order.encode()).await?;
    let sending = tokio::spawn(async move {
        send(&mut tx, &message(BULK), count).await?;
        // The pipe must stay open until both directions have finished.
        anyhow::Ok(tx)
    });
    receive(&mut rx, order.bytes()).await?;
    let _tx = sending.await??;
    Ok(Outcome { time: began.elapsed(), ..Outcome::default() })
}

async fn ping_pong<L: Link>(link: &L, size: usize, count: u64) -> Result<Outcome> {
    let (mut tx, mut rx) = open(link).await?;
    let mut trips = Vec::with_capacity(count as usize);
    let began = Instant::now();
    exchange(&mut tx, &mut rx, size, count, &mut trips).await?;
    Ok(Outcome { time: began.elapsed(), trips, spread: None })
}

async fn hundred<L: Link>(link: &L, count: u64) -> Result<Outcome> {
    let mut pipes = Vec::new();
    for _ in 0..100 {
        pipes.push(open(link).await?);
    }
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for (mut tx, mut rx) in pipes {
        tasks.spawn(async move {
            sink(&mut tx, &mut rx, BULK, count).await?;
            anyhow::Ok(began.elapsed().as_secs_f64())
        });
    }
    let mut speeds = Vec::new();
    while let Some(time) = tasks.join_next().await {
        speeds.push(1.0 / time??);
    }
    let (least, most) = speeds.iter().fold((f64::MAX, 0_f64), |(a, b), s| (a.min(*s), b.max(*s)));
    let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
    let spread = Some((most - least) / mean);
    Ok(Outcome { time: began.elapsed(), spread, ..Outcome::default() })
}

async fn opening<L: Link>(link: &L, count: u64) -> Result<Outcome> {
    const AT_ONCE: u64 = 16;
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for task in 0..AT_ONCE {
        let link = link.clone();
        tasks.spawn(async move {
            for _ in 0..count / AT_ONCE + u64::from(task < count % AT_ONCE) {
                open(&link).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    Ok(Outcome { time: began.elapsed(), ..Outcome::default() })
}

async fn beside<L: Link>(link: &L, count: u64) -> Result<Outcome> {
    let ((mut bulk, _back), (mut tx, mut rx)) = (open(link).await?, open(link).await?);
    let order = Order { service: Service::Sink, size: BULK, count: u64::MAX / (BULK as u64) };
    bulk.send(&order.encode()).await?;
    let sending = tokio::spawn(async move { send(&mut bulk, &message(BULK), order.count).await });
    let mut trips = Vec::with_capacity(count as usize);
    let began = Instant::now();
    exchange(&mut tx, &mut rx, 64, count, &mut trips).await?;
    let time = began.elapsed();
    sending.abort();
    Ok(Outcome { time, trips, spread: None })
}

async fn thousand<L: Link>(link: &L, count: u64) -> Result<Outcome> {
    let mut pipes = Vec::new();
    for _ in 0..1_000 {
        pipes.push(open(link).await?);
    }
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for (mut tx, mut rx) in pipes {
        tasks.spawn(async move {
            let mut trips = Vec::with_capacity(count as usize);
            exchange(&mut tx, &mut rx, 64, count, &mut trips).await?;
            anyhow::Ok(trips)
        });
    }
    let mut trips = Vec::new();
    while let Some(some) = tasks.join_next().await {
        trips.extend(some??);
    }
    Ok(Outcome { time: began.elapsed(), trips, spread: None })
}
