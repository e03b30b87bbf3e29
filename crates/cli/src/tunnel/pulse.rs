//! Signs of life on a list of visitors, which may have no visitor for days.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// An empty line, which has no meaning. It keeps the list from looking idle to an end with an idle
/// timeout.
pub(super) const NOTHING: &[u8] = b"\n";

/// The times at which an empty line is due.
#[derive(Debug)]
pub(super) struct Pulse(Option<Interval>);

impl Pulse {
    /// The pulse of an end with this idle timeout. Without one, no line is ever due.
    pub(super) fn new(idle_timeout: Option<Duration>) -> Pulse {
        Pulse(idle_timeout.map(|limit| {
            // A third of the limit, so that even a late line arrives in time.
            let period = (limit / 3).max(Duration::from_millis(1));
            let mut interval = interval_at(Instant::now() + period, period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until a line is due. Dropping the future changes nothing.
    pub(super) async fn due(&mut self) {
        match &mut self.0 {
            Some(interval) => drop(interval.tick().await),
            None => pending().await,
        }
    }
}
