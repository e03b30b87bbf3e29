//! The cases, and their operations on a connection.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Duplex;

const CHUNK: usize = 1024;

/// Bytes that look random and are the same every time.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

async fn write_all(conn: &impl Duplex, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match conn.write(bytes).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => bytes = &bytes[n..],
        }
    }
    Ok(())
}

/// Fills `buf`. Returns `false` if the stream ends before the first byte.
async fn read_full(conn: &impl Duplex, buf: &mut [u8]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buf.len() {
        match conn.read(&mut buf[filled..]).await? {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    Ok(true)
}

/// Sends everything back, in the background.
fn echo<C: Duplex>(conn: Arc<C>) {
    tokio::spawn(async move {
        let mut buf = [0; CHUNK];
        loop {
            let n = conn.read(&mut buf).await?;
            if n == 0 {
                return io::Result::Ok(());
            }
            write_all(&*conn, &buf[..n]).await?;
        }
    });
}

/// Reads and drops everything, in the background.
fn discard<C: Duplex>(conn: Arc<C>) {
    tokio::spawn(async move {
        let mut buf = [0; CHUNK];
        while conn.read(&mut buf).await? > 0 {}
        io::Result::Ok(())
    });
}

/// Writes without end, in the background.
fn babble<C: Duplex>(conn: Arc<C>) {
    tokio::spawn(async move {
        let (mut noise, mut buf) = (Noise(0), [0; CHUNK]);
        loop {
            noise.fill(&mut buf);
            if write_all(&*conn, &buf).await.is_err() {
                return;
            }
        }
    });
}

fn long_ago() -> Option<Instant> {
    Instant::now().checked_sub(Duration::from_secs(1)).or_else(|| Some(Instant::now()))
}

fn soon(millis: u64) -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(millis))
}

/// Fails unless this is a timeout, both for `io` and for the library.
fn ensure_timeout<T: std::fmt::Debug>(result: io::Result<T>) -> Result<()> {
    match result {
        Ok(done) => bail!("{done:?} where a timeout was due"),
        Err(error) => {
            ensure!(error.kind() == io::ErrorKind::TimedOut, "{error} where a timeout was due");
            let ours = h2conn::Error::from_io(&error).context("it carries none of ours")?;
            ensure!(ours.is_timeout());
            Ok(())
        }
    }
}

async fn round_trip(conn: &impl Duplex) -> Result<()> {
    const HELLO: &[u8] = b"Hello, world!";
    conn.set_deadline(None);
    write_all(conn, HELLO).await?;
    let mut buf = [0; HELLO.len()];
    ensure!(read_full(conn, &mut buf).await? && buf == HELLO, "the echo of a round trip: {buf:?}");
    Ok(())
}

/// Reads everything that is still on its way back, up to a mark.
async fn resync<C: Duplex>(conn: &Arc<C>) -> Result<()> {
    conn.set_deadline(None);
    let writer = Arc::clone(conn);
    let mark = tokio::spawn(async move { write_all(&*writer, &[0xff]).await });
    let mut buf = [0; CHUNK];
    loop {
        let n = conn.read(&mut buf).await?;
        ensure!(n > 0, "the end of the stream before the mark");
        if buf[..n].iter().position(|byte| *byte == 0xff) == Some(n - 1) {
            break;
        }
    }
    Ok(mark.await??)
}

async fn all(tasks: JoinSet<Result<()>>) -> Result<()> {
    tasks.join_all().await.into_iter().collect()
}

pub(super) async fn basic_io<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    let mut want = vec![0; 1 << 20];
    Noise(1).fill(&mut want);
    let sent = want.clone();
    let sender = tokio::spawn(async move {
        for chunk in sent.chunks(CHUNK) {
            write_all(&*c1, chunk).await?;
        }
        c1.close().await?;
        anyhow::Ok(())
    });
    let (mut got, mut buf) = (Vec::new(), [0; CHUNK]);
    loop {
        match c2.read(&mut buf).await? {
            0 => break,
            n => got.extend_from_slice(&buf[..n]),
        }
    }
    c2.close().await?;
    sender.await??;
    ensure!(got == want, "{} bytes of {} came, or they differ", got.len(), want.len());
    Ok(())
}

pub(super) async fn ping_pong<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    async fn player<C: Duplex>(conn: Arc<C>) -> Result<()> {
        let (mut buf, mut previous) = ([0; 8], 0);
        while read_full(&*conn, &mut buf).await? {
            let value = u64::from_le_bytes(buf);
            ensure!(previous == 0 || value == previous + 2, "{value} after {previous}");
            previous = value;
            if value == 1000 {
                break;
            }
            write_all(&*conn, &(value + 1).to_le_bytes()).await?;
        }
        conn.close().await?;
        Ok(())
    }
    let mut players = JoinSet::new();
    players.spawn(player(Arc::clone(&c1)));
    players.spawn(player(c2));
    write_all(&*c1, &[0; 8]).await?;
    all(players).await
}

pub(super) async fn racy_read<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    babble(c2);
    c1.set_read_deadline(soon(1));
    let mut readers = JoinSet::new();
    for _ in 0..10 {
        let conn = Arc::clone(&c1);
        readers.spawn(async move {
            let mut buf = [0; CHUNK];
            for _ in 0..100 {
                let read = conn.read(&mut buf).await;
                if read.is_err() {
                    ensure_timeout(read)?;
                    conn.set_read_deadline(soon(1));
                }
            }
            Ok(())
        });
    }
    all(readers).await
}

