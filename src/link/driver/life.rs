//! Whether the peer is still there (keep-alive), and whether a stream still moves.

use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, Timer};
use crate::config::KEEP_ALIVE_INTERVAL;
use crate::error::Ending;
use crate::link::ping::{self, Due};

impl Driver {
    /// The link's interval, if it is kept alive. A link that leaves always is, or one whose peer has
    /// vanished would stay for good.
    pub(super) fn interval(&self) -> Option<Duration> {
        let default = || self.is_leaving().then_some(KEEP_ALIVE_INTERVAL);
        let interval = self.config.keep_alive_interval.or_else(default);
        interval.map(|interval| self.config.pace.apply(interval))
    }

    /// Whether the peer's silence would matter to anybody.
    fn is_kept_alive(&self) -> bool {
        let open = || self.streams.iter().any(|(_, entry)| !entry.over);
        let waiting = self.is_over || !self.waiters.is_empty() || (self.closing && self.owes());
        self.end.is_none() && (self.config.keep_alive_while_idle || waiting || open())
    }

    /// Takes note of what a turn has moved.
    pub(super) fn look_for_life(&mut self) {
        let Some(interval) = self.interval() else { return };
        if self.keep_alive.look(&self.moved(), interval) && self.is_kept_alive() {
            self.ask_for_life();
        }
    }

    /// Has the peer's silence watched. The timer is not moved by what comes: when it fires, it is
    /// set anew.
    pub(super) fn watch_peer(&mut self) {
        if let Some(interval) = self.interval()
            && !self.watching
        {
            self.watching = true;
            let now = Instant::now();
            self.timers.insert(Timer::KeepAlive, self.keep_alive.rest(now, interval));
        }
    }

    /// The timer has fired.
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
        entry.look_at_movement(false);
        let Some(quiet) = &mut entry.quiet else { return };
        quiet.timer = None;
        if entry.over {
            return;
        }
        if !entry.send_state.blocked {
            // It waits for the transport, or for others of the link that have their turns first.
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

    /// Sends a PING, which measures the round trip unless one that does is still on its way.
    fn ask_for_life(&mut self) {
        if !self.send_ping() {
            self.session.http2().ping(ping::NUDGE);
        }
        // It leaves in the next turn: a timer may be the reason.
        self.shared.ask();
    }

    /// Has a PING sent by the next turn that measures the round trip; `false` if one is on its way already.
    pub(super) fn send_ping(&mut self) -> bool {
        let wanted = self.pinger.want();
        if wanted {
            self.shared.ask();
        }
        wanted
    }

    /// A round trip was measured.
    pub(super) fn has_measured(&mut self, time: Duration) {
        self.shared.set_rtt(time);
        if let Some(need) = self.probe.end(self.windows.stream(), self.windows.base()) {
            self.windows.grow(need);
        }
    }
}
