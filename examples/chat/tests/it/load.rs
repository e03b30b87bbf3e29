//! A crowd in the room, some of whom never read, and the effect on the others.
//!
//! To run it with 1,000 members and print the figures, with nothing else running:
//! `H2CONN_LONG=1 cargo test --release -p chat --test it load -- --nocapture`

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use chat::post::Post;
use h2conn::Client;
use h2conn::tls::ClientTls;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{Guest, TestResult, within};

/// The number of members that never read.
const MUTES: usize = 10;

/// The number of members on one link (an HTTP/2 connection).
const MEMBERS_PER_LINK: usize = 50;

/// The time between posts while latency is measured.
const PACE: Duration = Duration::from_millis(50);

/// The number of members that post at once, as fast as the server allows, to fill the queues of the
/// mutes.
const POSTERS: usize = 10;

/// More posts than this takes.
const MAX_POSTS: usize = 10_000;

const POST_SIZE: usize = 400;

/// How much the server may hold for a member that does not read, in KiB: its queue, and the buffers
/// below.
const MAX_MEMORY_PER_MEMBER: u64 = 2 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_hears_all_while_some_never_read() -> TestResult {
    match std::env::var_os("H2CONN_LONG") {
        Some(_) => within(240, crowd(1_000, 400)).await,
        None => within(120, crowd(100, 40)).await,
    }
}

/// At first only one member posts. Then many post until the mutes are dismissed.
async fn crowd(members: usize, posts: usize) -> TestResult {
    let (_server, pid, url) = serve().await?;
    let client = || Client::builder().tls(ClientTls::new().dangerous_accept_any_certificate());
    let narrow = client().initial_window_size(65_536).build()?;
    let mut mutes = Vec::new();
    for n in 0..MUTES {
        mutes.push(login(&narrow, &url, &format!("mute {n}")).await?);
    }
    let posted = Arc::new(Posted::new());
    let mut readers = JoinSet::new();
    let mut link = client().build()?;
    for n in MUTES..members {
        if n % MEMBERS_PER_LINK == 0 {
            link = client().build()?;
        }
        let guest = login(&link, &url, &format!("member {n}")).await?;
        readers.spawn(read(guest, Arc::clone(&posted)));
    }
    let crowded = memory(pid, "VmRSS")?;

    let mut poster = login(&link, &url, "poster").await?;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..posts {
        pace.tick().await;
        posted.one_more(&mut poster).await?;
    }
    let quiet = posted.count();

    let mut posters = JoinSet::new();
    for n in 0..POSTERS {
        let mut poster = login(&link, &url, &format!("poster {n}")).await?;
        let posted = Arc::clone(&posted);
        posters.spawn(async move {
            let mut dismissed = 0;
            while dismissed < MUTES {
                dismissed += posted.one_more(&mut poster).await?;
            }
            Ok::<_, anyhow::Error>(poster)
        });
    }
    // They stay in the room, so that no one waits for a member that has left.
    let posters: Vec<_> = posters.join_all().await.into_iter().collect::<TestResult<_>>()?;
    poster.post("end").await?;

    let reports: Vec<Report> = readers.join_all().await.into_iter().collect::<TestResult<_>>()?;
    let most = memory(pid, "VmHWM")?;
    let (first, all) = (&reports[0], posted.count());
    for report in &reports {
        ensure!(report.order == first.order, "not everybody had the posts in the same order");
        ensure!(report.dismissed == MUTES, "{} dismissals", report.dismissed);
    }
    let mut heard = first.order.clone();
    heard.sort_unstable();
    ensure!(heard.iter().copied().eq(0..all), "{} of {all} posts, or some twice", heard.len());

    let of = |when: std::ops::Range<usize>| {
        let mut all: Vec<Duration> = reports
            .iter()
            .flat_map(|report| report.order.iter().zip(&report.delays))
            .filter(|(n, _)| when.contains(n))
            .map(|(_, delay)| *delay)
            .collect();
        all.sort_unstable();
        let at = |percent: usize| all[all.len() * percent / 100];
        format!("{} deliveries: median {:?}, p99 {:?}", all.len(), at(50), at(99))
    };
    eprintln!("{members} members, {MUTES} of whom never read");
    eprintln!("one post every {PACE:?}: {}", of(0..quiet));
    eprintln!("{POSTERS} posting as fast as they may: {}", of(quiet..all));
    eprintln!("the server's memory: {crowded} KiB with the crowd, {most} KiB at most");
    let more = most.saturating_sub(crowded);
    let bound = (MUTES + POSTERS) as u64 * MAX_MEMORY_PER_MEMBER;
    ensure!(more < bound, "{more} KiB more, where {bound} are enough");
    drop((mutes, posters));
    Ok(())
}

/// The time of each post. Posts are numbered, and contain their number.
struct Posted {
    next: AtomicUsize,
    times: Vec<OnceLock<Instant>>,
}

impl Posted {
    fn new() -> Posted {
        Posted { next: AtomicUsize::new(0), times: vec![OnceLock::new(); MAX_POSTS] }
    }

    fn count(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// Posts once and reads that post. Returns the number of dismissals before it.
    async fn one_more(&self, poster: &mut Guest) -> TestResult<usize> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let message = format!("{n} {}", "m".repeat(POST_SIZE));
        self.times
            .get(n)
            .context("so many posts, and still not dismissed")?
            .set(Instant::now())
            .ok();
        poster.post(&message).await?;
        let mut dismissed = 0;
        while {
            let post = poster.next().await?.context("the poster was sent away")?;
            dismissed += usize::from(post.went.starts_with("mute"));
            number(&post) != Some(n)
        } {}
        Ok(dismissed)
    }
}

fn number(post: &Post) -> Option<usize> {
    post.message.split_once(' ')?.0.parse().ok()
}

/// The posts that a member has received.
#[derive(Default)]
struct Report {
    order: Vec<usize>,
    delays: Vec<Duration>,
    dismissed: usize,
}

async fn read(mut guest: Guest, posted: Arc<Posted>) -> TestResult<Report> {
    let mut report = Report::default();
    loop {
        let post = guest.next().await?.context("a member was sent away")?;
        report.dismissed += usize::from(post.went.starts_with("mute"));
        if let Some(n) = number(&post) {
            let sent = posted.times.get(n).and_then(OnceLock::get).context("a time")?;
            report.delays.push(sent.elapsed());
            report.order.push(n);
        } else if post.message == "end" {
            return Ok(report);
        }
    }
}

async fn login(client: &Client, url: &str, name: &str) -> TestResult<Guest> {
    let (conn, _) = client.connect(url).await?;
    Guest::login(conn, name).await?.map_err(anyhow::Error::msg)
}

/// The program in a process of its own, and its address.
async fn serve() -> TestResult<(Child, u32, String)> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_chat"))
        .args(["serve", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut said = BufReader::new(server.stdout.take().context("it is piped")?).lines();
    let line = said.next_line().await?.context("the server has ended")?;
    let url = line.strip_prefix("listening on ").with_context(|| line.clone())?.to_owned();
    let pid = server.id().context("it has ended")?;
    Ok((server, pid, url))
}

/// A process's memory in KiB, as the system reports it. 0 if the system does not tell.
fn memory(pid: u32, field: &str) -> TestResult<u64> {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return Ok(0) };
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let size = line.and_then(|line| line.split_whitespace().next()).context("no such field")?;
    Ok(size.parse()?)
}
