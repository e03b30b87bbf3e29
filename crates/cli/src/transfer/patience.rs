//! How long a peer may keep a transfer waiting.

use std::fmt;
use std::future::ready;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Error, Result, bail};
use h2conn::Conn;
use tokio::time::sleep;

/// How often within its limit a wait checks whether bytes have moved. A wait ends late by at most
/// this part of its limit: 1 s by default.
const LOOKS: u32 = 60;

/// A peer that must digest bytes before it answers gets more time. This is how many bytes a slow
/// disk reads in a second.
const DIGESTED: u64 = 16 << 20;

/// The limit of each wait for a peer.
///
/// The library's own idle timeout would also count the time that this side's disk and digests take.
/// By default a wait has no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience(Option<Duration>);

/// The peer has let nothing move for this long.
#[derive(Debug)]
pub(crate) struct Idle(Duration);

impl Patience {
    pub(crate) fn new(limit: Option<Duration>) -> Patience {
        Patience(limit)
    }

    /// The limit for a peer that must first read and digest this many bytes.
    pub(crate) fn to_digest(self, bytes: u64) -> Patience {
        let more = Duration::from_secs(bytes / DIGESTED);
        Patience(self.0.map(|limit| limit.saturating_add(more)))
    }

    /// Waits for an operation on this Conn.
    ///
    /// # Errors
    ///
    /// Those of the operation, and [`Idle`] if no byte has arrived or left for the limit.
    pub(crate) async fn wait<T, E: Into<Error>>(
        self,
        conn: &Conn,
        operation: impl Future<Output = Result<T, E>>,
    ) -> Result<T> {
        let Some(limit) = self.0 else { return operation.await.map_err(Into::into) };
        let mut operation = pin!(operation);
        // Most operations are ready at once, and need no clock.
        tokio::select! {
            biased;
            done = &mut operation => return done.map_err(Into::into),
            () = ready(()) => {}
        }
        let moved = || {
            let stats = conn.stats();
            (stats.bytes_sent, stats.bytes_received)
        };
        let (mut before, mut looks) = (moved(), 0);
        while looks < LOOKS {
            tokio::select! {
                biased;
                done = &mut operation => return done.map_err(Into::into),
                () = sleep(limit / LOOKS) => {}
            }
            let now = moved();
            looks = if now == before { looks + 1 } else { 0 };
            before = now;
        }
        bail!(Idle(limit))
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f32();
        write!(
            f,
            "reset here: nothing has moved for {seconds} s; --idle-timeout sets how long it may"
        )
    }
}

impl std::error::Error for Idle {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::future::pending;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_nothing_has_moved_for_its_limit() {
        let (near, _far) = h2conn::testing::pair().await.unwrap();
        let begun = Instant::now();
        let error = Patience::new(Some(LIMIT)).wait(&near, near.read_chunk()).await.unwrap_err();
        assert!(error.is::<Idle>() && error.to_string().contains("60 s"), "{error}");
        assert!((LIMIT..LIMIT + LIMIT / LOOKS).contains(&begun.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_enough() {
        let (near, far) = h2conn::testing::pair().await.unwrap();
        let begun = Instant::now();
        let dripping = async {
            for _ in 0..5 {
                sleep(LIMIT / 2).await;
                far.write_chunk(Bytes::from_static(b"x")).await.unwrap();
            }
            pending().await
        };
        let wait = Patience::new(Some(LIMIT));
        let waiting = wait.wait(&near, pending::<h2conn::Result<()>>());
        let error =
            tokio::select! { error = waiting => error.unwrap_err(), () = dripping => return };
        assert!(error.is::<Idle>() && begun.elapsed() >= LIMIT * 7 / 2, "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_has_much_to_digest_has_longer() {
        let (near, _far) = h2conn::testing::pair().await.unwrap();
        let begun = Instant::now();
        let patience = Patience::new(Some(LIMIT)).to_digest(1 << 30);
        patience.wait(&near, near.read_chunk()).await.unwrap_err();
        assert!(begun.elapsed() >= LIMIT + Duration::from_secs(64));
    }

    #[tokio::test]
    async fn errors_of_what_is_done_stay_what_they_are() {
        let (near, far) = h2conn::testing::pair().await.unwrap();
        far.reset(h2conn::Reason::CANCEL);
        let error = Patience::default().wait(&near, near.read_chunk()).await.unwrap_err();
        assert!(error.is::<h2conn::Error>(), "{error}");
    }
}
