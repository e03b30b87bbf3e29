//! Windows, and traffic in both directions at once.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use h2conn::testing::Pair;
use h2conn::{Client, Error, ErrorKind, Listener, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::support::raw::{self, DATA, END_STREAM, HEADERS, Raw, SETTINGS, WINDOW_UPDATE};
use crate::support::{checked, long};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unread_conn_neither_slows_nor_starves_its_sibling() -> Result<()> {
    const SIBLING: u64 = 64 << 20;
    checked(60, async {
        // Fix the window, because the traffic of the sibling would make the hoarder's window grow
        // too.
        let (client, server) = duplex(1 << 20);
        let mut pair = Pair::builder().max_window_size(1 << 20).over(client, server).await?;
        let (hoarder_in, _hoarder) = pair.open().await?;
        let stuffing = tokio::spawn(async move {
            let mut stuffed = 0;
            while (&hoarder_in).write_all(&[1; 4096]).await.is_ok() {
                stuffed += 4096;
                STUFFED.store(stuffed, SeqCst);
            }
        });
        let (mut client, server) = pair.open().await?;
        let reader =
            tokio::spawn(
                async move { tokio::io::copy(&mut &server, &mut tokio::io::sink()).await },
            );
        let chunk = vec![2; 64 << 10];
        for _ in 0..SIBLING / chunk.len() as u64 {
            client.write_all(&chunk).await?;
        }
        client.shutdown().await?;
        let stuffed = STUFFED.load(SeqCst);
        ensure!(reader.await?? == SIBLING);
        // The reader's window, the writer's queue, and one write that is waiting.
        ensure!(stuffed <= (1 << 20) + (256 << 10) + 4096, "{stuffed} bytes were taken");
        stuffing.abort();
        Ok(())
    })
    .await
}

static STUFFED: AtomicUsize = AtomicUsize::new(0);

#[tokio::test]
async fn past_the_links_memory_the_conn_that_hoards_most_is_reset() -> Result<()> {
    checked(60, async {
        let mut listener = Listener::builder().max_link_memory(1 << 20).bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr());
        let client = Client::new()?;
        let mut unread = Vec::new();
        let mut conns = Vec::new();
        for _ in 0..4 {
            let conn = client.open(&url).await?;
            unread.push(listener.accept().await.context("a conn")?.accept()?);
            conn.response().await?;
            // The first Conn may fill all of the memory while it is alone.
            while conns.is_empty() {
                let step = Duration::from_millis(200);
                if tokio::time::timeout(step, (&conn).write_all(&[0; 4096])).await.is_err() {
                    break;
                }
            }
            conns.push(conn);
        }
        // The smaller windows apply once their SETTINGS are acknowledged.
        conns[0].ping().await?;
        unread[0].ping().await?;
        let mut stuffers = JoinSet::new();
        for (index, conn) in conns.into_iter().enumerate() {
            stuffers.spawn(async move {
                loop {
                    if let Err(error) = (&conn).write_all(&[0; 4096]).await {
                        return (index, error);
                    }
                }
            });
        }
        let (index, error) = stuffers.join_next().await.context("somebody is reset")??;
        ensure!(index == 0, "{index} was reset, and not the first");
        let error = Error::from_io(&error).context("one of ours")?;
        ensure!(error.reason() == Some(Reason::ENHANCE_YOUR_CALM), "{error}");
        let here = (&unread[0]).read(&mut [0; 1]).await.err().context("it was reset")?;
        let here = Error::from_io(&here).context("one of ours")?;
        ensure!(here.kind() == ErrorKind::Aborted, "{here}");
        ensure!(here.to_string().contains("unread"), "{here}");
        // The others are untouched.
        for conn in &mut unread[1..] {
            conn.read_exact(&mut [0; 1000]).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_both_ways_with_pings_and_settings_over_a_narrow_pipe_never_stops() -> Result<()> {
    let time = Duration::from_secs(if long() { 60 } else { 5 });
    checked(time.as_secs() + 60, async move {
        let (client, server) = duplex(16 << 10);
        let mut pair = Pair::over(client, server).await?;
        let (client, server) = pair.open().await?;
        let (client, server) = (Arc::new(client), Arc::new(server));
        let end = Instant::now() + time;
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for conn in [&client, &server] {
            let (writer, reader, pinger) = (conn.clone(), conn.clone(), conn.clone());
            let (written, pinged) = (Arc::clone(&over), Arc::clone(&over));
            tasks.spawn(async move {
                let mut sent = 0_u64;
                while !written.load(SeqCst) {
                    (&*writer).write_all(&[5; 64 << 10]).await?;
                    sent += 64 << 10;
                }
                (&*writer).shutdown().await?;
                Ok::<_, anyhow::Error>(("wrote", sent))
            });
            tasks.spawn(async move {
                let read = tokio::io::copy(&mut &*reader, &mut tokio::io::sink()).await?;
                Ok(("read", read))
            });
            tasks.spawn(async move {
                let mut pings = 0;
                while !pinged.load(SeqCst) {
                    pinger.ping().await?;
                    pings += 1;
                    // As often as the most eager keep-alive, and too rarely to count as a flood.
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(("pinged", pings))
            });
        }
        // Conns that start and end change INITIAL_WINDOW_SIZE, through SETTINGS from both ends. On
        // a loaded machine a few rounds can take longer than the given time.
        let mut rounds = 0;
        while Instant::now() < end || rounds <= 2 {
            let mut crowd = Vec::new();
            for _ in 0..100 {
                crowd.push(pair.open().await?);
            }
            rounds += 1;
        }
        over.store(true, SeqCst);
        let (mut read, mut wrote) = (0, 0);
        for result in tasks.join_all().await {
            match result? {
                ("read", n) => read += n,
                ("wrote", n) => wrote += n,
                (_, pings) => ensure!(pings > 2, "{pings} pings"),
            }
        }
        ensure!(read == wrote, "{read} of {wrote} bytes");
        ensure!(wrote > rounds << 20, "{rounds} rounds, {wrote} bytes");
        Ok(())
    })
    .await
}

/// Bytes that a user reads just before its Conn ends return to the link's window, too.
#[tokio::test]
async fn conns_that_end_leave_nothing_of_the_links_window_behind() -> Result<()> {
    const EACH: usize = 1_000;
    checked(60, async {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", socket.local_addr()?);
        // 64 KiB, which the link's window keeps open.
        let client = Client::builder().max_link_memory(256 << 10).build()?;
        let (step, mut steps) = mpsc::channel::<()>(1);
        let server = tokio::spawn(async move {
            let mut raw = Raw::server(socket.accept().await?.0).await?;
            raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await?;
            for stream in (1..).step_by(2) {
                raw.wait_for(HEADERS, stream).await?;
                raw.send(HEADERS, raw::END_HEADERS, stream, raw::OK).await?;
                let Some(()) = steps.recv().await else { break };
                raw.send(DATA, END_STREAM, stream, &[0; EACH]).await?;
                let Some(()) = steps.recv().await else { break };
                raw.send(WINDOW_UPDATE, 0, stream, &10_u32.to_be_bytes()).await?;
                while !raw.wait_for(DATA, stream).await?.is_end() {}
            }
            Result::<()>::Ok(())
        });
        for _ in 0..100 {
            let (conn, _) = client.connect(&url).await?;
            let (mut reader, mut writer) = conn.into_split();
            writer.write_all(b"0123456789").await?;
            let mut ending = pin!(writer.shutdown());
            // There is no window for it yet.
            let waited = tokio::time::timeout(Duration::from_millis(20), &mut ending).await;
            ensure!(waited.is_err(), "{waited:?}");
            step.send(()).await?;
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await?;
            ensure!(all.len() == EACH);
            step.send(()).await?;
            ending.await?;
        }
        drop(step);
        server.abort();
        Ok(())
    })
    .await
}
