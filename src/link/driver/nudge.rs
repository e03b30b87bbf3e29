//! SETTINGS for requests that have no answer yet.
//!
//! Some proxies keep the head of a response until they have more to send to the client: nginx 1.22
//! does so behind TLS, with `grpc_pass`. The acknowledgement of SETTINGS is more to send. Without it,
//! a server that says nothing yet would seem not to answer until the PING of keep-alive.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use h2conn_engine::StreamId;
use tokio::time::Instant;
use tokio_util::time::delay_queue::Key;

use super::{Driver, Timer};
use crate::link::ids::Place;

/// How long a request waits for its answer before the first SETTINGS. A server in the same place as
/// its proxy has answered by then, so most requests cause none, and a user hardly feels the wait.
const FIRST: Duration = Duration::from_millis(100);

/// Each wait for an answer that has not come is longer than the last by this factor.
const LONGER: u32 = 4;

/// The shortest time between two frames. Some servers count SETTINGS, and end a link for more than 20
/// a second.
const PAUSE: Duration = Duration::from_millis(250);

/// The wait after which the PINGs of keep-alive are frequent enough.
const LAST: Duration = Duration::from_secs(10);

/// A request shares the SETTINGS of another one for this part of its own wait.
const TOGETHER: u32 = 4;

/// The requests that may need SETTINGS. One timer for all of them is set while there are any, so
/// that a request costs a place in a heap.
#[derive(Debug, Default)]
pub(super) struct Nudge {
    /// The request whose turn comes first is on top. A request that was answered is removed when its
    /// turn comes.
    asked: BinaryHeap<Reverse<Asked>>,
    /// The timer, and when it fires.
    timer: Option<(Instant, Key)>,
    /// When the last frame was sent.
    sent: Option<Instant>,
}

/// A request, until its next turn.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Asked {
    turn: Instant,
    wait: Duration,
    id: StreamId,
}

impl Driver {
    /// A request was sent.
    pub(super) fn has_asked(&mut self, id: StreamId, now: Instant) {
        self.nudge.asked.push(Reverse(Asked { turn: now + FIRST, wait: FIRST, id }));
        self.time_nudge(now + FIRST);
    }

    /// The timer fires at the time of this turn at the latest.
    fn time_nudge(&mut self, turn: Instant) {
        match &self.nudge.timer {
            Some((at, _)) if *at <= turn => return,
            Some((_, key)) => self.timers.remove(key),
            None => {}
        }
        self.nudge.timer = Some((turn, self.timers.insert_at(Timer::Unanswered, turn)));
    }

    /// The timer has fired. Sends SETTINGS if a request has waited for its answer.
    pub(super) fn look_for_answers(&mut self) {
        self.nudge.timer = None;
        let now = Instant::now();
        if let Some(sent) = self.nudge.sent
            && now < sent + PAUSE
        {
            return self.time_nudge(sent + PAUSE);
        }
        let mut has_waited = false;
        while let Some(Reverse(Asked { turn, wait, id })) = self.nudge.asked.pop() {
            if !self.awaits_answer(id) {
                continue;
            }
            if now + wait / TOGETHER < turn {
                self.nudge.asked.push(Reverse(Asked { turn, wait, id }));
                self.time_nudge(turn);
                break;
            }
            has_waited = true;
            let wait = wait * LONGER;
            if wait <= LAST {
                self.nudge.asked.push(Reverse(Asked { turn: now + wait, wait, id }));
            }
        }
        if self.nudge.asked.is_empty() {
            // The room of a burst is given back.
            self.nudge.asked = BinaryHeap::new();
        }
        if has_waited {
            self.nudge.sent = Some(now);
            self.session.http2().request_settings_acknowledgement();
            // A timer has caused this, so the frame leaves in the next turn.
            self.shared.ask();
        }
    }

    fn awaits_answer(&self, id: StreamId) -> bool {
        let Some(Place::Entry(key)) = self.ids.get(&id) else { return false };
        self.streams.get(*key).is_some_and(|entry| !entry.over && entry.awaits_answer())
    }
}
