//! The end of a transport whose client may still send.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::link::{Socket, poll_discard};

/// The most bytes that are read of a client in vain.
const MOST: usize = 256 << 20;

/// How long a client may be silent if its end may take `limit`: as in nginx, 5 of 30 seconds.
pub(super) fn silence(limit: Duration) -> Duration {
    limit / 6
}

/// Ends this side of a transport, and then drops what the client still sends, until the client ends
/// its own side (RFC 9112 §9.6). A socket that is closed at once answers later bytes by a reset, and
/// the client loses what it has not read yet. Gives up after `limit`, and on a client that is silent
/// for a sixth of it or sends more than 256 MiB.
pub(super) async fn part(io: &mut (impl Socket + ?Sized), limit: Duration) {
    let parting = async {
        io.shutdown().await?;
        let mut left = MOST;
        loop {
            let dropped = poll_fn(|cx| poll_discard(Pin::new(&mut *io), cx));
            match timeout(silence(limit), dropped).await {
                Ok(n) if n > 0 && n <= left => left -= n,
                _ => return io::Result::Ok(()),
            }
        }
    };
    // A transport that has failed has nothing more to lose.
    let _ = timeout(limit, parting).await;
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Parts from a client that does as `client` says. Returns how long that has taken.
    async fn parted<F>(client: impl FnOnce(DuplexStream) -> F) -> Duration
    where
        F: Future<Output = DuplexStream> + Send + 'static,
    {
        let (mut near, far) = duplex(64 << 10);
        let client = tokio::spawn(client(far));
        let began = Instant::now();
        part(&mut near, LIMIT).await;
        let took = began.elapsed();
        drop(near);
        client.await.expect("no panic");
        took
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_ends_its_side_is_let_go_at_once() {
        let took = parted(async |mut io| {
            io.write_all(&[7; 300_000]).await.expect("the server reads");
            assert_eq!(io.read(&mut [0]).await.expect("an end"), 0, "this side has ended first");
            io.shutdown().await.expect("an end");
            io
        });
        assert_eq!(took.await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_is_given_up() {
        let took = parted(async |mut io| {
            sleep(Duration::from_secs(4)).await;
            io.write_all(&[7]).await.expect("the server reads");
            assert_eq!(io.read(&mut [0]).await.expect("an end"), 0);
            while io.write_all(&[]).await.is_ok() && io.write_all(&[7]).await.is_ok() {
                sleep(Duration::from_secs(6)).await;
            }
            io
        });
        // The byte of the fourth second, and the one right after it.
        assert_eq!(took.await, Duration::from_secs(9));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_slowly_is_given_up_at_last() {
        let took = parted(async |mut io| {
            while io.write_all(&[7]).await.is_ok() {
                sleep(Duration::from_secs(4)).await;
            }
            io
        });
        assert_eq!(took.await, LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_without_end_is_given_up() {
        let took = parted(async |mut io| {
            while io.write_all(&[7; 64 << 10]).await.is_ok() {}
            io
        });
        assert_eq!(took.await, Duration::ZERO);
    }
}
