//! How long a connection had been silent when it was lost. If the time is that of a common timeout,
//! the error says so.

use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use crate::error::{Ending, Reason};

/// The default timeouts of proxies, balancers and NATs, in seconds: Envoy's for a response, many for
/// a client's content, most for a silent stream, Cloudflare's, Envoy's for a silent stream, AWS NLB's.
const TIMEOUTS: [u64; 6] = [15, 30, 60, 100, 300, 350];

/// A reset comes after its timeout, and the timeout began a moment after this side's last byte.
const EARLY: Duration = Duration::from_millis(50);
const LATE: Duration = Duration::from_secs(1);

/// When bytes, or heads, of a stream have last come and gone. `None` stands for its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Activity {
    pub(super) came: Option<Instant>,
    pub(super) went: Option<Instant>,
    /// Some have come in the read that is being processed, whose time is noted at its end.
    pub(super) comes: bool,
}

impl Activity {
    /// The text for a stream that began then and is lost now, if the time explains it.
    fn explanation(&self, began: Instant, now: Instant) -> Option<String> {
        let since = |time: Option<Instant>| now.saturating_duration_since(time.unwrap_or(began));
        if self.comes {
            return None;
        }
        let (came, went) = (since(self.came), since(self.went));
        let silent =
            "of a proxy for silent streams; raise it there, or send something now and then";
        let whole = "of a proxy for whole requests; raise it there";
        let (time, words, whose) = [
            (came.min(went), "after {} without a byte", silent),
            (came, "{} after the last byte that came", silent),
            (went, "{} after the last byte that was sent", silent),
            (since(None), "{} after its beginning", whole),
        ]
        .into_iter()
        .find(|(time, ..)| is_round(*time))?;
        let words = words.replace("{}", &format!("{:.1} s", time.as_secs_f64()));
        Some(format!("; this came {words}, which may be the timeout {whose}"))
    }
}

fn is_round(time: Duration) -> bool {
    TIMEOUTS.into_iter().map(Duration::from_secs).any(|timeout| {
        let (from, to) = (timeout - EARLY, timeout + LATE);
        (from..=to).contains(&time)
    })
}

impl Entry {
    /// The text for an error of a stream that the peer or the network has ended, if a timeout
    /// explains it. After the peer's end the time says nothing, because this side may have been slow.
    pub(super) fn silence_before(&self, ending: &Ending) -> Option<String> {
        let is_by_timeout = match ending {
            Ending::Gone(_) => true,
            Ending::Reset(reason) => matches!(
                *reason,
                Reason::NO_ERROR | Reason::CANCEL | Reason::INTERNAL_ERROR | Reason::STREAM_CLOSED
            ),
            _ => false,
        };
        if !is_by_timeout || self.received_end {
            return None;
        }
        self.activity.explanation(self.stream.began, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_time_that_is_a_common_timeout_explains_a_loss() {
        let began = Instant::now();
        let at = |seconds: f64| began + Duration::from_secs_f64(seconds);
        let explained = |came: f64, went: f64, now: f64| {
            let time = |seconds: f64| (seconds > 0.0).then(|| at(seconds));
            let activity = Activity { came: time(came), went: time(went), comes: false };
            activity.explanation(began, at(now)).unwrap_or_default()
        };
        for (came, went, now, expected) in [
            (
                0.0,
                0.0,
                60.02,
                "; this came after 60.0 s without a byte, which may be the timeout of a proxy for silent",
            ),
            (3.0, 7.0, 67.9, "; this came after 60.9 s without a byte"),
            (3.0, 40.0, 63.0, "; this came 60.0 s after the last byte that came"),
            (50.0, 3.0, 63.0, "; this came 60.0 s after the last byte that was sent"),
            (
                59.0,
                58.0,
                60.0,
                "; this came 60.0 s after its beginning, which may be the timeout of a proxy for whole",
            ),
            (1.0, 2.0, 301.99, "; this came after 300.0 s without a byte"),
            (0.0, 0.0, 59.9, ""),
            (0.0, 0.0, 61.1, ""),
            (0.0, 0.0, 0.0, ""),
            (1.0, 2.0, 45.0, ""),
        ] {
            let text = explained(came, went, now);
            assert!(text.starts_with(expected), "{came} {went} {now}: {text}");
            assert_eq!(text.is_empty(), expected.is_empty(), "{came} {went} {now}: {text}");
        }
    }

    #[test]
    fn timers_fire_late_by_up_to_a_second() {
        for timeout in TIMEOUTS.map(Duration::from_secs) {
            assert!(is_round(timeout) && is_round(timeout + SECOND));
            assert!(!is_round(timeout - SECOND) && !is_round(timeout + 2 * SECOND));
        }
    }
}
