//! Windows that stay shut, overflow or shrink, and peers that ignore them.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::arena::on_listener;
use super::peer::{FLOW_CONTROL_ERROR, ask, client, open, pieces, play};
use crate::support::TestResult;
use crate::support::raw::{DATA, RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, frame};

/// A client whose streams begin with this window. The first stream is an echo.
async fn with_window(addr: SocketAddr, window: u32) -> TestResult<Raw<TcpStream>> {
    let mut raw = client(addr).await?;
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    raw.send(SETTINGS, 0, 0, &setting).await?;
    raw.io.write_all(&open(1, "/")).await?;
    raw.send(WINDOW_UPDATE, 0, 1, &100_000_u32.to_be_bytes()).await?;
    Ok(raw)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_window_blocks_its_own_conn_only_and_a_deadline_ends_it() -> TestResult {
    let errors = on_listener("zero window", async |addr: SocketAddr| {
        let mut raw = with_window(addr, 0).await?;
        let opening: Vec<u8> = (1..=50).flat_map(|n| open(2 * n + 1, "/impatient")).collect();
        raw.io.write_all(&opening).await?;
        // Each stream is reset when its writer has waited long enough.
        raw.send(DATA, 0, 1, b"still there?").await?;
        let (mut resets, mut answered) = (0, false);
        while resets < 50 || !answered {
            let frame = raw.next().await?.context("the link lives")?;
            resets += usize::from(frame.kind == RST_STREAM);
            answered |= frame.kind == DATA && frame.stream == 1;
        }
        ask(&mut raw, 1).await?;
        Ok("50 writers time out, another Conn of the link is served".to_owned())
    })
    .await?;
    ensure!(errors.len() == 1, "{errors:?}");
    ensure!(errors[0].starts_with("50 × ") && errors[0].contains("deadline"), "{errors:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_window_that_opens_by_a_byte_each_time_holds_nobody_up() -> TestResult {
    on_listener("one-byte window", async |addr: SocketAddr| {
        let mut raw = with_window(addr, 0).await?;
        raw.io.write_all(&open(3, "/write")).await?;
        for _ in 0..2_000 {
            raw.send(WINDOW_UPDATE, 0, 3, &1_u32.to_be_bytes()).await?;
            ensure!(raw.wait_for(DATA, 3).await?.payload.len() == 1);
        }
        ask(&mut raw, 1).await?;
        Ok("2,000 frames of a byte; another Conn of the link is served".to_owned())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_overflow_is_an_error_of_the_stream_or_the_link() -> TestResult {
    const MOST: u32 = 0x7fff_ffff;
    on_listener("window overflow, of a stream", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&[open(1, "/"), open(3, "/sleep")].concat()).await?;
        raw.send(WINDOW_UPDATE, 0, 3, &MOST.to_be_bytes()).await?;
        let reset = raw.wait_for(RST_STREAM, 3).await?;
        ensure!(reset.payload == FLOW_CONTROL_ERROR.to_be_bytes(), "{reset:?}");
        ask(&mut raw, 1).await?;
        Ok("RST_STREAM 0x3, another Conn of the link is served".to_owned())
    })
    .await?;
    on_listener("window overflow, of the link", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/sleep")).await?;
        raw.send(WINDOW_UPDATE, 0, 0, &MOST.to_be_bytes()).await?;
        let heard = play(raw, || None).await;
        heard.ensure_ended(FLOW_CONTROL_ERROR)?;
        Ok(heard.to_string())
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn window_overrun_by_a_peer_that_sends_past_it_ends_the_link() -> TestResult {
    let errors = on_listener("DATA past the window", async |addr: SocketAddr| {
        let mut raw = client(addr).await?;
        raw.io.write_all(&open(1, "/sleep")).await?;
        // The window is 1 MiB, and this is 64 MiB.
        let heard = play(raw, pieces(4_096, |_| frame(DATA, 0, 1, &[0; 16 << 10]))).await;
        let code = heard.goaway.as_ref().map(|(code, _)| *code);
        let reset = heard.resets.contains_key(&FLOW_CONTROL_ERROR);
        ensure!(reset || code == Some(FLOW_CONTROL_ERROR), "{heard}");
        Ok(heard.to_string())
    })
    .await?;
    ensure!(errors.len() == 1 && errors[0].contains("FLOW_CONTROL_ERROR"), "{errors:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_shrink_with_a_blocked_writer_blocks_it_until_the_window_opens() -> TestResult {
    on_listener("SETTINGS shrink with a blocked writer", async |addr: SocketAddr| {
        let mut raw = with_window(addr, 30_000).await?;
        raw.io.write_all(&open(3, "/write")).await?;
        let mut got = 0;
        while got < 30_000 {
            got += raw.wait_for(DATA, 3).await?.payload.len();
        }
        for round in 0..50 {
            // Below zero, and up again by the same amount.
            for window in [0_u32, 30_000] {
                let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
                raw.send(SETTINGS, 0, 0, &setting).await?;
                ask(&mut raw, 1).await?;
            }
            raw.send(WINDOW_UPDATE, 0, 0, &1_000_u32.to_be_bytes()).await?;
            raw.send(WINDOW_UPDATE, 0, 3, &1_000_u32.to_be_bytes()).await?;
            let more = raw.wait_for(DATA, 3).await?.payload.len();
            ensure!(more == 1_000, "round {round}: {more} bytes");
        }
        Ok("50 times; not a byte too many; another Conn of the link is served".to_owned())
    })
    .await?;
    Ok(())
}
