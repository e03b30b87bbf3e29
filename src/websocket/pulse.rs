//! The clock of a WebSocket: pings (RFC 6455 §5.5.2), by which its users measure and which keep it alive, and the
//! timeouts of a connection on which nothing moves.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::{Config, KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT};
use crate::conn::Quiet;

/// An end that has received something, or cannot read on, and has not said so for this long gives a sign of life. The
/// other end's ping may wait behind a lot of data.
const SIGN: Duration = Duration::from_secs(10);

/// How long a peer may make no progress while it owes the proof that it has everything.
const STALL: Duration = Duration::from_secs(30);

/// How long the room for a large message is kept for the next one.
const ROOM: Duration = Duration::from_secs(5);

/// Without signs of life, a ping may wait behind all that was sent before it, which goes at least this fast (bytes a
/// second).
const SLOWEST: u64 = 8 << 10;

/// How much longer a peer may take to answer a close frame than to answer a ping: its program may have to see it first.
const PARTING: Duration = Duration::from_secs(120);

/// Keep-alive, as the knobs of a client set it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    /// After this long without a sign of life the peer is asked for one.
    pub(crate) interval: Duration,
    /// How long the peer may then be silent.
    pub(crate) timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> KeepAlive {
        KeepAlive { interval: KEEP_ALIVE_INTERVAL, timeout: KEEP_ALIVE_TIMEOUT }
    }
}

/// The timers of one WebSocket.
#[derive(Debug)]
pub(crate) struct Pulse {
    keep_alive: Option<KeepAlive>,
    quiet: Option<Box<Quiet>>,
    /// Both ends give signs of life.
    gives_signs: bool,
    /// The last sign of life: a byte from the peer, a full transport that took bytes again, or one that
    /// has got rid of all that waited in it.
    alive: Instant,
    /// The bytes that have come, and that the transport had taken, at the last look.
    read: u64,
    taken: u64,
    was_full: bool,
    was_blocked: bool,
    /// The bytes that the transport has taken since the last sign of life.
    unanswered: u64,
    /// When the peer was asked for a sign of life.
    asked: Option<Instant>,
    /// The time since which this side has received content or could not read, and has not said so.
    mute: Option<Instant>,
    /// Content has come since this side last gave a sign.
    has_received: bool,
    /// The time until which the room for a large message is kept.
    room: Option<Instant>,
    /// The number of the last ping.
    number: u64,
    in_flight: VecDeque<Flight>,
    /// The number of the ping whose answer proves that the peer has everything, and the last progress of the peer.
    proof: Option<(u64, Instant)>,
    /// No more pings can be sent, because a close frame was.
    closed: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The most pings whose answers are waited for. A peer can talk for days and answer none.
const MOST_IN_FLIGHT: usize = 64;

/// A ping whose answer has not come.
#[derive(Debug)]
struct Flight {
    number: u64,
    sent: Instant,
    callers: Vec<oneshot::Sender<Duration>>,
}

/// The next thing that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A ping with this payload must be sent.
    Ping(Bytes),
    /// A sign of life must be sent. `true` if content has come since the last one.
    Sign(bool),
    /// The peer is silent. The text says so.
    Silent(String),
    /// The peer lives, but does not take what was sent.
    Stuck,
    /// No large message has come for a while: its room must be freed.
    Room,
    /// Nothing has moved for the time of this knob. The text says so.
    Quiet(&'static str, String),
}

impl Pulse {
    /// With the knobs of a client or a listener.
    pub(crate) fn of(config: &Config, gives_signs: bool) -> Pulse {
        let timeout = config.keep_alive_timeout;
        let keep_alive = config.keep_alive_interval.map(|interval| KeepAlive { interval, timeout });
        Pulse::new(keep_alive, Quiet::new(config), gives_signs)
    }

    pub(crate) fn new(
        keep_alive: Option<KeepAlive>,
        quiet: Option<Box<Quiet>>,
        gives_signs: bool,
    ) -> Pulse {
        Pulse {
            keep_alive,
            quiet,
            gives_signs,
            alive: Instant::now(),
            read: 0,
            taken: 0,
            was_full: false,
            was_blocked: false,
            unanswered: 0,
            asked: None,
            mute: None,
            has_received: false,
            room: None,
            number: 0,
            in_flight: VecDeque::new(),
            proof: None,
            closed: false,
            timer: None,
        }
    }

    pub(super) fn quiet(&mut self) -> Option<&mut Quiet> {
        self.quiet.as_deref_mut()
    }

    /// Content has come.
    pub(super) fn received(&mut self) {
        self.has_received = true;
        self.goes_mute();
    }

    /// A large message has come, and others may follow.
    pub(super) fn keep_room(&mut self) {
        self.room = Some(Instant::now() + ROOM);
    }

    /// Nothing is read at present, so that the peer cannot be heard.
    pub(super) fn cannot_read(&mut self) {
        self.lives(Instant::now());
        self.goes_mute();
    }

    fn goes_mute(&mut self) {
        if self.gives_signs {
            self.mute.get_or_insert_with(Instant::now);
        }
    }

    /// The peer has made progress with what it was sent, or may have.
    pub(super) fn progress(&mut self) {
        if let Some((_, since)) = &mut self.proof {
            *since = Instant::now();
        }
    }

    fn lives(&mut self, now: Instant) {
        self.alive = now;
        self.asked = None;
        self.unanswered = 0;
    }

