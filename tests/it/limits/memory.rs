//! The memory of a listener when its peers make it hold as much as it accepts.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use h2conn::http::Request;
use h2conn::{Client, Conn, ErrorKind, LinkPolicy, Listener, ListenerBuilder, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Filled, Memory, round_trip, tell_memory, until};
use crate::support::foreign::h2_send;
use crate::support::process;
use crate::support::{LINGER, Over, Site, TestResult, echo, listen_with, run, serve, within};

const MIB: usize = 1 << 20;

/// A server whose handlers neither read nor end, except those at `/echo`.
async fn stuck(builder: ListenerBuilder) -> TestResult<(h2conn::ListenerHandle, Site)> {
    let (listener, site) = listen_with(Over::Cleartext, builder).await?;
    let handle = listener.handle();
    serve(listener, |conn| async {
        if conn.uri().path() == "/echo" {
            return echo(conn).await;
        }
        conn.closed().await?;
        Ok(())
    });
    Ok((handle, site))
}

/// Writes until no more is taken, or the connection is reset. Returns the reason of the reset.
async fn fill(mut conn: &Conn) -> TestResult<Option<Reason>> {
    let chunk = vec![7; 64 << 10];
    loop {
        match timeout(Duration::from_millis(300), conn.write_all(&chunk)).await {
            Err(_) => return Ok(None),
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = crate::support::ours(&error).clone();
                return Ok(Some(error.reason().with_context(|| error.to_string())?));
            }
        }
    }
}

