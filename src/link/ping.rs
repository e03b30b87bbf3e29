//! PINGs (RFC 9113 §6.7) that ask whether the peer is there, and how long a round trip takes.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::session::Moved;
use crate::config::Config;

/// The payload of the PING behind a server's first GOAWAY.
pub(super) const SHUTDOWN: [u8; 8] = *b"h2conn\0\x01";

/// The payload of a PING whose answer is only a sign of life.
pub(super) const NUDGE: [u8; 8] = *b"h2conn\0\0";

/// The beginning of the payloads of PINGs that measure; a number follows.
const MARK: [u8; 4] = *b"h2rt";

/// Peers take many PINGs for an attack, ours included, so they are not sent faster than this.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Duration>;

/// Measures round trips. One PING is on its way at a time, and everybody who wants to know shares it.
#[derive(Debug, Default)]
pub(super) struct Pinger {
    /// How many were sent, which is the number of the last.
    sent: u32,
    /// When the PING on its way was sent, and who waits for it.
    in_flight: Option<(Instant, Vec<Answer>)>,
    waiting: Vec<Answer>,
    /// One must be sent even if nobody waits for it.
    wanted: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pinger {
    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Sends a PING for its own sake; `false` if one is on its way already.
    pub(super) fn want(&mut self) -> bool {
        self.wanted = self.in_flight.is_none();
        self.wanted
    }

    /// A PING with this payload was answered: the time of the round trip, if it was the one on its way.
    pub(super) fn answered(&mut self, payload: [u8; 8]) -> Option<Duration> {
        if payload != self.payload() {
            return None;
        }
        let (sent, askers) = self.in_flight.take()?;
        let time = sent.elapsed();
        for asker in askers {
            let _ = asker.send(time);
        }
        self.pause = Some(Box::pin(sleep_until(sent + PAUSE)));
        Some(time)
    }

    /// The payload of the PING that must be sent now, if one must.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<[u8; 8]> {
        if self.in_flight.is_some() {
            return None;
        }
        self.waiting.retain(|asker| !asker.is_closed());
        if self.waiting.is_empty() && !self.wanted {
            return None;
        }
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
            return None;
        }
        self.pause = None;
        self.sent = self.sent.wrapping_add(1);
        self.in_flight = Some((Instant::now(), std::mem::take(&mut self.waiting)));
        self.wanted = false;
        Some(self.payload())
    }

    fn payload(&self) -> [u8; 8] {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&MARK);
        payload[4..].copy_from_slice(&self.sent.to_be_bytes());
        payload
    }
}

/// Watches over a peer that says nothing (keep-alive), and tells one that hears nothing of this
/// side that it is there.
///
/// A byte from the peer proves that it lives, and so does a transport that was full and takes
/// bytes again: the PING, or its answer, may be behind a lot of data. What a transport takes that
/// was not full proves nothing; it goes to the buffers of this machine.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The bytes that the session had received, and the transport taken, at the last look.
    received: u64,
    taken: u64,
    /// The transport had left something then.
    full: bool,
    /// The peer's last byte.
    heard: Instant,
    /// The last proof of life.
    alive: Instant,
    /// The peer has been talking since, and this side has sent nothing.
    mute: Option<Instant>,
    /// When the peer was asked whether it lives.
    asked: Option<Instant>,
}

