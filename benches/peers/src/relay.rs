//! A line between the two ends that delays and limits their bytes. It has a thread of its own.
//!
//! Each direction is a queue: a byte leaves one delay after it entered, and no faster than the
//! rate. The queue holds the bytes on their way and as many again. When it is full, no more are
//! read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Line {
    /// The round trip of the line between the ends, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub(crate) round_trip: u64,
    /// The rate of the line in each direction, in Mbit/s; 0 means no limit.
    #[arg(long, default_value_t = 0)]
    pub(crate) rate: u64,
}

/// The most bytes of one read.
const PIECE: usize = 64 << 10;

impl Line {
    pub(crate) fn is_plain(self) -> bool {
        self.round_trip == 0 && self.rate == 0
    }

    fn delay(self) -> Duration {
        Duration::from_millis(self.round_trip) / 2
    }

    fn time(self, bytes: usize) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_nanos(bytes as u64 * 8_000 / rate),
        }
    }

    fn room(self) -> usize {
        match self.rate {
            0 => 64 << 20,
            rate => (rate as usize * 125 * self.round_trip as usize).max(4 * PIECE),
        }
    }
}

/// Starts a relay before `server`, and returns its address.
pub(crate) fn before(server: SocketAddr, line: Line) -> Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (near, _) = listener.accept().await?;
                let far = TcpStream::connect(server).await?;
                near.set_nodelay(true)?;
                far.set_nodelay(true)?;
                let ((a, b), (c, d)) = (near.into_split(), far.into_split());
                tokio::spawn(carry(a, d, line));
                tokio::spawn(carry(c, b, line));
            }
            #[expect(unreachable_code, reason = "it says what the errors are")]
            anyhow::Ok(())
        })
    });
    Ok(addr)
}

/// Carries one direction.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) -> Result<()> {
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let (mut queued, mut open) = (0, true);
    // The time at which the line has carried all bytes so far.
    let mut free = Instant::now();
    while open || !queue.is_empty() {
        let due = queue.front().map(|(due, _)| *due);
        let mut piece = Vec::with_capacity(PIECE);
        tokio::select! {
            read = from.read_buf(&mut piece), if open && queued < line.room() => {
                open = read? > 0;
                free = free.max(Instant::now()) + line.time(piece.len());
                queued += piece.len();
                queue.push_back((free + line.delay(), piece));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                // A timer is precise to a millisecond, so send everything that is due by then.
                while let Some((due, _)) = queue.front()
                    && *due <= Instant::now()
                    && let Some((_, piece)) = queue.pop_front()
                {
                    queued -= piece.len();
                    to.write_all(&piece).await?;
                }
            }
        }
    }
    Ok(to.shutdown().await?)
}
