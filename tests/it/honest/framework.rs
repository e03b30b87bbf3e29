//! The same tests for `accept` inside hyper and axum.

use std::io;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use h2conn::{Acceptor, Client, Conn};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex, split};
use tokio::task::{JoinSet, yield_now};

use crate::support::framework::{Host, hyper_over_memory, stock};
use crate::support::raw::{DATA, END_STREAM, PREFACE, frame};
use crate::support::{Over, checked, noise};

const PIPE: usize = 64 << 10;

/// The DATA frames of one direction.
#[derive(Debug, Default)]
struct Seen {
    frames: usize,
    ends: usize,
    /// Frames with neither bytes nor an end.
    empty: usize,
}

/// Passes frames on, and counts them.
async fn relay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut head = [0; 9];
    while from.read_exact(&mut head).await.is_ok() {
        let [a, b, c, kind, flags, s, t, u, v] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload).await?;
        if kind == DATA {
            let ends = flags & END_STREAM != 0;
            seen.frames += 1;
            seen.ends += usize::from(ends);
            seen.empty += usize::from(payload.is_empty() && !ends);
        }
        let stream = u32::from_be_bytes([s, t, u, v]);
        // An end that has gone takes no more frames, but the frames of the other end still count.
        let _ = to.write_all(&frame(kind, flags, stream, &payload)).await;
    }
    let _ = to.shutdown().await;
    Ok(seen)
}

/// The actions of one end: writes in pieces of odd sizes with other calls in between, then the end.
fn script(seed: u64) -> Vec<u8> {
    noise(2 + seed as usize % 12, seed)
}

/// The bytes that a script writes.
fn said(seed: u64) -> Vec<u8> {
    let pieces = script(seed).into_iter().filter(|step| step % 7 < 2);
    pieces.flat_map(|step| vec![step; 1 + usize::from(step) * 5]).collect()
}

async fn play(conn: Conn, mine: u64, theirs: u64) -> Result<()> {
    let (mut reader, mut writer) = conn.into_split();
    let write = async move {
        for step in script(mine) {
            let bytes = vec![step; 1 + usize::from(step) * 5];
            match step % 7 {
                0 => writer.write_all(&bytes).await?,
                1 => writer.write_chunk(bytes.into()).await?,
                2 => ensure!(writer.write(&[]).await? == 0),
                3 => writer.write_chunk(Bytes::new()).await?,
                4 => writer.flush().await?,
                5 => writer.sent().await?,
                _ => yield_now().await,
            }
        }
        match mine % 4 {
            0 => writer.shutdown().await?,
            1 => {
                writer.flush().await?;
                writer.shutdown().await?;
                writer.shutdown().await?;
            }
            2 => {
                writer.sent().await?;
                drop(writer);
            }
            _ => drop(writer),
        }
        Ok(())
    };
    let read = async move {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await?;
        ensure!(got == said(theirs), "{} bytes of {}", got.len(), said(theirs).len());
        Ok(())
    };
    tokio::try_join!(write, read)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_conns_on_one_hyper_link_send_no_empty_frame_but_their_ends() -> Result<()> {
    const CONNS: u64 = 1_000;
    checked(60, async {
        let (server_io, mut conns) = hyper_over_memory(PIPE, stock(), Acceptor::default());
        let (client_io, io) = duplex(PIPE);
        let ((from_client, to_client), (from_server, to_server)) = (split(io), split(server_io));
        let up = tokio::spawn(async move {
            let (mut from_client, mut to_server) = (from_client, to_server);
            let mut preface = [0; PREFACE.len()];
            from_client.read_exact(&mut preface).await?;
            to_server.write_all(&preface).await?;
            relay(from_client, to_server).await
        });
        let down = tokio::spawn(relay(from_server, to_client));
        let client = Client::builder().build_over(client_io).await?;
        let mut ends = JoinSet::new();
        for number in 0..CONNS {
            let conn = client.open("http://memory/").await?;
            let server = conns.recv().await.context("the server has ended")?;
            ends.spawn(play(conn, 2 * number, 2 * number + 1));
            ends.spawn(play(server, 2 * number + 1, 2 * number));
            // Fewer at a time than hyper takes.
            while ends.len() > 100 {
                ends.join_next().await.context("there are some")???;
            }
        }
        while let Some(end) = ends.join_next().await {
            end??;
        }
        client.close().await?;
        for seen in [up.await??, down.await??] {
            ensure!(seen.empty == 0, "{seen:?}");
            ensure!(seen.ends == CONNS as usize && seen.frames > seen.ends, "{seen:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_and_then_a_drop_loses_nothing_in_another_server() -> Result<()> {
    checked(60, async {
        for host in Host::OF_ACCEPT {
            let (site, mut conns) = host.listen(Over::Cleartext).await?;
            let client = site.client()?;
            for round in 0..500_usize {
                let (conn, _) = client.connect(site.url("/")).await?;
                let server = conns.recv().await.context("the server has ended")?;
                let (mut from, mut to) =
                    if round % 2 == 0 { (conn, server) } else { (server, conn) };
                // Sometimes more than the windows and queues on the path.
                let len = if round % 250 < 2 { 3 << 20 } else { 1 + round * 97 % 40_000 };
                let message = noise(len, round as u64);
                let writing = message.clone();
                let writing = tokio::spawn(async move {
                    from.write_all(&writing).await?;
                    drop(from);
                    io::Result::Ok(())
                });
                let mut got = Vec::new();
                to.read_to_end(&mut got).await.with_context(|| format!("{host:?}, {round}"))?;
                ensure!(got == message, "{host:?}, {round}: {} of {len} bytes", got.len());
                writing.await??;
            }
        }
        Ok(())
    })
    .await
}