    /// Records how many bytes have come and gone, whether the transport refuses more, and whether some
    /// wait in it.
    pub(super) fn look(&mut self, read: u64, taken: u64, is_full: bool, is_blocked: bool) {
        let received = std::mem::replace(&mut self.read, read) != read;
        let took = taken - std::mem::replace(&mut self.taken, taken);
        let was_full = std::mem::replace(&mut self.was_full, is_full);
        let has_left = std::mem::replace(&mut self.was_blocked, is_blocked) && !is_blocked;
        if took > 0 {
            self.unanswered += took;
        }
        if received || (was_full && took > 0) || has_left {
            self.lives(Instant::now());
        }
    }

    /// The payload of a ping that callers wait for. `None` if one is in flight, whose answer they get as well.
    pub(super) fn ask(&mut self, callers: Vec<oneshot::Sender<Duration>>) -> Option<Bytes> {
        match self.in_flight.back_mut() {
            Some(flight) => {
                flight.callers.extend(callers);
                None
            }
            None => Some(self.ping(callers)),
        }
    }

    /// The payload of a ping behind everything that was sent, and its number.
    pub(super) fn ask_for_proof(&mut self) -> (Bytes, u64) {
        let payload = self.ping(Vec::new());
        self.proof = Some((self.number, Instant::now()));
        (payload, self.number)
    }

    fn ping(&mut self, mut callers: Vec<oneshot::Sender<Duration>>) -> Bytes {
        self.number += 1;
        if self.in_flight.len() == MOST_IN_FLIGHT
            && let Some(first) = self.in_flight.pop_front()
        {
            // The answer to a later one is as good.
            callers.extend(first.callers);
        }
        self.in_flight.push_back(Flight { number: self.number, sent: Instant::now(), callers });
        Bytes::copy_from_slice(&self.number.to_be_bytes())
    }

    /// A pong has come, which answers all pings up to its own (RFC 6455 §5.5.3). Returns the number of the proof, if it is
    /// one. Pongs that nobody has asked for are no fault.
    pub(super) fn answered(&mut self, payload: &[u8]) -> Option<u64> {
        let number = u64::from_be_bytes(payload.try_into().ok()?);
        let is_ours = self.in_flight.iter().any(|flight| flight.number == number);
        if !is_ours {
            return None;
        }
        while self.in_flight.front().is_some_and(|flight| flight.number <= number) {
            let Some(Flight { sent, callers, .. }) = self.in_flight.pop_front() else { break };
            for caller in callers {
                let _ = caller.send(sent.elapsed());
            }
        }
        let (proof, _) = self.proof.filter(|(proof, _)| *proof <= number)?;
        self.proof = None;
        Some(proof)
    }

    /// The number of the ping whose answer proves that the peer has everything, if it has not come.
    pub(super) fn awaited_proof(&self) -> Option<u64> {
        self.proof.map(|(number, _)| number)
    }

    /// A close frame was sent. Its answer takes the place of pongs, but for that of a proof.
    pub(super) fn close(&mut self) {
        self.closed = true;
        let proof = self.awaited_proof();
        self.in_flight.retain(|flight| Some(flight.number) == proof);
    }

    /// No more pongs come. Callers that wait for one are told so.
    pub(super) fn end(&mut self) {
        self.in_flight.clear();
    }

    /// The next thing that is due. After `None` the task is woken when something is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Due> {
        loop {
            let now = Instant::now();
            let mut next: Option<Instant> = None;
            if let Some(KeepAlive { interval, timeout }) = self.keep_alive {
                let at = match self.asked {
                    None => self.alive + interval,
                    Some(asked) if self.closed => asked + timeout + PARTING,
                    Some(asked) => asked + timeout + self.way_of_a_ping(),
                };
                if at <= now && self.asked.is_some() {
                    return Some(Due::Silent(self.epitaph(now, timeout)));
                }
                if at <= now {
                    self.asked = Some(now);
                    if self.closed {
                        continue;
                    }
                    return Some(Due::Ping(self.ping(Vec::new())));
                }
                next = Some(at);
            }
            if let Some(at) = self.mute.map(|since| since + SIGN) {
                if at <= now {
                    self.mute = None;
                    return Some(Due::Sign(std::mem::take(&mut self.has_received)));
                }
                next = next.into_iter().chain([at]).min();
            }
            // Without signs of life, nothing tells of the progress of a peer.
            let proof = self.proof.filter(|_| self.gives_signs);
            if let Some(at) = proof.map(|(_, since)| since + STALL) {
                if at <= now {
                    return Some(Due::Stuck);
                }
                next = next.into_iter().chain([at]).min();
            }
            if let Some(at) = self.room {
                if at <= now {
                    self.room = None;
                    return Some(Due::Room);
                }
                next = next.into_iter().chain([at]).min();
            }
            if let Some(quiet) = &self.quiet {
                if let Some((knob, text)) = quiet.verdict(now) {
                    return Some(Due::Quiet(knob, text));
                }
                next = next.into_iter().chain(quiet.due()).min();
            }
            if self.sleeps(cx, next?) {
                return None;
            }
        }
    }

    /// How much longer an answer may take because of what was sent before the ping.
    fn way_of_a_ping(&self) -> Duration {
        match self.gives_signs {
            true => Duration::ZERO,
            false => Duration::from_secs(self.unanswered / SLOWEST),
        }
    }

    /// Whether it is not yet `until`. A timer that fires earlier is not moved: signs of life are many.
    fn sleeps(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.is_elapsed() || timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx).is_pending()
    }

    fn epitaph(&self, now: Instant, timeout: Duration) -> String {
        let asked = if self.closed { "told the end" } else { "asked by a ping" };
        format!(
            "the peer has vanished: nothing has come from it for {:.1} s; it was {asked}, and something was \
             expected within {} s; connect again, or, where a peer may be silent for longer, set a longer \
             keep_alive_timeout",
            (now - self.alive).as_secs_f32(),
            timeout.as_secs_f32()
        )
    }
}

#[cfg(test)]
mod tests;