pub(super) async fn racy_write<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    discard(c2);
    c1.set_write_deadline(soon(1));
    let mut writers = JoinSet::new();
    for index in 0..10 {
        let conn = Arc::clone(&c1);
        writers.spawn(async move {
            let (mut noise, mut buf) = (Noise(index), [0; CHUNK]);
            for _ in 0..100 {
                let wrote = conn.write(&buf).await;
                noise.fill(&mut buf);
                if wrote.is_err() {
                    ensure_timeout(wrote)?;
                    conn.set_write_deadline(soon(1));
                }
            }
            Ok(())
        });
    }
    all(writers).await
}

pub(super) async fn read_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    discard(c2);
    c1.set_read_deadline(long_ago());
    ensure_timeout(c1.read(&mut [0; CHUNK]).await)?;
    ensure!(c1.write(&[0; CHUNK]).await? > 0);
    Ok(())
}

pub(super) async fn write_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    babble(c2);
    c1.set_write_deadline(long_ago());
    ensure_timeout(c1.write(&[0; CHUNK]).await)?;
    ensure!(c1.read(&mut [0; CHUNK]).await? > 0);
    Ok(())
}

pub(super) async fn past_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    echo(c2);
    round_trip(&*c1).await?;
    // Bytes that have arrived remain readable after the deadline has passed.
    write_all(&*c1, b"ready").await?;
    ensure!(c1.read(&mut [0; 1]).await? == 1);
    c1.set_deadline(long_ago());
    ensure_timeout(c1.write(&[0; CHUNK]).await)?;
    ensure_timeout(c1.read(&mut [0; CHUNK]).await)?;
    c1.set_deadline(None);
    let mut rest = [0; 4];
    ensure!(read_full(&*c1, &mut rest).await? && &rest == b"eady", "{rest:?}");
    round_trip(&*c1).await
}

pub(super) async fn present_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    let is_set = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let (conn, set) = (Arc::clone(&c1), Arc::clone(&is_set));
    tasks.spawn(async move {
        sleep(Duration::from_millis(100)).await;
        set.store(true, SeqCst);
        conn.set_deadline(long_ago());
        Ok(())
    });
    let (conn, set) = (Arc::clone(&c1), Arc::clone(&is_set));
    tasks.spawn(async move {
        ensure_timeout(conn.read(&mut [0; CHUNK]).await)?;
        ensure!(set.load(SeqCst), "the read timed out before the deadline was set");
        Ok(())
    });
    tasks.spawn(async move {
        ensure_timeout(write_until_error(&*c1).await)?;
        ensure!(is_set.load(SeqCst), "a write timed out before the deadline was set");
        Ok(())
    });
    all(tasks).await?;
    drop(c2);
    Ok(())
}

/// Writes until a write fails.
async fn write_until_error(conn: &impl Duplex) -> io::Result<()> {
    loop {
        conn.write(&[0; CHUNK]).await?;
    }
}

pub(super) async fn future_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    c1.set_deadline(soon(100));
    let mut tasks = JoinSet::new();
    let conn = Arc::clone(&c1);
    tasks.spawn(async move { ensure_timeout(conn.read(&mut [0; CHUNK]).await) });
    let conn = Arc::clone(&c1);
    tasks.spawn(async move { ensure_timeout(write_until_error(&*conn).await) });
    all(tasks).await?;
    echo(c2);
    resync(&c1).await?;
    round_trip(&*c1).await
}

pub(super) async fn close_timeout<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    echo(c2);
    let mut tasks = JoinSet::new();
    let conn = Arc::clone(&c1);
    tasks.spawn(async move {
        sleep(Duration::from_millis(100)).await;
        // `close` ends reads and writes at once. It then waits for the other end to close, which
        // happens only after this case.
        tokio::spawn(async move { conn.close().await });
        Ok(())
    });
    let conn = Arc::clone(&c1);
    tasks.spawn(async move {
        let mut buf = [0; CHUNK];
        while conn.read(&mut buf).await.is_ok_and(|n| n > 0) {}
        Ok(())
    });
    tasks.spawn(async move {
        ensure!(write_until_error(&*c1).await.is_err());
        Ok(())
    });
    all(tasks).await
}

pub(super) async fn concurrent_methods<C: Duplex>(c1: Arc<C>, c2: Arc<C>) -> Result<()> {
    echo(c2);
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let conns: [Arc<C>; 6] = std::array::from_fn(|_| Arc::clone(&c1));
        let [read, write, both, past_read, past_write, addresses] = conns;
        tasks.spawn(async move {
            let _ = read.read(&mut [0; CHUNK]).await;
        });
        tasks.spawn(async move {
            let _ = write.write(&[0; CHUNK]).await;
        });
        tasks.spawn(async move { both.set_deadline(soon(10)) });
        tasks.spawn(async move { past_read.set_read_deadline(long_ago()) });
        tasks.spawn(async move { past_write.set_write_deadline(long_ago()) });
        tasks.spawn(async move { drop(addresses.addresses()) });
    }
    tasks.join_all().await;
    resync(&c1).await?;
    round_trip(&*c1).await
}
