//! Clients that cause answers, in memory and on a paused clock: each limit by its count.
//!
//! The clock goes on only when the server has read everything and has no work left. So after each
//! pause, the server has dealt with all that was sent before it.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::future::poll_immediate;
use h2conn::{Conn, Listener};
use tokio::io::{AsyncWriteExt, DuplexStream, duplex, sink, split};
use tokio::time::{sleep, timeout};

use super::peer::{open, stream};
use crate::support::raw::{DATA, PING, RST_STREAM, Raw, WINDOW_UPDATE, frame};
use crate::support::{TestResult, accept, checked};

/// Bytes that the transport takes each way.
const PIPE: usize = 4 << 10;

/// Output that a link takes from HTTP/2 for its transport.
const TAKEN: usize = 64 << 10;

/// The lengths of an acknowledgement and of a RST_STREAM.
const ACKNOWLEDGEMENT: usize = 17;
const RESET: usize = 13;

/// The SETTINGS, their acknowledgement and a response take less than this.
const BEGINNING: usize = 300;

/// A client that has opened a stream, and the server's end.
async fn begin() -> TestResult<(Raw<DuplexStream>, Listener, Conn)> {
    let (client, server) = duplex(PIPE);
    let mut listener = Listener::builder().build_over(server)?;
    let mut raw = Raw::client(client).await?;
    raw.io.write_all(&open(1, "/")).await?;
    let conn = accept(&mut listener).await?;
    Ok((raw, listener, conn))
}

/// The error of a link that has ended.
async fn end(conn: &Conn) -> Option<String> {
    let closed = poll_immediate(conn.closed()).await?;
    Some(closed.err().map_or_else(|| "in order".to_owned(), |error| error.to_string()))
}

fn pings(count: usize) -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8]).repeat(count)
}

#[tokio::test(start_paused = true)]
async fn so_many_acknowledgements_may_wait_and_no_more() -> TestResult {
    const AT_ONCE: usize = 100;
    const MOST: usize = 10_000;
    checked(600, async {
        let (mut raw, _listener, conn) = begin().await?;
        let mut sent = 0;
        let error = loop {
            raw.io.write_all(&pings(AT_ONCE)).await?;
            sent += AT_ONCE;
            // That is the pace that is allowed.
            sleep(Duration::from_millis(50)).await;
            if let Some(error) = end(&conn).await {
                break error;
            }
            ensure!(sent < 10 * MOST, "nothing ends it");
        };
        ensure!(error.contains("more than 10000 acknowledgements wait"), "{error}");
        // The first ones have left HTTP/2 for the transport.
        let left = (PIPE + TAKEN) / ACKNOWLEDGEMENT;
        let fewest = MOST + left - BEGINNING / ACKNOWLEDGEMENT;
        ensure!((fewest..=MOST + left + 2 * AT_ONCE).contains(&sent), "{sent}, {left} left");
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_client_may_ask_at_a_pace_and_no_faster() -> TestResult {
    const STOCK: usize = 10_000;
    const A_SECOND: usize = 2_000;
    checked(600, async {
        let (raw, _listener, conn) = begin().await?;
        let (mut reader, mut writer) = split(raw.io);
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut sink()).await });
        writer.write_all(&pings(STOCK)).await?;
        for second in 0..20 {
            sleep(Duration::from_secs(1)).await;
            let ended = end(&conn).await;
            ensure!(ended.is_none(), "after {second} seconds: {ended:?}");
            writer.write_all(&pings(A_SECOND)).await?;
        }
        sleep(Duration::from_secs(1)).await;
        // The server ends the link, so it may not take them all.
        let _ = writer.write_all(&pings(A_SECOND + A_SECOND / 10)).await;
        sleep(Duration::from_secs(1)).await;
        let error = end(&conn).await.context("it was faster")?;
        ensure!(error.contains("PING frames"), "{error}");
        drop(writer);
        reading.await??;
        Ok(())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_link_is_cut_off_when_so_many_bytes_wait_for_its_client() -> TestResult {
    const PINGS: usize = 9_000;
    const AT_ONCE: u32 = 50;
    /// Of everything but content.
    const MOST: usize = 320 << 10;
    checked(600, async {
        let (mut raw, mut listener, conn) = begin().await?;
        // The program's own resets have no other limit: they are fewer in a second than are forgiven.
        let refusing = tokio::spawn(async move {
            while let Some(incoming) = listener.accept().await {
                drop(incoming)
            }
        });
        raw.io.write_all(&pings(PINGS)).await?;
        let mut opened = 0;
        let error = loop {
            let streams = opened + 1..=opened + AT_ONCE;
            let opening: Vec<u8> = streams.flat_map(|number| open(stream(number), "/")).collect();
            raw.io.write_all(&opening).await?;
            opened += AT_ONCE;
            sleep(Duration::from_millis(50)).await;
            if let Some(error) = end(&conn).await {
                break error;
            }
            ensure!(opened < 100_000, "nothing ends it");
        };
        ensure!(error.contains("answers pile up that are not read"), "{error}");
        let caused = PINGS * ACKNOWLEDGEMENT + opened as usize * RESET;
        let (least, most) = (MOST - BEGINNING, MOST + PIPE + 2 * AT_ONCE as usize * RESET);
        ensure!((least..=most).contains(&caused), "{caused} bytes, {opened} resets");
        drop(raw);
        refusing.await?;
        Ok(())
    })
    .await
}

/// One byte of credit for the link comes in the same turn in which two streams are let go: one of them
/// has the byte, and the other one never has its turn.
#[tokio::test(start_paused = true)]
async fn a_client_that_acknowledges_all_and_gives_no_credit_keeps_no_stream() -> TestResult {
    const WINDOW: usize = 65_535;
    checked(600, async {
        let (client, server) = duplex(1 << 20);
        let mut listener = Listener::builder().build_over(server)?;
        let mut raw = Raw::client(client).await?;
        let mut conns = Vec::new();
        for number in 0..3 {
            raw.io.write_all(&open(stream(number), "/")).await?;
            conns.push(accept(&mut listener).await?);
        }
        conns[0].write_all(&vec![0; WINDOW]).await?;
        let mut received = 0;
        while received < WINDOW {
            received += raw.wait_for(DATA, stream(0)).await?.payload.len();
        }
        for conn in &mut conns[1..] {
            conn.write_all(b"no credit").await?;
        }
        sleep(Duration::from_secs(1)).await;
        raw.send(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).await?;
        conns.truncate(1);
        let mut resets = Vec::new();
        while resets.len() < 2 {
            let next = timeout(Duration::from_secs(300), raw.next()).await;
            let next = next.with_context(|| format!("only {resets:?} were reset"))??;
            let frame = next.context("the link has ended")?;
            if frame.kind == RST_STREAM {
                resets.push(frame.stream);
            }
        }
        resets.sort_unstable();
        ensure!(resets == [stream(1), stream(2)], "{resets:?}");
        Ok(())
    })
    .await
}