#[test]
fn links_together_hold_no_more_than_max_memory_and_small_ones_go_on() -> TestResult {
    run(async {
        let most = 8 * MIB;
        let (handle, site) =
            stuck(Listener::builder().linger_timeout(LINGER).max_memory(most)).await?;
        let small = site.client()?;
        let echoing = small.connect(site.url("/echo")).await?.0;
        let mut filling = JoinSet::new();
        for _ in 0..4 {
            let (client, url) = (site.client()?, site.url("/"));
            for _ in 0..4 {
                let (client, url) = (client.clone(), url.clone());
                filling.spawn(async move {
                    let conn = client.connect(url).await?.0;
                    let reset = fill(&conn).await?;
                    TestResult::Ok((reset, conn, client))
                });
            }
        }
        let mut done = Vec::new();
        while let Some(filled) = filling.join_next().await {
            done.push(filled??);
            round_trip(&echoing).await?;
            let held = handle.stats().unread_bytes;
            // While a link is told to make room, one more turn of 256 KiB can arrive.
            ensure!(held <= most + 4 * MIB, "{held} bytes are held");
        }
        let stats = until(&handle, |stats| stats.unread_bytes <= most).await;
        ensure!(stats.unread_bytes > most / 2, "no more was reset than had to be: {stats:?}");
        let resets: Vec<_> = done.iter().filter_map(|(reset, ..)| *reset).collect();
        ensure!(resets.len() >= 4, "16 MiB do not fit into 8: {resets:?}");
        ensure!(resets.iter().all(|reason| *reason == Reason::ENHANCE_YOUR_CALM), "{resets:?}");
        round_trip(&echoing).await?;
        for (_, conn, _) in &done {
            conn.reset(Reason::CANCEL);
        }
        drop((done, echoing));
        until(&handle, |stats| stats.unread_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn a_link_that_holds_its_share_gets_no_new_conns_and_others_do() -> TestResult {
    run(async {
        let (handle, site) =
            stuck(Listener::builder().linger_timeout(LINGER).max_memory(4 * MIB)).await?;
        let io = TcpStream::connect(site.addr).await?;
        let full = Client::builder().linger_timeout(LINGER).build_over(io).await?;
        let mut conns = Vec::new();
        for bytes in [MIB, MIB, MIB, MIB - 300_000] {
            let conn = full.connect("http://x/").await?.0;
            (&conn).write_all(&vec![7; bytes]).await?;
            conns.push(conn);
        }
        let held = 4 * MIB - 300_000;
        until(&handle, |stats| stats.unread_bytes == held).await;
        let refused = full.connect("http://x/").await.err().context("7/8 are taken")?;
        ensure!(refused.kind() == ErrorKind::Refused && refused.was_not_processed(), "{refused}");
        ensure!(refused.reason() == Some(Reason::REFUSED_STREAM), "{refused}");
        let other = site.client()?;
        round_trip(&other.connect(site.url("/echo")).await?.0).await?;
        other.close().await?;
        // The full link gets new Conns again when there is room.
        conns.truncate(2);
        until(&handle, |stats| stats.unread_bytes <= 2 * MIB).await;
        round_trip(&full.connect("http://x/echo").await?.0).await
    })
}

#[test]
fn what_has_been_read_counts_against_nobody() -> TestResult {
    run(async {
        // Each Conn reads too little for a WINDOW_UPDATE. Together this is twice the limit.
        let (handle, site) =
            stuck(Listener::builder().linger_timeout(LINGER).max_memory(4 * MIB)).await?;
        let client = site.client()?;
        let slow = client.connect(site.url("/")).await?.0;
        (&slow).write_all(&[7; 100_000]).await?;
        let mut conns = Vec::new();
        for number in 0..40 {
            let conn = client.connect(site.url("/echo")).await;
            let mut conn = conn.with_context(|| format!("Conn {number}"))?.0;
            let (mut reader, mut writer) = tokio::io::split(&mut conn);
            let mut answer = vec![0; 200_000];
            let write = writer.write_all(&[7; 200_000]);
            tokio::try_join!(write, reader.read_exact(&mut answer))?;
            conns.push(conn);
        }
        ensure!(timeout(Duration::from_millis(50), slow.closed()).await.is_err(), "it was reset");
        until(&handle, |stats| stats.unread_bytes <= 4 * MIB).await;
        Ok(())
    })
}

#[test]
fn what_has_been_read_on_other_links_counts_against_nobody() -> TestResult {
    run(async {
        let builder = Listener::builder().linger_timeout(LINGER).max_memory(2 * MIB);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        let (read, mut done) = mpsc::unbounded_channel();
        // Only read, and write nothing: then nothing else makes the link's driver count the bytes
        // that are read.
        serve(listener, move |mut conn| {
            let read = read.clone();
            async move {
                conn.read_exact(&mut vec![0; 200_000]).await?;
                let _ = read.send(());
                conn.closed().await?;
                Ok(())
            }
        });
        let client = site.client_builder().link_policy(LinkPolicy::Exclusive).build()?;
        let mut conns = Vec::new();
        for number in 0..40 {
            let conn = client.connect(site.url("/")).await;
            let mut conn = conn.with_context(|| format!("Conn {number}"))?.0;
            conn.write_all(&[7; 200_000]).await?;
            within(10, done.recv()).await.with_context(|| format!("Conn {number}"))?;
            conns.push(conn);
        }
        for conn in &conns {
            ensure!(timeout(Duration::from_millis(2), conn.closed()).await.is_err(), "a reset");
        }
        until(&handle, |stats| stats.unread_bytes <= 2 * MIB && stats.conns == 40).await;
        Ok(())
    })
}

const LINKS: usize = 4;
const CONNS: usize = 64;
const LINK_MEMORY: usize = 32 * MIB;
const MEMORY: usize = 64 * MIB;

/// Not a real test, but the server of the test below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_filled() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    let builder = Listener::builder().max_memory(MEMORY).max_link_memory(LINK_MEMORY as u32);
    let (listener, site) = listen_with(Over::Cleartext, builder).await?;
    let handle = listener.handle();
    // Each also writes for as long as there is room.
    serve(listener, |conn| async move {
        let chunk = vec![7; 16 << 10];
        while (&conn).write_all(&chunk).await.is_ok() {}
        Ok(())
    });
    tell_memory(&site, &handle, |stats| stats.unread_bytes).await
}

/// Sends with `h2` itself, in the worst possible frames: each is kept in a buffer of twice its
/// size.
async fn fill_by_h2(site: Site) -> TestResult<JoinSet<TestResult>> {
    let io = TcpStream::connect(site.addr).await?;
    let (mut send, connection) =
        h2::client::Builder::new().initial_window_size(10_000).handshake::<_, Bytes>(io).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { Ok(connection.await?) });
    for _ in 0..CONNS {
        send = send.ready().await?;
        let request = Request::post("http://x/").body(())?;
        let (response, mut body) = send.send_request(request, false)?;
        tasks.spawn(async move {
            let _unread = response.await?;
            loop {
                h2_send(&mut body, Bytes::from(vec![7; 33_000])).await?;
            }
        });
    }
    Ok(tasks)
}

/// The same with our own client, whose frames are as large as possible.
async fn fill_by_ours(site: Site) -> TestResult<JoinSet<TestResult>> {
    let client = site.client_builder().initial_window_size(10_000).build()?;
    let mut tasks = JoinSet::new();
    for _ in 0..CONNS {
        let conn = client.connect(site.url("/")).await?.0;
        tasks.spawn(async move {
            loop {
                (&conn).write_all(&vec![7; 100_000]).await?;
            }
        });
    }
    Ok(tasks)
}

#[test]
fn a_listener_that_is_filled_in_every_way_stays_below_its_documented_memory() -> TestResult {
    const SERVER: &str = "limits::memory::a_server_that_is_filled";
    run(async {
        let (mut server, site) = Filled::start(SERVER).await?;
        let before = server.ask().await?.now;
        let mut filling = Vec::new();
        for link in 0..LINKS {
            filling.push(match link % 2 {
                0 => fill_by_h2(site.clone()).await?,
                _ => fill_by_ours(site.clone()).await?,
            });
        }
        let Memory { now, most, bytes: unread, conns } = server.settled().await?;
        let documented = (5 * MEMORY / 2 + LINKS * CONNS * (12 << 10) + LINKS * 2 * MIB) >> 10;
        eprintln!(
            "{unread} bytes unread, {conns} conns left: {} KiB, {} KiB at the most, {documented} KiB \
             documented",
            now - before,
            most - before
        );
        ensure!(unread <= MEMORY && unread > MEMORY * 3 / 4, "{unread} bytes are held");
        ensure!(conns < LINKS * CONNS, "4 links of 24 MiB do not fit into 64");
        ensure!(most - before < documented, "{} KiB", most - before);
        drop(filling);
        server.end().await
    })
}
