//! Answers that the user's own task sends, and not the link's task.

use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use h2conn::Conn;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::Builder;

use crate::support::{Over, Site, TestResult, listen, noise, run};

/// Much longer than any test here takes.
const WATCHDOG: Duration = Duration::from_secs(30);

/// Writes without waiting, and without a runtime.
fn write_alone(mut conn: &Conn, bytes: &[u8]) -> TestResult<usize> {
    match Pin::new(&mut conn).poll_write(&mut Context::from_waker(Waker::noop()), bytes) {
        Poll::Ready(written) => Ok(written?),
        Poll::Pending => bail!("nothing is queued"),
    }
}

/// A server in a thread of its own, which reports the bytes that it reads and answers the question.
fn server(over: Over) -> TestResult<(Site, mpsc::Receiver<Vec<u8>>)> {
    let (said, site) = mpsc::channel();
    let (heard, bytes) = mpsc::channel();
    thread::spawn(move || {
        run(async {
            let (mut listener, site) = listen(over).await?;
            said.send(site)?;
            let mut conn = listener.accept().await.context("a request")?.accept()?;
            let mut room = vec![0; 64 << 10];
            loop {
                let n = conn.read(&mut room).await?;
                if n == 0 || heard.send(room[..n].to_vec()).is_err() {
                    return Ok(());
                }
                if room[..n] == *b"?" {
                    conn.write_all(b"!").await?;
                }
            }
        })
    });
    Ok((site.recv_timeout(WATCHDOG)?, bytes))
}

/// Collects bytes that arrive, until there are `n`.
fn receive(bytes: &mpsc::Receiver<Vec<u8>>, n: usize) -> TestResult<Vec<u8>> {
    let mut all = Vec::new();
    while all.len() < n {
        all.extend(bytes.recv_timeout(WATCHDOG)?);
    }
    Ok(all)
}

/// The number of attempts. If the link's task is about to run, a writer leaves its bytes to that
/// task.
const TRIES: u64 = 100;

/// The client's runtime does not run while its user writes.
fn check(over: Over) -> TestResult {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (site, heard) = server(over)?;
    let client = {
        let _inside = runtime.enter();
        site.client()?
    };
    let (mut conn, _) = runtime.block_on(client.connect(&site.url("/")))?;
    for len in [64, 10_000, 16 << 10, 20_000, 32 << 10] {
        let mut went_alone = false;
        for seed in 0..TRIES {
            runtime.block_on(async {
                conn.write_all(b"?").await?;
                conn.read_exact(&mut [0]).await
            })?;
            ensure!(receive(&heard, 1)? == b"?");
            let message = noise(len, seed);
            ensure!(write_alone(&conn, &message)? == len, "{len} bytes");
            let stats = conn.stats();
            went_alone = stats.bytes_sent == stats.bytes_written;
            if !went_alone {
                runtime.block_on(conn.sent())?;
            }
            ensure!(receive(&heard, len)? == message, "{len} bytes, alone: {went_alone}");
            if went_alone {
                break;
            }
        }
        ensure!(went_alone, "{len} bytes always wait for the link's task");
    }
    Ok(())
}

#[test]
fn an_answer_leaves_although_nothing_runs_the_task_of_its_link() -> TestResult {
    for over in Over::BOTH {
        check(over).with_context(|| format!("{over:?}"))?;
    }
    Ok(())
}
