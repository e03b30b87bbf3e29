//! PINGs (RFC 9113 §6.7) that measure the round trip, and the times of keep-alive.

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

/// The payload of a PING of which only the answer itself matters.
pub(super) const NUDGE: [u8; 8] = *b"h2conn\0\0";

/// The beginning of the payloads of PINGs that measure; a number follows.
const MARK: [u8; 4] = *b"h2rt";

/// Peers take many PINGs for an attack, and so does this library, so this is the shortest interval.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Duration>;

/// Measures round trips. One PING is in flight at a time, and all callers share it.
#[derive(Debug, Default)]
pub(super) struct Pinger {
    /// The number of PINGs that were sent, which is also the number of the last.
    sent: u32,
    /// When the PING in flight was sent, and the callers that wait for it.
    in_flight: Option<(Instant, Vec<Answer>)>,
    waiting: Vec<Answer>,
    /// Whether a PING must be sent even if no caller waits for it.
    wanted: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pinger {
    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Requests a PING without a caller. `false` if one is in flight already.
    pub(super) fn want(&mut self) -> bool {
        self.wanted = self.in_flight.is_none();
        self.wanted
    }

    /// A PING with this payload was answered. Returns the round trip's time, if it was the one in
    /// flight.
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

/// Watches a peer that is silent (keep-alive), and gives a sign of life to a peer that has had
/// nothing from this side.
///
/// A byte from the peer is a sign of life. So is a full transport that takes bytes again, because
/// the PING or its answer may be behind a lot of data. Bytes that a transport takes while it is not
/// full prove nothing, because they only go to the buffers of this machine.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// The bytes that the session had received and the transport had taken at the last look.
    received: u64,
    taken: u64,
    /// Whether the transport had left bytes over at the last look.
    full: bool,
    /// The time of the peer's last byte.
    heard: Instant,
    /// The last sign of life.
    alive: Instant,
    /// The time since which the peer has sent bytes, and this side has sent none.
    mute: Option<Instant>,
    /// When the peer was asked for a sign of life.
    asked: Option<Instant>,
}

/// The action on a peer's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing for this long.
    Later(Duration),
    /// Ask the peer for a sign of life. After that, nothing for this long.
    Ask(Duration),
    /// The peer has not answered.
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

    /// Records what a turn has moved. `true` if the peer has long received nothing from this side,
    /// though it sends: it may wait for a sign of life behind data that arrives slowly.
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

    /// How long the peer may still be silent before an action is due.
    pub(super) fn rest(&self, now: Instant, interval: Duration) -> Duration {
        interval.saturating_sub(now - self.alive)
    }

    /// No caller depends on the peer's answer. The next caller asks again.
    pub(super) fn forget(&mut self) {
        self.asked = None;
    }

    /// Checks the clock. A question that is due counts as asked.
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

    /// Describes a dead peer: what was seen, what was expected, and what to do.
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
