//! How fast connections through each proxy are, beside a TCP mode in the same place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cells::Way;
use super::kinds::{Form, Kind};
use crate::support::TestResult;

/// How often each proxy has its turn. The medians count.
const ROUNDS: usize = 9;

/// How long a measurement of round trips takes.
const TRIPS: Duration = Duration::from_millis(300);

/// The bytes of a measurement of bulk.
const BULK: usize = 64 << 20;

/// The proxy with a TCP mode beside which this one is measured: itself, where it has such a mode.
fn beside(kind: Kind) -> Kind {
    match kind {
        Kind::OldNginx => Kind::Nginx,
        Kind::Caddy | Kind::Apache | Kind::Nghttpx => Kind::Haproxy,
        Kind::Nginx | Kind::OldHaproxy | Kind::Haproxy | Kind::Envoy | Kind::Traefik => kind,
    }
}

/// Round trips of 64 bytes, and megabytes to the server, each in a second.
#[derive(Clone, Copy, Debug)]
struct Speed {
    trips: f64,
    bulk: f64,
}

async fn measure(way: &Way) -> Result<Speed> {
    let mut conn = way.open("echo").await?;
    let (began, mut trips) = (Instant::now(), 0);
    while began.elapsed() < TRIPS {
        let mut echo = [7; 64];
        conn.write_all(&echo).await?;
        conn.read_exact(&mut echo).await?;
        trips += 1;
    }
    let trips = f64::from(trips) / began.elapsed().as_secs_f64();
    conn.close().await?;

    let mut conn = way.open("sink").await?;
    let (began, chunk) = (Instant::now(), vec![7; 64 << 10]);
    for _ in 0..BULK / chunk.len() {
        conn.write_all(&chunk).await?;
    }
    conn.shutdown().await?;
    let mut told = String::new();
    conn.read_to_string(&mut told).await?;
    ensure!(told == format!("{BULK} bytes"), "{told}");
    let bulk = BULK as f64 / 1e6 / began.elapsed().as_secs_f64();
    conn.close().await?;
    Ok(Speed { trips, bulk })
}

fn median(speeds: &[Speed], of: impl Fn(&Speed) -> f64) -> f64 {
    let mut all: Vec<f64> = speeds.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Prints the table of `docs/proxies.md`, in Markdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, which needs all proxies and an idle machine"]
async fn through_each_beside_tcp() -> TestResult {
    println!("| | trips/s, HTTP/2 | ratio | WebSocket | MB/s, HTTP/2 | ratio | WebSocket |");
    println!("|---|---|---|---|---|---|---|");
    for kind in Kind::ALL {
        let mut ways = Vec::new();
        for (form, of) in [(Form::Tcp, beside(kind)), (Form::Http2, kind), (Form::WebSocket, kind)]
        {
            let program = of.program()?.with_context(|| format!("no {}", of.name()))?;
            ways.push(Way::start(of, form, &program).await?);
        }
        let mut speeds = BTreeMap::<usize, Vec<Speed>>::new();
        // The first round warms up.
        for round in 0..=ROUNDS {
            for (index, way) in ways.iter().enumerate() {
                let speed = measure(way).await.with_context(|| format!("{kind:?} {index}"))?;
                if round > 0 {
                    speeds.entry(index).or_default().push(speed);
                }
            }
        }
        let of = |index: usize, of: fn(&Speed) -> f64| median(&speeds[&index], of);
        let (trips, bulk) = (|speed: &Speed| speed.trips, |speed: &Speed| speed.bulk);
        println!(
            "| {} | {:.0} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} |",
            kind.name(),
            of(1, trips),
            of(1, trips) / of(0, trips),
            of(2, trips) / of(0, trips),
            of(1, bulk),
            of(1, bulk) / of(0, bulk),
            of(2, bulk) / of(0, bulk),
        );
    }
    Ok(())
}
