//! Header fields use memory: the fields that are kept are counted, reported, bounded and freed.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use h2conn::{Listener, ListenerHandle, Reason};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Filled, Memory, round_trip, tell_memory, until};
use crate::attacks::peer::{bomb, client, pieces, play};
use crate::support::process;
use crate::support::raw::{
    DATA, END_HEADERS, END_STREAM, HEADERS, OK, PING, RST_STREAM, Raw, SETTINGS, frame, request,
};
use crate::support::{Over, Site, TestResult, accept, echo, listen_with, run, serve};

const MIB: usize = 1 << 20;

/// An attacker, and the answers that it has received.
struct Thrower {
    raw: Raw<TcpStream>,
    answered: usize,
    refused: usize,
    /// Streams that were reset to make room for others.
    reset: usize,
}

impl Thrower {
    /// Sends the bomb this many times, and waits until all of it is handled.
    async fn throw(site: &Site, times: u32) -> TestResult<Thrower> {
        let raw = client(site.addr).await?;
        let mut thrower = Thrower { raw, answered: 0, refused: 0, reset: 0 };
        let (first, again) = bomb();
        thrower.raw.io.write_all(&frame(HEADERS, END_HEADERS, 1, &first)).await?;
        for stream in (1..times).map(|number| 2 * number + 1) {
            thrower.raw.io.write_all(&frame(HEADERS, END_HEADERS, stream, &again)).await?;
            // Read all answers on the way, or the server would have to keep them.
            if stream % 128 == 1 {
                thrower.listen().await?;
            }
        }
        thrower.listen().await?;
        // The answer to a PING can overtake the work of the same turn.
        thrower.listen().await?;
        Ok(thrower)
    }

    /// Counts the answers before the answer to a PING.
    async fn listen(&mut self) -> TestResult {
        self.raw.send(PING, 0, 0, b"are you?").await?;
        loop {
            let frame = self.raw.next().await?.context("the link lives")?;
            match frame.kind {
                HEADERS => {
                    ensure!(frame.payload == OK, "{frame:?}");
                    self.answered += 1;
                }
                RST_STREAM if frame.payload == Reason::REFUSED_STREAM.code().to_be_bytes() => {
                    self.refused += 1;
                }
                RST_STREAM if frame.payload == Reason::ENHANCE_YOUR_CALM.code().to_be_bytes() => {
                    self.reset += 1;
                }
                RST_STREAM => anyhow::bail!("{frame:?}"),
                PING if frame.payload == b"are you?" => return Ok(()),
                _ => {}
            }
        }
    }
}

#[test]
fn the_limit_of_header_fields_is_told() -> TestResult {
    run(async {
        let (_listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        let mut raw = client(site.addr).await?;
        let settings = raw.wait_for(SETTINGS, 0).await?;
        // SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2).
        let told = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 6]);
        ensure!(told.context("it is told")?[2..] == (16_u32 << 10).to_be_bytes());
        Ok(())
    })
}

#[test]
fn header_fields_count_while_somebody_holds_their_conn_and_no_longer() -> TestResult {
    run(async {
        let (mut listener, site) = listen_with(Over::Cleartext, Listener::builder()).await?;
        let handle: ListenerHandle = listener.handle();
        let value = "v".repeat(1_000);
        let client = site.client_builder().header("x-large", &*value).build()?;
        let (conn, server) = tokio::join!(client.connect(site.url("/")), accept(&mut listener));
        let (conn, server) = (conn?.0, server?);
        let held = handle.stats().request_bytes;
        ensure!((6_000..7_000).contains(&held), "{held}");
        (&server).shutdown().await?;
        conn.close().await?;
        server.closed().await?;
        until(&handle, |stats| stats.conns == 0).await;
        ensure!(handle.stats().request_bytes == held, "the program can still see them");
        ensure!(server.headers()["x-large"] == value);
        drop(server);
        until(&handle, |stats| stats.request_bytes == 0).await;
        Ok(())
    })
}

#[test]
fn a_link_whose_memory_is_full_of_header_fields_gets_no_new_conns_and_others_do() -> TestResult {
    run(async {
        let builder = Listener::builder().max_link_memory(2 << 20);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        serve(listener, echo);
        let other = site.client()?;
        let conn = other.connect(site.url("/")).await?.0;
        let thrower = Thrower::throw(&site, 500).await?;
        let Thrower { answered, refused, reset, .. } = thrower;
        ensure!(answered > 10 && refused > 300, "{answered} answered, {refused} refused");
        ensure!(reset == 0, "it has not taken what was others'");
        let stats = handle.stats();
        ensure!(stats.request_bytes <= 2 * MIB, "{stats:?}");
        round_trip(&conn).await?;
        round_trip(&other.connect(site.url("/")).await?.0).await?;
        drop(thrower);
        until(&handle, |stats| stats.links == 1 && stats.request_bytes < 8_000).await;
        Ok(())
    })
}

