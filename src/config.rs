//! The knobs that both sides share, with their defaults and the reason for each value.

mod advice;
mod bearer;
mod fields;
mod methods;
mod origins;
mod pace;
mod protocols;

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

#[cfg(feature = "accept")]
pub(crate) use advice::{BY_HTTP2, no_websocket_by_http10};
pub(crate) use advice::{NO_H2C, no_websockets_at_a_listener};
pub use bearer::bearer_token;
#[cfg(feature = "websocket")]
pub(crate) use fields::only;
#[cfg(any(feature = "requests", feature = "serve", feature = "websocket"))]
pub(crate) use fields::values;
pub(crate) use fields::{asks_to_upgrade, check_headers, is_token, parse_headers};
pub(crate) use methods::{Methods, method_not_allowed};
pub(crate) use origins::Origins;
pub(crate) use pace::Pace;
#[cfg(feature = "websocket")]
pub(crate) use protocols::WEBSOCKET;
pub(crate) use protocols::{Protocols, check_protocol};

/// The behaviour of a link and its connections. Clients and listeners have builders for it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Bytes that a connection may receive before its user reads, at first.
    pub(crate) window: u32,
    /// The largest value of it, if the path holds more in a round trip.
    pub(crate) max_window: u32,
    /// Bytes that all connections of a link may hold unread.
    pub(crate) link_memory: u32,
    /// Bytes that a connection's user may write before the transport takes them.
    pub(crate) send_queue: usize,
    /// The longest DATA frame that the peer may send.
    pub(crate) max_frame_size: u32,
    /// The largest header section that is accepted.
    pub(crate) max_header_list_size: u32,
    /// Streams that the peer may have open at once.
    pub(crate) max_conns: u32,
    /// Whether a connection that is dropped without a shutdown is reset.
    pub(crate) reset_on_drop: bool,
    /// Whether clients may send extended CONNECT (RFC 8441 §3).
    pub(crate) extended_connect: bool,
    /// The time for TLS, the HTTP/2 preface and the peer's SETTINGS.
    pub(crate) handshake_timeout: Duration,
    /// A listener's link ends when nothing was accepted on it for this long from its beginning.
    pub(crate) first_conn_timeout: Option<Duration>,
    /// The most links of a listener, including handshakes.
    pub(crate) max_links: usize,
    /// The most links of one address.
    pub(crate) max_links_per_addr: Option<usize>,
    /// Bytes that all links of a listener may hold unread.
    pub(crate) max_memory: usize,
    /// After this long without a byte from the peer, a PING is sent. `None` never sends one.
    pub(crate) keep_alive_interval: Option<Duration>,
    /// How long the peer may stay silent after the PING.
    pub(crate) keep_alive_timeout: Duration,
    /// Whether PINGs are also sent on a link without an open connection.
    pub(crate) keep_alive_while_idle: bool,
    /// A connection is reset when no byte of it has come or gone for this long.
    pub(crate) idle_timeout: Option<Duration>,
    /// A connection is reset when it has bytes to send and the peer takes none for this long.
    pub(crate) stall_timeout: Option<Duration>,
    /// How long the peer has to end its side, once it has received the end of a connection that was
    /// closed or dropped here.
    pub(crate) linger_timeout: Duration,
    /// How much longer the interval is because the peer has asked for it.
    pub(crate) pace: Arc<Pace>,
    /// A client's link that has had no connection for this long ends.
    pub(crate) link_idle_timeout: Option<Duration>,
    /// A link that is older takes no more connections, and ends after its present ones.
    pub(crate) max_link_age: Option<Duration>,
    /// The last stream identifier that a client uses. Only tests use less than all.
    pub(crate) last_stream_id: u32,
}

/// 1 MiB. With 10 ms of round trip it carries 70 MB/s from the first byte on.
const WINDOW: u32 = 1 << 20;

/// 32 MiB. HTTP/2 gives a window back in quarters, so the window must be 1.3 times what the path
/// holds. At 100 ms, 1 Gbit/s holds 12.5 MB.
const MAX_WINDOW: u32 = 32 << 20;

/// 64 MiB. 48 connections can be full at the default window. With more, windows shrink.
const LINK_MEMORY: u32 = 64 << 20;

/// 128 KiB: one of our frames in transit, and one that is being written meanwhile. Bytes that are
/// queued beyond that have left the processor's caches before they are sent.
const SEND_QUEUE: usize = 128 << 10;

/// 64 KiB. Frames of 16 KiB, HTTP/2's default, cost 40 % of the throughput. Larger ones make a
/// small message wait longer behind a large one.
const MAX_FRAME_SIZE: u32 = 64 << 10;

/// 16 KiB, the limit of most servers.
const MAX_HEADER_LIST_SIZE: u32 = 16 << 10;

/// Each stream costs memory before any task has looked at it.
const MAX_CONNS: u32 = 4096;

