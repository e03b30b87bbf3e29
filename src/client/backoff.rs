//! The pauses between attempts to connect.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::Error;

/// The pauses of a client that stays: one that connects again whenever its connection is lost.
///
/// The first pause is 200 ms; each is twice the one before, up to a minute. Each is up to a quarter longer or shorter at
/// random, so that the clients of a server that restarts do not all come back at once. An attempt or a connection that has lasted
/// longer than the longest pause makes the next pause the first one again. Success alone does not: a server that
/// accepts and ends each connection at once would be asked without a pause.
///
/// # Examples
///
/// A client that stays until a session ends well, or until no attempt can help. If a session that
/// the server has ended must go on as well, take [`pause`](Backoff::pause) for it too.
///
/// ```
/// use h2conn::{Backoff, Client, Conn};
///
/// async fn stay(client: &Client, url: &str) -> h2conn::Result<()> {
///     let mut backoff = Backoff::new();
///     loop {
///         let error = match client.connect(url).await {
///             Ok((conn, _)) => match session(conn).await {
///                 Ok(()) => return Ok(()),
///                 Err(error) => error,
///             },
///             Err(error) => error,
///         };
///         let Some(pause) = backoff.after(&error) else { return Err(error) };
///         eprintln!("{error}; connecting again in {pause:.1?}");
///         tokio::time::sleep(pause).await;
///     }
/// }
///
/// /// Says where the last session ended, and goes on from there.
/// async fn session(conn: Conn) -> h2conn::Result<()> {
///     // [ Use conn … ]
///     conn.close().await
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    pauses: u32,
    /// The end of the last pause, when the attempt began that the next pause follows.
    began: Instant,
}

/// An hour: a server may ask for no longer pause than this.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// A year: timers do not reach beyond some years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new()
    }
}

impl Backoff {
    /// Pauses of 200 ms to a minute. The first attempt begins now.
    pub fn new() -> Backoff {
        Backoff {
            min: Duration::from_millis(200),
            max: Duration::from_secs(60),
            pauses: 0,
            began: Instant::now(),
        }
    }

    /// Sets the first pause, give or take a quarter. Default: 200 ms.
    pub fn min(mut self, pause: Duration) -> Self {
        self.min = pause;
        self
    }

    /// Sets the longest pause, give or take a quarter. Default: a minute.
    pub fn max(mut self, pause: Duration) -> Self {
        self.max = pause;
        self
    }

    /// The pause after an attempt, or a connection, that ended with `error`: `None` if another attempt would end in
    /// the same way ([`Error::is_permanent`]). A pause that the server has asked for
    /// ([`Error::retry_after`]) is kept, up to an hour.
    pub fn after(&mut self, error: &Error) -> Option<Duration> {
        if error.is_permanent() {
            return None;
        }
        let asked = error.retry_after().unwrap_or_default().min(LONGEST_ASKED);
        Some(self.pause_of_at_least(asked))
    }

    /// The pause after an attempt, or a connection, that ended now.
    pub fn pause(&mut self) -> Duration {
        self.pause_of_at_least(Duration::ZERO)
    }

    /// Waits for as long as [`pause`](Backoff::pause) says.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the wait; the next pause is longer all the same.
    pub async fn wait(&mut self) {
        sleep(self.pause()).await;
    }

    /// Makes the next pause the first one again: the program knows that all is well.
    pub fn reset(&mut self) {
        self.pauses = 0;
    }

    fn pause_of_at_least(&mut self, least: Duration) -> Duration {
        if self.began.elapsed() > self.max {
            self.reset();
        }
        let pause = self.min.saturating_mul(1 << self.pauses.min(20)).min(self.max).min(LONGEST);
        self.pauses = self.pauses.saturating_add(1);
        // A new hasher's keys are random: the standard library's only source of chance.
        let dice = RandomState::new().build_hasher().finish() % 1000;
        let pause = pause.mul_f64(0.75 + dice as f64 / 2000.0).max(least);
        self.began = Instant::now() + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::error::ErrorKind;

    fn is_around(pause: Duration, millis: u64) {
        let ratio = pause.as_secs_f64() * 1000.0 / millis as f64;
        assert!((0.75..=1.25).contains(&ratio), "{pause:?} is not around {millis} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_the_longest_and_begin_anew_after_a_connection_that_lasted() {
        let mut backoff = Backoff::new();
        for millis in [200, 400, 800] {
            is_around(backoff.pause(), millis);
        }
        for _ in 0..100 {
            backoff.wait().await;
        }
        let pause = backoff.pause();
        is_around(pause, 60_000);
        // The pause itself does not count.
        advance(pause + Duration::from_secs(59)).await;
        let pause = backoff.pause();
        is_around(pause, 60_000);
        advance(pause + Duration::from_secs(61)).await;
        is_around(backoff.pause(), 200);
        is_around(backoff.pause(), 400);
        backoff.reset();
        is_around(backoff.pause(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_limits_are_kept() {
        let mut none = Backoff::new().min(Duration::ZERO).max(Duration::ZERO);
        assert_eq!(none.pause(), Duration::ZERO);
        let mut one = Backoff::new().min(Duration::from_secs(9)).max(Duration::from_secs(1));
        is_around(one.pause(), 1000);
        let mut most = Backoff::new().min(Duration::MAX).max(Duration::MAX);
        assert!(most.pause() > Duration::from_secs(200 * 24 * 60 * 60));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_would_come_again_ends_the_attempts() {
        let mut backoff = Backoff::new();
        let error = Error::new(ErrorKind::InvalidInput, "no");
        assert_eq!(backoff.after(&error), None);
        is_around(backoff.after(&Error::new(ErrorKind::Reset, "gone")).expect("a pause"), 200);
    }
}
