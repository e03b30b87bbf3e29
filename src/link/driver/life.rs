//! Whether the peer is still there (keep-alive), and whether a stream still moves.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, Timer};
use crate::config::KEEP_ALIVE_INTERVAL;
use crate::error::Ending;
use crate::link::ping::{self, Due};

impl Driver {
    /// The link's interval, if it is kept alive. A link that leaves is always kept alive, or it
    /// would stay for ever when its peer has vanished.
    pub(super) fn interval(&self) -> Option<Duration> {
        let default = || self.is_leaving().then_some(KEEP_ALIVE_INTERVAL);
        let interval = self.config.keep_alive_interval.or_else(default);
        interval.map(|interval| self.config.pace.apply(interval))
    }

    /// Whether any code depends on the peer's signs of life.
    fn is_kept_alive(&self) -> bool {
        let open = || self.streams.iter().any(|(_, entry)| !entry.over);
        let waiting = self.is_over || !self.waiters.is_empty() || (self.closing && self.owes());
        self.end.is_none() && (self.config.keep_alive_while_idle || waiting || open())
    }

    /// Records what a turn has moved.
    pub(super) fn look_for_life(&mut self) {
        let Some(interval) = self.interval() else { return };
        if self.keep_alive.look(&self.moved(), interval) && self.is_kept_alive() {
            self.ask_for_life();
        }
    }

    /// Starts to watch for the peer's silence. Received bytes do not move the timer. It is set anew
    /// when it fires.
    pub(super) fn watch_peer(&mut self) {
        if let Some(interval) = self.interval()
            && !self.watching
        {
            self.watching = true;
            let now = Instant::now();
            self.timers.insert(Timer::KeepAlive, self.keep_alive.rest(now, interval));
        }
    }

    /// The keep-alive timer has fired.
    pub(super) fn check_life(&mut self) {
        self.watching = false;
        let Some(interval) = self.interval() else { return };
        if !self.is_kept_alive() {
            self.keep_alive.forget();
            return;
        }
        let now = Instant::now();
        let next = match self.keep_alive.due(now, interval, self.config.keep_alive_timeout) {
            Due::Later(next) => next,
            Due::Ask(next) => {
                self.ask_for_life();
                next
            }
            Due::Dead => {
                let epitaph = self.keep_alive.epitaph(now, self.moved().backlog(), &self.config);
                return self.give_up(Ending::Silent(epitaph.into()));
            }
        };
        self.watching = true;
        self.timers.insert(Timer::KeepAlive, next);
    }

    /// Sets the timer of a stream that has a timeout, unless it is set early enough.
    pub(super) fn watch_movement(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else { return };
        let Some(quiet) = &mut entry.quiet else { return };
        let Some(due) = quiet.due() else { return };
        if quiet.timer.as_ref().is_some_and(|(_, at)| *at <= due) {
            return;
        }
        if let Some((old, _)) = quiet.timer.take() {
            self.timers.remove(&old);
        }
        quiet.timer = Some((self.timers.insert_at(Timer::Quiet(key), due), due));
    }

    /// The timer of a stream that has a timeout has fired.
    pub(super) fn check_movement(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.stream.is_left_to_rider() {
            entry.quiet = None;
            return;
        }
        entry.look_at_movement(false);
        let Some(quiet) = &mut entry.quiet else { return };
        quiet.timer = None;
        if entry.over {
            return;
        }
        if !entry.send_state.blocked {
            // It waits for the transport, or for other streams of the link that have their turns
            // first.
            quiet.excuse(self.took);
        }
        match quiet.verdict(Instant::now()) {
            Some((limit, verdict)) => {
                let stream = &entry.stream;
                stream.link.observed.timed_out(limit, stream.request.uri.path());
                self.give_up_bytes(key, &Ending::Silent(verdict.into()));
            }
            None => self.watch_movement(key),
        }
    }

    /// Sends a PING. It measures the round trip unless such a PING is already in flight.
    fn ask_for_life(&mut self) {
        if !self.send_ping() {
            self.session.http2().ping(ping::NUDGE);
        }
        // The PING leaves in the next turn, because a timer may have caused this.
        self.shared.ask();
    }

    /// Makes the next turn send a PING that measures the round trip. `false` if one is already in
    /// flight.
    pub(super) fn send_ping(&mut self) -> bool {
        let wanted = self.pinger.want();
        if wanted {
            self.shared.ask();
        }
        wanted
    }

    /// Records a measured round trip.
    pub(super) fn has_measured(&mut self, time: Duration) {
        self.shared.set_rtt(time);
        let useful = |need| self.windows.useful(need);
        if let Some(need) = self.probe.end(self.windows.base(), useful) {
            self.windows.grow(need);
            self.wide.note_sample();
        }
    }
}