/// A program may hold a connection that is over, for instance while it asks whether the client has
/// everything. The client must not make it hold any number of them.
#[test]
fn requests_that_are_over_and_held_count_for_their_link() -> TestResult {
    const LINK: usize = 2 << 20;
    run(async {
        let builder = Listener::builder().max_link_memory(LINK as u32).first_conn_timeout(None);
        let (mut listener, site) = listen_with(Over::Cleartext, builder).await?;
        let handle = listener.handle();
        let (hold, mut held) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                // The client may have taken it back.
                let Ok(conn) = incoming.accept() else { continue };
                let ended = (&conn).shutdown().await;
                let _ = hold.send((conn, ended));
            }
        });
        let mut raw = client(site.addr).await?;
        let (mut answered, mut refused) = (0, 0);
        for number in 0..600 {
            let id = 2 * number + 1;
            raw.send(HEADERS, END_HEADERS | END_STREAM, id, &request("/")).await?;
            loop {
                let frame = raw.next().await?.context("the link lives")?;
                match frame.kind {
                    HEADERS if frame.stream == id => answered += 1,
                    RST_STREAM if frame.stream == id => refused += 1,
                    _ => continue,
                }
                break;
            }
        }
        // A request takes 5 KiB and some more, and half of the link's memory is for requests.
        ensure!((150..=210).contains(&answered) && refused > 300, "{answered}, {refused}");
        until(&handle, |stats| stats.conns == 0).await;
        ensure!(handle.stats().request_bytes <= LINK / 2, "{:?}", handle.stats());
        // Another link has its own memory.
        let other = site.client()?;
        other.connect(site.url("/")).await?;
        for _ in 0..answered {
            let (_conn, ended) = held.recv().await.context("they are held")?;
            ended?;
        }
        until(&handle, |stats| stats.request_bytes < 3 * 6_000).await;
        raw.send(HEADERS, END_HEADERS | END_STREAM, 2_001, &request("/")).await?;
        raw.wait_for(HEADERS, 2_001).await?;
        Ok(())
    })
}

#[test]
fn a_peer_whose_requests_are_refused_all_the_time_is_cut_off() -> TestResult {
    run(async {
        // The listener accepts nothing, and must not end the link for that.
        let builder = Listener::builder().max_link_memory(256 << 10).first_conn_timeout(None);
        let (_listener, site) = listen_with(Over::Cleartext, builder).await?;
        let mut raw = client(site.addr).await?;
        let (first, again) = bomb();
        raw.io.write_all(&frame(HEADERS, END_HEADERS, 1, &first)).await?;
        let more = |number| frame(HEADERS, END_HEADERS, 2 * number + 3, &again);
        let began = Instant::now();
        let heard = play(raw, pieces(60_000, more)).await;
        heard.ensure_cut_off(60_000, began.elapsed())?;
        let refused = heard.reset();
        ensure!(refused > 20_000, "after {refused}: {heard}");
        Ok(())
    })
}

#[test]
fn a_link_with_an_open_conn_whose_requests_are_refused_is_slowed_and_goes_on() -> TestResult {
    run(async {
        let builder = Listener::builder().max_link_memory(256 << 10).first_conn_timeout(None);
        let (listener, site) = listen_with(Over::Cleartext, builder).await?;
        serve(listener, echo);
        let mut thrower = Thrower::throw(&site, 30_000).await?;
        ensure!(thrower.refused > 29_000, "{} were refused", thrower.refused);
        // The first Conn of the link is still served, and a PING is answered.
        thrower.raw.send(DATA, 0, 1, b"still there?").await?;
        ensure!(thrower.raw.wait_for(DATA, 1).await?.payload == b"still there?");
        thrower.listen().await
    })
}

const MEMORY: usize = 64 * MIB;
const LINK_MEMORY: usize = 32 * MIB;
const LINKS: usize = 10;
const TIMES: u32 = 2_000;

/// Not a real test, but the server of the test below, when it is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_filled_with_fields() -> TestResult {
    if process::role().is_none() {
        return Ok(());
    }
    let builder = Listener::builder().max_memory(MEMORY).max_link_memory(LINK_MEMORY as u32);
    // A link that has thrown everything answers no PING while the others throw, which can take long.
    let builder = builder.first_conn_timeout(None).keep_alive_interval(None);
    let (listener, site) = listen_with(Over::Cleartext, builder).await?;
    let handle = listener.handle();
    serve(listener, echo);
    tell_memory(&site, &handle, |stats| stats.request_bytes).await
}

#[test]
fn ten_links_full_of_header_fields_stay_below_the_documented_memory() -> TestResult {
    const SERVER: &str = "limits::fields::a_server_that_is_filled_with_fields";
    run(async {
        let (mut server, site) = Filled::start(SERVER).await?;
        let bystander = site.client()?;
        let conn = bystander.connect(site.url("/")).await?.0;
        let before = server.ask().await?.now;
        let mut links = Vec::new();
        for _ in 0..LINKS {
            let link = Thrower::throw(&site, TIMES).await?;
            ensure!(link.answered > 20, "{} answered, {} refused", link.answered, link.refused);
            links.push(link);
            round_trip(&conn).await?;
            round_trip(&bystander.connect(site.url("/")).await?.0).await?;
        }
        // A link frees memory the next time that its driver runs.
        let Memory { now, most, bytes: fields, conns } = loop {
            let seen = server.ask().await?;
            if seen.bytes <= MEMORY {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let documented = (5 * MEMORY / 2 + conns * (12 << 10) + LINKS * 2 * MIB) >> 10;
        eprintln!(
            "{fields} bytes of fields are counted, {conns} Conns: {} KiB, {} KiB at the most, {documented} KiB \
             documented",
            now - before,
            most - before
        );
        ensure!(fields > MEMORY / 2, "{fields} bytes are counted");
        ensure!(conns < LINKS * TIMES as usize / 2, "they do not fit");
        let mut resets = 0;
        for link in &mut links {
            link.listen().await?;
            resets += link.reset;
        }
        ensure!(resets > 0, "the first links have made room for the others");
        // The idle Conns and links themselves: `docs/performance.md`.
        let others = conns * (8 << 10) + LINKS * MIB;
        // The memory of Conns that were reset is free, but still belongs to the process.
        ensure!(
            (now - before) << 10 < 2 * fields + others,
            "{} KiB are more than is counted",
            now - before
        );
        ensure!(most - before < documented, "{} KiB", most - before);
        drop(links);
        while server.ask().await?.bytes > 100_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        round_trip(&conn).await?;
        server.end().await
    })
}
