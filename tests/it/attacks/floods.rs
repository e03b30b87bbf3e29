//! Frames that cost work and carry nothing.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::arena::on_listener;
use super::peer::{ENHANCE_YOUR_CALM, ask, client, open, pieces, play, stream};
use crate::support::raw::{
    ACK, DATA, PING, PRIORITY, PRIORITY_UPDATE, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::support::{TestResult, within};

/// Floods a link with one frame, until the victim ends the link.
async fn flood(fault: &str, what: &str, frame: Vec<u8>) -> TestResult {
    on_listener(fault, async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        let heard = play(raw, pieces(1_000_000, |_| frame.clone())).await;
        heard.ensure_calmed(what)?;
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_flood_ends_the_link() -> TestResult {
    flood("SETTINGS flood", "SETTINGS frames", frame(SETTINGS, 0, 0, &[])).await?;
    // A full table of settings, all the same.
    let full = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1].repeat(2_000));
    flood("SETTINGS flood, 12 KB each", "SETTINGS frame of 2000 entries", full).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_flood_ends_the_link() -> TestResult {
    flood("PING flood", "PING frames", frame(PING, 0, 0, &[0; 8])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_flood_ends_the_link() -> TestResult {
    flood("PRIORITY flood", "PRIORITY frames", frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn priority_update_flood_ends_the_link() -> TestResult {
    let update = |text: &[u8]| frame(PRIORITY_UPDATE, 0, 0, &[&[0, 0, 0, 1], text].concat());
    flood("PRIORITY_UPDATE flood", "PRIORITY_UPDATE frames", update(b"u=3")).await?;
    // Each has to be parsed to its end.
    let long = update(&[&b"u=3"[..], &b";a".repeat(8_000)].concat());
    flood("PRIORITY_UPDATE flood, 16 KB each", "PRIORITY_UPDATE frames", long).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_update_flood_ends_the_link() -> TestResult {
    flood("WINDOW_UPDATE flood", "WINDOW_UPDATE frames", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_what_means_nothing_ends_the_link() -> TestResult {
    flood("flood of unknown frames", "frames of unknown types", frame(0xfa, 0, 1, &[])).await?;
    let odd = frame(PING, ACK, 0, &[0; 8]);
    flood("flood of acknowledgements", "acknowledgements that nobody asked for", odd).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_unknown_frames_are_passed_over() -> TestResult {
    on_listener("unknown frames", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        let heard = play(raw, pieces(15_000, |_| frame(0xfa, 0, 1, &[]))).await;
        ensure!(heard.survived, "{heard}");
        Ok(format!("15,000 of them: {heard}"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_its_answers_is_cut_off() -> TestResult {
    let errors = on_listener("PINGs from a peer that never reads", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        // As much data waits for the client as may. Everything beyond that is answers.
        raw.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await?;
        raw.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()).await?;
        let writers = (0..8).flat_map(|number| open(stream(number), "/write"));
        raw.io.write_all(&writers.collect::<Vec<_>>()).await?;
        let pings = frame(PING, 0, 0, &[0; 8]).repeat(9_000);
        raw.io.write_all(&pings).await?;
        // Streams beyond the limit, which are refused, and heads. The client is cut off long before
        // the last one; the bytes that it sends after that are dropped for a while.
        for sent in (8..200_000).step_by(100) {
            let opening: Vec<u8> =
                (sent..sent + 100).flat_map(|n| open(stream(n), "/sleep")).collect();
            if raw.io.write_all(&opening).await.is_err() {
                break;
            }
        }
        // This is the end of the connection, or a reset.
        let _ = within(20, raw.io.read_to_end(&mut Vec::new())).await;
        Ok("cut off".to_owned())
    })
    .await?;
    // How many answers the sockets have taken decides which limit is reached first. The module
    // `unread` meets each of them by its count.
    let limits =
        ["wait for the peer to read", "answers pile up that are not read", "stream errors"];
    let is_one = |error: &String| limits.iter().any(|limit| error.contains(limit));
    ensure!(errors.iter().any(is_one), "{errors:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_its_data_holds_no_more_than_the_queues() -> TestResult {
    on_listener("a peer that never reads, 100 Conns", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        // The largest window that there can be.
        raw.send(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await?;
        raw.send(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()).await?;
        for number in 0..100 {
            raw.io.write_all(&open(2 * number + 1, "/write")).await?;
        }
        // Another client is served while the queues of this one are full.
        let mut other = client(addr).await?;
        other.io.write_all(&open(1, "/")).await?;
        for _ in 0..200 {
            ask(&mut other, 1).await?;
        }
        Ok("100 queues are full, and stay".to_owned())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_data_flood_costs_no_more_than_the_window() -> TestResult {
    on_listener("tiny DATA flood", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&[open(1, "/"), open(3, "/sleep")].concat()).await?;
        let tiny = frame(DATA, 0, 3, b"x").repeat(1_000);
        for _ in 0..500 {
            raw.io.write_all(&tiny).await?;
            ask(&mut raw, 1).await?;
        }
        Ok("500,000 frames of a byte to a sleeper; another Conn of the link is served".to_owned())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_data_flood_ends_the_link() -> TestResult {
    on_listener("empty DATA flood", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/")).await?;
        let heard = play(raw, pieces(1_000_000, |_| frame(DATA, 0, 1, &[]))).await;
        heard.ensure_ended(ENHANCE_YOUR_CALM)?;
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}
