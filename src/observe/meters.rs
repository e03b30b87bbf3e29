//! The facade of `metrics`. Without the feature of that name nothing is counted, and the program
//! contains none of this.

#[cfg(feature = "metrics")]
pub use facade::describe_metrics;
pub(super) use facade::{Bytes, add, count, observe};

/// The labels of a metric.
type Labels<const N: usize> = [(&'static str, &'static str); N];

#[cfg(not(feature = "metrics"))]
mod facade {
    use super::Labels;

    pub(in crate::observe) fn count<const N: usize>(_: &'static str, _: Labels<N>) {}
    pub(in crate::observe) fn add<const N: usize>(_: &'static str, _: Labels<N>, _: f64) {}
    pub(in crate::observe) fn observe<const N: usize>(_: &'static str, _: Labels<N>, _: f64) {}

    #[derive(Debug)]
    pub(in crate::observe) struct Bytes;

    impl Bytes {
        pub(in crate::observe) fn none() -> Bytes {
            Bytes
        }

        pub(in crate::observe) fn of(_: &'static str) -> Bytes {
            Bytes
        }

        pub(in crate::observe) fn moved(&self, _: u64, _: u64) {}
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use std::fmt;
    use std::sync::Once;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    use metrics::{Counter, Unit, counter, describe_counter, describe_gauge, describe_histogram};
    use metrics::{gauge, histogram};

    use super::Labels;

    /// Adds one.
    pub(in crate::observe) fn count<const N: usize>(name: &'static str, labels: Labels<N>) {
        describe();
        counter!(name, &labels).increment(1);
    }

    /// Adds to a gauge.
    pub(in crate::observe) fn add<const N: usize>(name: &'static str, labels: Labels<N>, by: f64) {
        describe();
        gauge!(name, &labels).increment(by);
    }

    /// Adds to a distribution.
    pub(in crate::observe) fn observe<const N: usize>(
        name: &'static str,
        labels: Labels<N>,
        value: f64,
    ) {
        describe();
        histogram!(name, &labels).record(value);
    }

    /// Bytes of one link. The counters are looked up once, because this is counted in every turn.
    pub(in crate::observe) struct Bytes {
        sent: (Counter, AtomicU64),
        received: (Counter, AtomicU64),
    }

    impl Bytes {
        /// For no link: nothing is counted.
        pub(in crate::observe) fn none() -> Bytes {
            let noop = || (Counter::noop(), AtomicU64::new(0));
            Bytes { sent: noop(), received: noop() }
        }

        pub(in crate::observe) fn of(side: &'static str) -> Bytes {
            describe();
            let labels = [("side", side)];
            Bytes {
                sent: (counter!("h2conn_bytes_sent_total", &labels), AtomicU64::new(0)),
                received: (counter!("h2conn_bytes_received_total", &labels), AtomicU64::new(0)),
            }
        }

        pub(in crate::observe) fn moved(&self, sent: u64, received: u64) {
            for ((counter, before), now) in [(&self.sent, sent), (&self.received, received)] {
                let more = now - before.swap(now, Relaxed);
                if more > 0 {
                    counter.increment(more);
                }
            }
        }
    }

    impl fmt::Debug for Bytes {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Bytes").finish_non_exhaustive()
        }
    }

    /// Describes the metrics to the recorder, before the first of them is counted.
    fn describe() {
        static DESCRIBED: Once = Once::new();
        DESCRIBED.call_once(describe_metrics);
    }

    /// Gives the `metrics` recorder the descriptions and units of all metrics of this crate.
    /// Exporters show them, for example as `# HELP` lines of Prometheus.
    ///
    /// The library calls this function once, before it counts anything. A program must call it
    /// itself where the recorder is installed after the first client, listener or acceptor has
    /// begun to work, and for each further recorder. The descriptions go to the recorder that is
    /// installed at the time of the call. Without a recorder they are lost.
    pub fn describe_metrics() {
        describe_gauge!("h2conn_links_open", "HTTP/2 connections that are open");
        describe_counter!("h2conn_links_opened_total", "HTTP/2 connections that began");
        describe_counter!("h2conn_links_closed_total", "HTTP/2 connections that ended, and why");
        describe_gauge!("h2conn_conns_open", "Conns that are open or wait for their answer");
        describe_counter!("h2conn_conns_total", "Conns that ended, and how");
        describe_counter!("h2conn_bytes_sent_total", Unit::Bytes, "Bytes of HTTP/2 sent");
        describe_counter!("h2conn_bytes_received_total", Unit::Bytes, "Bytes of HTTP/2 received");
        describe_counter!("h2conn_handshake_failures_total", "Links that did not come to be");
        describe_counter!("h2conn_refused_total", "What was refused, and by which limit");
        describe_counter!("h2conn_retries_total", "Requests sent again");
        describe_counter!("h2conn_fallbacks_total", "WebSockets tried in place of HTTP/2");
        describe_counter!("h2conn_accept_errors_total", "Failures to accept a socket");
        describe_counter!("h2conn_hoarders_reset_total", "Conns reset for want of memory");
        describe_counter!("h2conn_drains_total", "Listeners and acceptors drained");
        describe_counter!("h2conn_dials_total", "Links that a client began to make");
        describe_counter!("h2conn_dial_failures_total", "Those that it has not made");
        describe_counter!("h2conn_timeouts_total", "Conns on which nothing moved for too long");
        describe_counter!("h2conn_keep_alive_slowed_total", "Complaints of too many PINGs");
        describe_histogram!("h2conn_rtt_seconds", Unit::Seconds, "Round trips of PINGs");
    }
}
