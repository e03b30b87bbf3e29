//! The counts of a connection, and the causes of its waits.

use std::time::Duration;

use tokio::time::Instant;

use super::{Conn, ReadHalf, Stream, WriteHalf};
use crate::sync::{Mutex, lock};

/// The counts of one connection at one moment.
///
/// They count the user's bytes, without the overhead of HTTP/2's frames, TLS and TCP. The library
/// keeps these counts anyway, so a connection that does not ask pays nothing. Asking takes three
/// short locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that writes have accepted.
    pub bytes_written: u64,
    /// Accepted bytes that have been handed to the transport, or to the framework underneath.
    pub bytes_sent: u64,
    /// Bytes that have arrived.
    pub bytes_received: u64,
    /// Bytes of them that the program has read.
    pub bytes_read: u64,
    /// Bytes that wait to be sent: for room in the transport, or for the peer's window.
    pub send_queued: u64,
    /// Bytes that wait to be read.
    pub receive_queued: u64,
    /// How often bytes had to wait because the peer's window (RFC 9113 §5.2) was full, either the
    /// stream's or the link's: the peer reads more slowly than this side writes. Always 0 under a
    /// framework.
    pub stalls: u64,
    /// The total time of these waits, including the present one.
    pub stalled: Duration,
    /// The last round trip that the link has measured: by a PING of [`Conn::ping`] or of
    /// [keep-alive](crate::ClientBuilder::keep_alive_interval), and before the first PING by the
    /// handshake. No PING is sent for this number, so it may be old. `None` before the handshake
    /// has ended, and always under a framework.
    pub rtt: Option<Duration>,
    /// The connection's age, including a client's wait for the response.
    pub age: Duration,
}

impl Conn {
    /// The counts of this connection, and the causes of its waits.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl ReadHalf {
    /// The same as [`Conn::stats`], for the whole connection.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl WriteHalf {
    /// The same as [`Conn::stats`], for the whole connection.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl Stream {
    fn stats(&self) -> Stats {
        let (bytes_written, bytes_sent) = self.outbox.progress();
        let (bytes_received, bytes_read) = self.inbox.progress();
        // Bytes that were queued when the stream failed are lost, so they do not wait.
        let lost = self.outbox.check().is_err();
        let (stalls, stalled) = self.stalls.read();
        Stats {
            bytes_written,
            bytes_sent,
            bytes_received,
            bytes_read,
            send_queued: if lost { 0 } else { bytes_written - bytes_sent },
            receive_queued: self.inbox.len() as u64,
            stalls,
            stalled,
            rtt: self.carrier.rtt(),
            age: self.began.elapsed(),
        }
    }
}

/// The number and the time of a stream's waits for the peer's window.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    total: Duration,
    since: Option<Instant>,
}

impl Stalls {
    /// Sets whether the stream waits.
    pub(crate) fn set(&self, waits: bool) {
        let mut state = lock(&self.0);
        if let Some(since) = state.since.take() {
            state.total += since.elapsed();
        }
        if waits {
            state.count += 1;
            state.since = Some(Instant::now());
        }
    }

    fn read(&self) -> (u64, Duration) {
        let state = lock(&self.0);
        let present = state.since.map_or(Duration::ZERO, |since| since.elapsed());
        (state.count, state.total + present)
    }
}
