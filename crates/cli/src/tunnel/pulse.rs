//! Signs of life on a list of visitors, which may be silent for days.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The line that says nothing, for the end that has an idle timeout not to find its own list idle.
pub(super) const NOTHING: &[u8] = b"\n";

/// When the line that says nothing is due.
#[derive(Debug)]
pub(super) struct Pulse(Option<Interval>);

impl Pulse {
    /// Of an end with this idle timeout; without one, never.
    pub(super) fn new(idle_timeout: Option<Duration>) -> Pulse {
        Pulse(idle_timeout.map(|limit| {
            // A third, so that one that is late is early enough.
            let period = (limit / 3).max(Duration::from_millis(1));
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until it is due. Dropping the future changes nothing.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => pending().await,
        }
    }
}
