//! What a connection has carried, and what holds it up.

use std::time::Duration;

use tokio::time::Instant;

use super::{Conn, ReadHalf, Stream, WriteHalf};
use crate::sync::{Mutex, lock};

/// The counts of one connection, at one moment.
///
/// They are of the user's bytes: HTTP/2's frames, TLS and TCP come on top. What is counted is
/// counted anyway, so asking costs three short locks, and not asking nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Bytes that writes have accepted.
    pub bytes_written: u64,
    /// Bytes of them that have been handed to the transport; under a framework, to the framework.
    pub bytes_sent: u64,
    /// Bytes that have arrived.
    pub bytes_received: u64,
    /// Bytes of them that were read.
    pub bytes_read: u64,
    /// Bytes that wait to be sent: for room in the transport, or for the peer's window.
    pub send_queued: u64,
    /// Bytes that wait to be read.
    pub receive_queued: u64,
    /// How often bytes had to wait because the peer's window (RFC 9113 §5.2) was full, its own or
    /// that of the whole link: the peer reads more slowly than this side writes. Always 0 under a
    /// framework.
    pub stalls: u64,
    /// How long they have waited for that altogether, the present wait included.
    pub stalled: Duration,
    /// The last round trip that the link has measured: by a PING of
    /// [`Conn::ping`] or of [keep-alive](crate::ClientBuilder::keep_alive_interval), and before the
    /// first of those by the handshake. No PING is sent for it, so it can be old. `None` before the
    /// handshake has ended, and always under a framework.
    pub rtt: Option<Duration>,
    /// How long the connection has been there; on a client, the wait for the response included.
    pub age: Duration,
}

impl Conn {
    /// What the connection has carried, and what holds it up.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl ReadHalf {
    /// As [`Conn::stats`], of the whole connection.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl WriteHalf {
    /// As [`Conn::stats`], of the whole connection.
    pub fn stats(&self) -> Stats {
        self.stream().stats()
    }
}

impl Stream {
    fn stats(&self) -> Stats {
        let (bytes_written, bytes_sent) = self.outbox.progress();
        let (bytes_received, bytes_read) = self.inbox.progress();
        // What was queued when the stream failed is lost, and does not wait.
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

/// How often and how long the peer's window has made a stream wait.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    count: u64,
    total: Duration,
    since: Option<Instant>,
}

impl Stalls {
    /// It begins to wait, or goes on.
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
