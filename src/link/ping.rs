//! One PING at a time: h2 lets its user have one, so everyone who wants to know the round trip, or
//! whether the peer is still there, shares it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use super::wire::Reading;
use crate::config::Config;

/// Peers take many PINGs for an attack, ours included, so they are not sent faster than this.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) type Answer = oneshot::Sender<Duration>;

#[derive(Debug)]
pub(super) struct Pinger {
    /// `None` when the link has ended.
    ping_pong: Option<PingPong>,
    /// The PING on its way, and who waits for it.
    in_flight: Option<(Instant, Vec<Answer>)>,
    waiting: Vec<Answer>,
    /// One is to be sent even if nobody waits for it.
    wanted: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pinger {
    pub(super) fn new(ping_pong: Option<PingPong>) -> Pinger {
        Pinger { ping_pong, in_flight: None, waiting: Vec::new(), wanted: false, pause: None }
    }

    pub(super) fn ask(&mut self, answer: Answer) {
        self.waiting.push(answer);
    }

    /// Sends a PING for its own sake; `false` if one is on its way already.
    pub(super) fn want(&mut self) -> bool {
        self.wanted = self.in_flight.is_none();
        self.wanted
    }

    /// Sends what is asked for, and hands out what has come: the time of a round trip, if one has
    /// just ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Duration> {
        let measured = self.poll_pong(cx).unwrap_or_else(|_| {
            // The link ends in its own way; dropping the askers tells them.
            self.ping_pong = None;
            self.in_flight = None;
            None
        });
        if self.ping_pong.is_none() {
            self.waiting.clear();
        }
        self.send(cx);
        measured
    }

    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Result<Option<Duration>, h2::Error> {
        let (Some(ping_pong), Some((sent, _))) = (&mut self.ping_pong, &self.in_flight) else {
            return Ok(None);
        };
        let (sent, Poll::Ready(pong)) = (*sent, ping_pong.poll_pong(cx)) else { return Ok(None) };
        pong?;
        let time = sent.elapsed();
        for asker in self.in_flight.take().into_iter().flat_map(|(_, askers)| askers) {
            let _ = asker.send(time);
        }
        self.pause = Some(Box::pin(sleep_until(sent + PAUSE)));
        Ok(Some(time))
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        self.waiting.retain(|asker| !asker.is_closed());
        if (self.waiting.is_empty() && !self.wanted) || self.in_flight.is_some() {
            return;
        }
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
            return;
        }
        self.pause = None;
        let Some(ping_pong) = &mut self.ping_pong else { return };
        if ping_pong.send_ping(Ping::opaque()).is_ok() {
            self.in_flight = Some((Instant::now(), std::mem::take(&mut self.waiting)));
            self.wanted = false;
            // Registers for the answer; it cannot be there yet.
            let _ = ping_pong.poll_pong(cx);
        }
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
    /// What the wire had received and the transport taken at the last look.
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
    pub(super) fn look(&mut self, reading: &Reading, interval: Duration) -> bool {
        let received = reading.received != self.received;
        let took = reading.taken != self.taken;
        let was_full = std::mem::replace(&mut self.full, reading.taken < reading.accepted);
        if !received && !took {
            return false;
        }
        (self.received, self.taken) = (reading.received, reading.taken);
        let now = Instant::now();
        if received {
            self.heard = now;
        }
        if received || was_full {
            self.alive = now;
            self.asked = None;
        }
        if took {
            self.mute = None;
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

    fn reading(received: u64, taken: u64, accepted: u64) -> Reading {
        Reading { received, taken, accepted, ..Reading::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_asked_and_then_dead_and_a_byte_begins_anew() {
        let mut peer = KeepAlive::new(Instant::now());
        let mut due = || {
            let due = peer.due(Instant::now(), INTERVAL, TIMEOUT);
            let heard = match due {
                Due::Dead => peer.look(&reading(1, 0, 0), INTERVAL),
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
        let mut after = |reading: Reading| {
            peer.look(&reading, INTERVAL);
            peer.due(Instant::now(), INTERVAL, TIMEOUT)
        };
        advance(SECOND).await;
        assert_eq!(after(reading(0, 10, 10)), Due::Later(INTERVAL - SECOND));
        advance(SECOND).await;
        assert_eq!(after(reading(0, 15, 20)), Due::Later(INTERVAL - 2 * SECOND));
        advance(SECOND).await;
        assert_eq!(after(reading(0, 20, 20)), Due::Later(INTERVAL));
        advance(SECOND).await;
        assert_eq!(after(reading(0, 30, 30)), Due::Later(INTERVAL - SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_talked_to_and_says_nothing_gives_a_sign_of_life_each_half_interval() {
        let mut peer = KeepAlive::new(Instant::now());
        let mut signs = Vec::new();
        for second in 0..60 {
            if peer.look(&reading(second + 1, 0, 0), INTERVAL) {
                signs.push(second);
            }
            advance(SECOND).await;
        }
        assert_eq!(signs, [15, 31, 47]);
        for second in 60..120 {
            assert!(
                !peer.look(&reading(second + 1, second, second), INTERVAL),
                "it says something"
            );
            advance(SECOND).await;
        }
        advance(INTERVAL).await;
        assert!(!peer.look(&reading(1000, 119, 119), INTERVAL), "one byte may yet be answered");
    }
}