/// 2³¹−1 (RFC 9113 §5.1.1).
const LAST_STREAM_ID: u32 = (1 << 31) - 1;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// 1 GiB: 16 links can be full at the default `max_link_memory`, or each of 10,000 links can hold
/// 100 KiB.
const MAX_MEMORY: usize = 1 << 30;
/// 30 s. NATs and proxies forget a quiet connection later, most often after 60 s or more.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// 15 s, ten times the answer time of a bad mobile network.
pub(crate) const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);

impl Default for Config {
    fn default() -> Config {
        Config {
            window: WINDOW,
            max_window: MAX_WINDOW,
            link_memory: LINK_MEMORY,
            send_queue: SEND_QUEUE,
            max_frame_size: MAX_FRAME_SIZE,
            max_header_list_size: MAX_HEADER_LIST_SIZE,
            max_conns: MAX_CONNS,
            reset_on_drop: false,
            extended_connect: false,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            first_conn_timeout: None,
            max_links: usize::MAX,
            max_links_per_addr: None,
            max_memory: MAX_MEMORY,
            keep_alive_interval: Some(KEEP_ALIVE_INTERVAL),
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            keep_alive_while_idle: false,
            idle_timeout: None,
            stall_timeout: None,
            linger_timeout: LINGER_TIMEOUT,
            pace: Arc::default(),
            link_idle_timeout: None,
            max_link_age: None,
            last_stream_id: LAST_STREAM_ID,
        }
    }
}

/// The memory for bytes that wait to be sent, beside so much for received ones.
pub(crate) fn for_sending(received: usize) -> usize {
    received / 2
}

impl Config {
    /// The memory for bytes of a link that wait to be sent.
    pub(crate) fn send_memory(&self) -> usize {
        for_sending(self.link_memory as usize)
    }

    /// Refuses values that cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        const MOST: u32 = (1 << 31) - 1;
        let wrong = |what: String| Err(Error::new(ErrorKind::InvalidInput, what));
        if self.window == 0 || self.window > MOST {
            return wrong(format!(
                "initial_window_size is {}, and must be 1 to {MOST}",
                self.window
            ));
        }
        if self.max_window == 0 || self.max_window > MOST {
            return wrong(format!(
                "max_window_size is {}, and must be 1 to {MOST}",
                self.max_window
            ));
        }
        if self.link_memory < LEAST_LINK_MEMORY || self.link_memory > MOST {
            return wrong(format!(
                "max_link_memory is {}, and must be {LEAST_LINK_MEMORY} to {MOST}",
                self.link_memory
            ));
        }
        if self.send_queue == 0 {
            return wrong("send_queue_size is 0, and must be at least 1".to_owned());
        }
        if self.max_links == 0 || self.max_links_per_addr == Some(0) {
            return wrong("max_links and max_links_per_addr must be at least 1".to_owned());
        }
        if self.max_memory < LEAST_LINK_MEMORY as usize {
            return wrong(format!(
                "max_memory is {}, and must be at least {LEAST_LINK_MEMORY}",
                self.max_memory
            ));
        }
        if self.handshake_timeout > LONGEST {
            return wrong(format!(
                "handshake_timeout is {:?}, and must be at most {LONGEST:?}",
                self.handshake_timeout
            ));
        }
        let times = [
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", Some(self.keep_alive_timeout)),
            ("idle_timeout", self.idle_timeout),
            ("stall_timeout", self.stall_timeout),
            ("linger_timeout", Some(self.linger_timeout)),
        ];
        for (knob, time) in times {
            if let Some(time) = time {
                check_time(knob, time)?;
            }
        }
        for (knob, time) in [
            ("link_idle_timeout", self.link_idle_timeout),
            ("max_link_age", self.max_link_age),
            ("first_conn_timeout", self.first_conn_timeout),
        ] {
            if let Some(time) = time.filter(|time| *time > LONGEST_STAY) {
                return wrong(format!(
                    "{knob} is {time:?}, and must be at most {LONGEST_STAY:?}; None is for ever"
                ));
            }
        }
        Ok(())
    }
}

/// Refuses a time that no timer can keep.
pub(crate) fn check_time(knob: &str, time: Duration) -> Result<()> {
    if time.is_zero() || time > LONGEST {
        let message =
            format!("{knob} is {time:?}, and must be more than 0 and at most {LONGEST:?}");
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(())
}

/// A day. Timers reach only some years.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A year, for the same reason.
const LONGEST_STAY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// 256 KiB. Below it, not even the base of the link's window would hold a frame.
const LEAST_LINK_MEMORY: u32 = 256 << 10;

/// 30 s. A peer that is about to end its side does so within a round trip, and a peer that first
/// processes what it has received takes seconds. Meanwhile the connection holds its place.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a refusal's body is kept, and how long to wait for it.
pub(crate) const REJECTION_BODY: usize = 64 << 10;
pub(crate) const REJECTION_WAIT: Duration = Duration::from_secs(2);
