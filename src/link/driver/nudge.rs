//! A PING for requests that have no answer yet.
//!
//! Some proxies keep the head of a response until they have more to send to the client: nginx 1.22
//! does so behind TLS, with `grpc_pass`. The acknowledgement of a PING is more to send. Without it,
//! a server that says nothing yet would seem not to answer until the PING of keep-alive.

use std::collections::VecDeque;
use std::time::Duration;

use h2conn_engine::StreamId;
use tokio::time::Instant;

use super::{Driver, Timer};
use crate::link::ids::Place;
use crate::link::ping;

/// How long a request waits for its answer before the PING. A server in the same place as its proxy
/// has answered by then, so most requests cause no PING, and a user hardly feels the wait.
const WAIT: Duration = Duration::from_millis(100);

/// Requests that were sent within this time of the first share its PING.
const TOGETHER: Duration = Duration::from_millis(25);

/// The PINGs, since the server's last HEADERS or DATA, after which no request causes another. Those of
/// keep-alive do not count, because a Conn that was silent for a minute has had two of them. Servers
/// of gRPC end a link at the fourth of any kind; then the pace of keep-alive falls, and no request
/// causes a PING.
const MOST: u64 = 2;

/// The requests that may need a PING. One timer for all of them is set while there are any, so that
/// a request costs a place in a queue.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// The last requests, and when they were sent. A request that is answered, or has had its PING,
    /// is removed when the timer fires.
    asked: VecDeque<(Instant, StreamId)>,
    /// The number of PINGs that had been sent when the server's last HEADERS or DATA came, and those of
    /// keep-alive since.
    pings: u64,
}

impl Driver {
    /// A request was sent.
    pub(super) fn has_asked(&mut self, id: StreamId, now: Instant) {
        if self.nudge.asked.is_empty() {
            self.timers.insert_at(Timer::Unanswered, now + WAIT);
        }
        self.nudge.asked.push_back((now, id));
    }

    /// A PING of keep-alive is about to be sent. It counts for no request.
    pub(super) fn keeps_alive(&mut self) {
        self.nudge.pings += 1;
    }

    /// HEADERS or DATA have come.
    pub(super) fn has_heard(&mut self) {
        self.nudge.pings = self.session.pings();
    }

    /// Sends a PING if a request has waited for its answer, and sets the timer for the next request
    /// that waits.
    pub(super) fn look_for_answers(&mut self) {
        let now = Instant::now();
        let mut has_waited = false;
        while let Some(&(at, id)) = self.nudge.asked.front() {
            let waits = self.awaits_answer(id);
            if waits && now + TOGETHER < at + WAIT {
                self.timers.insert_at(Timer::Unanswered, at + WAIT);
                break;
            }
            has_waited |= waits;
            self.nudge.asked.pop_front();
        }
        if self.nudge.asked.is_empty() {
            // The room of a burst is given back.
            self.nudge.asked = VecDeque::new();
        }
        let is_allowed = self.session.pings().saturating_sub(self.nudge.pings) < MOST;
        if has_waited && is_allowed && !self.config.pace.is_slowed() {
            self.session.ping(ping::NUDGE);
            // A timer has caused this, so the PING leaves in the next turn.
            self.shared.ask();
        }
    }

    fn awaits_answer(&self, id: StreamId) -> bool {
        let Some(Place::Entry(key)) = self.ids.get(&id) else { return false };
        self.streams.get(*key).is_some_and(|entry| !entry.over && entry.awaits_answer())
    }
}
