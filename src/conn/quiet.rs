//! Connections on which nothing moves: the timeouts that a user may set (`idle_timeout`,
//! `stall_timeout`). A connection without timeouts has no such state.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::delay_queue;

use super::Stream;
use crate::config::Config;

#[derive(Debug)]
pub(crate) struct Quiet {
    idle: Option<Duration>,
    stall: Option<Duration>,
    /// When a byte last came or went.
    moved: Instant,
    /// The time since which bytes wait to be sent and none was taken.
    waiting: Option<Instant>,
    /// The position of sending at the last look.
    position: u64,
    /// The timer of a link, and when it fires: never later than the next action is due.
    pub(crate) timer: Option<(delay_queue::Key, Instant)>,
}

impl Quiet {
    /// `None` where no timeout is set.
    pub(crate) fn new(config: &Config) -> Option<Box<Quiet>> {
        let Config { idle_timeout: idle, stall_timeout: stall, .. } = *config;
        (idle.is_some() || stall.is_some()).then(|| {
            let moved = Instant::now();
            Box::new(Quiet { idle, stall, moved, waiting: None, position: 0, timer: None })
        })
    }

    /// Records what has moved of a stream. `received` says whether bytes have come.
    pub(crate) fn look_at(&mut self, stream: &Stream, received: bool) {
        let (written, sent) = stream.outbox.progress();
        let position = stream.outbox.settle() + sent;
        self.look(Instant::now(), received, position, sent < written);
    }

    /// Records what has moved. `position` is that of sending, and `waits` says whether bytes wait.
    pub(crate) fn look(&mut self, now: Instant, received: bool, position: u64, waits: bool) {
        let sent = std::mem::replace(&mut self.position, position) != position;
        if received || sent {
            self.moved = now;
        }
        if sent || !waits {
            self.waiting = None;
        }
        if waits {
            self.waiting.get_or_insert(now);
        }
    }

    /// Waiting bytes have waited for other streams until then, not for the peer.
    pub(crate) fn excuse(&mut self, until: Instant) {
        self.waiting = self.waiting.map(|since| since.max(until));
    }

    fn idle_at(&self) -> Option<Instant> {
        self.idle.map(|limit| self.moved + limit)
    }

    fn stalled_at(&self) -> Option<Instant> {
        Some(self.waiting? + self.stall?)
    }

    /// When the next action is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.idle_at().into_iter().chain(self.stalled_at()).min()
    }

    /// The knob whose time is up, and the text for the user of the connection.
    pub(crate) fn verdict(&self, now: Instant) -> Option<(&'static str, String)> {
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs_f32();
        if is_over(self.stalled_at()) {
            let message = format!(
                "reset here: bytes wait to be sent, and the peer has taken none for {} s, the \
                 stall_timeout of this side; the peer does not read, or is too slow for it",
                seconds(self.stall)
            );
            return Some(("stall_timeout", message));
        }
        is_over(self.idle_at()).then(|| {
            let message = format!(
                "reset here: no byte has come or gone for {} s, the idle_timeout of this side; send \
                 something now and then, or set a longer one",
                seconds(self.idle)
            );
            ("idle_timeout", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn quiet(idle: u64, stall: u64) -> Quiet {
        let limit = |seconds| (seconds > 0).then_some(seconds * SECOND);
        let (idle_timeout, stall_timeout) = (limit(idle as u32), limit(stall as u32));
        let config = Config { idle_timeout, stall_timeout, ..Config::default() };
        *Quiet::new(&config).expect("a timeout is set")
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_who_neither_sends_nor_receives() {
        let mut conn = quiet(10, 0);
        for second in 0..100_u64 {
            conn.look(Instant::now(), second % 2 == 0, second.div_ceil(2), false);
            assert_eq!(conn.due(), Some(Instant::now() + 10 * SECOND));
            advance(SECOND).await;
        }
        advance(8 * SECOND).await;
        assert_eq!(conn.verdict(Instant::now()), None);
        advance(SECOND).await;
        assert!(
            conn.verdict(Instant::now()).is_some_and(|(_, text)| text.contains("idle_timeout"))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_is_who_has_something_to_send_and_gets_rid_of_none() {
        let mut conn = quiet(0, 10);
        assert_eq!(conn.due(), None);
        let mut look = |received, position, waits| {
            conn.look(Instant::now(), received, position, waits);
            (conn.due().is_some(), conn.verdict(Instant::now()).is_some())
        };
        advance(100 * SECOND).await;
        assert_eq!(look(false, 0, true), (true, false));
        advance(9 * SECOND).await;
        assert_eq!(look(true, 1, true), (true, false));
        advance(9 * SECOND).await;
        assert_eq!(look(true, 1, true), (true, false));
        advance(SECOND).await;
        assert_eq!(look(true, 1, true), (true, true), "what comes in is no excuse");
        assert_eq!(look(false, 2, false), (false, false));

        let mut conn = quiet(0, 10);
        conn.look(Instant::now(), false, 0, true);
        advance(10 * SECOND).await;
        assert!(conn.verdict(Instant::now()).is_some());
        conn.excuse(Instant::now() - SECOND);
        assert_eq!(conn.verdict(Instant::now()), None, "its siblings have sent");
        assert_eq!(conn.due(), Some(Instant::now() + 9 * SECOND));
    }
}