/// What is to be done about a peer's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing, for so long.
    Later(Duration),
    /// It is to be asked whether it lives; then there is nothing to do for so long.
    Ask(Duration),
    /// It has not answered.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(now: Instant) -> KeepAlive {
        KeepAlive {
            received: 0,
            taken: 0,
            full: false,
            heard: now,
            alive: now,
            mute: None,
            asked: None,
        }
    }

    /// Takes note of what a turn has moved. `true` if the peer has long had nothing from this side,
    /// though it talks: it may be waiting for a sign of life, behind data that is slow to get here.
    pub(super) fn look(&mut self, moved: &Moved, interval: Duration) -> bool {
        let received = moved.received != self.received;
        let took = moved.taken != self.taken;
        let was_full = std::mem::replace(&mut self.full, moved.taken < moved.accepted);
        if !received && !took {
            return false;
        }
        (self.received, self.taken) = (moved.received, moved.taken);
        if took {
            self.mute = None;
        }
        if !received && !was_full {
            return false;
        }
        let now = Instant::now();
        if received {
            self.heard = now;
        }
        self.alive = now;
        self.asked = None;
        if took {
            return false;
        }
        let since = *self.mute.get_or_insert(now);
        let overdue = now - since >= interval / 2 && !self.full;
        if overdue {
            self.mute = None;
        }
        overdue
    }

    /// How long the peer may still be silent before something is due.
    pub(super) fn rest(&self, now: Instant, interval: Duration) -> Duration {
        interval.saturating_sub(now - self.alive)
    }

    /// Nobody is concerned by what the peer answers, or not. Whoever comes next asks anew.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    /// Looks at the clock. What is due to be asked counts as asked.
    pub(super) fn due(&mut self, now: Instant, interval: Duration, timeout: Duration) -> Due {
        match self.asked {
            None => match self.rest(now, interval) {
                Duration::ZERO => {
                    self.asked = Some(now);
                    Due::Ask(timeout.min(interval))
                }
                rest => Due::Later(rest),
            },
            Some(asked) => match timeout.saturating_sub(now - asked) {
                Duration::ZERO => Due::Dead,
                rest => Due::Later(rest),
            },
        }
    }

    /// Says what was seen of a dead peer, what was expected, and what to do.
    pub(super) fn epitaph(&self, now: Instant, waiting: usize, config: &Config) -> String {
        let behind = match waiting {
            0 => String::new(),
            n => format!(", and the transport takes none of {n} bytes that wait"),
        };
        format!(
            "the peer has vanished: nothing has come from it for {:.1} s{behind}; it was asked by a \
             PING, and something was expected within {} s; connect again, or, where a peer may be \
             silent for longer, set a longer keep_alive_timeout",
            (now - self.heard).as_secs_f32(),
            config.keep_alive_timeout.as_secs_f32()
        )
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(15);
    const SECOND: Duration = Duration::from_secs(1);

    fn moved(received: u64, taken: u64, accepted: u64) -> Moved {
        Moved { received, taken, accepted, ..Moved::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_asked_and_then_dead_and_a_byte_begins_anew() {
        let mut peer = KeepAlive::new(Instant::now());
        let mut due = || {
            let due = peer.due(Instant::now(), INTERVAL, TIMEOUT);
            let heard = match due {
                Due::Dead => peer.look(&moved(1, 0, 0), INTERVAL),
                _ => false,
            };
            assert!(!heard);
            due
        };
        assert_eq!(due(), Due::Later(INTERVAL));
        advance(INTERVAL - SECOND).await;
        assert_eq!(due(), Due::Later(SECOND));
        advance(SECOND).await;
        assert_eq!(due(), Due::Ask(TIMEOUT));
        assert_eq!(due(), Due::Later(TIMEOUT));
        advance(TIMEOUT).await;
        assert_eq!(due(), Due::Dead);
        assert_eq!(due(), Due::Later(INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_a_question_that_nobody_waited_for_asks_anew() {
        let mut peer = KeepAlive::new(Instant::now());
        advance(INTERVAL).await;
        assert_eq!(peer.due(Instant::now(), INTERVAL, TIMEOUT), Due::Ask(TIMEOUT));
        advance(TIMEOUT).await;
        peer.forget();
        advance(10 * SECOND).await;
        assert_eq!(peer.due(Instant::now(), INTERVAL, TIMEOUT), Due::Ask(TIMEOUT));
        advance(TIMEOUT).await;
        assert_eq!(peer.due(Instant::now(), INTERVAL, TIMEOUT), Due::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_transport_that_was_full_proves_life_by_what_it_takes() {
        let mut peer = KeepAlive::new(Instant::now());
        let mut after = |now: Moved| {
            peer.look(&now, INTERVAL);
            peer.due(Instant::now(), INTERVAL, TIMEOUT)
        };
        advance(SECOND).await;
        assert_eq!(after(moved(0, 10, 10)), Due::Later(INTERVAL - SECOND));
        advance(SECOND).await;
        assert_eq!(after(moved(0, 15, 20)), Due::Later(INTERVAL - 2 * SECOND));
        advance(SECOND).await;
        assert_eq!(after(moved(0, 20, 20)), Due::Later(INTERVAL));
        advance(SECOND).await;
        assert_eq!(after(moved(0, 30, 30)), Due::Later(INTERVAL - SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_talked_to_and_says_nothing_gives_a_sign_of_life_each_half_interval() {
        let mut peer = KeepAlive::new(Instant::now());
        let mut signs = Vec::new();
        for second in 0..60 {
            if peer.look(&moved(second + 1, 0, 0), INTERVAL) {
                signs.push(second);
            }
            advance(SECOND).await;
        }
        assert_eq!(signs, [15, 31, 47]);
        for second in 60..120 {
            assert!(!peer.look(&moved(second + 1, second, second), INTERVAL), "it says something");
            advance(SECOND).await;
        }
        advance(INTERVAL).await;
        assert!(!peer.look(&moved(1000, 119, 119), INTERVAL), "one byte may yet be answered");
    }
}
