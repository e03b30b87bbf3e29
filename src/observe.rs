//! The library's reports: events and spans of `tracing`, and metrics (feature `metrics`).
//! `docs/operations.md` lists both. Their names are part of the interface.
//!
//! Normal traffic is silent at `info`. Links and connections come and go at `debug`. Events that an
//! operator should look at are `warn`.

mod conn;
mod link;
mod meters;
mod turned_away;

use std::fmt::Display;
use std::io;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

pub(crate) use conn::Conn;
#[cfg(feature = "accept")]
pub(crate) use conn::rejected;
pub(crate) use link::{Cause, Link, Way};
#[cfg(feature = "metrics")]
pub use meters::describe_metrics;

/// The target of every report, whatever module it comes from.
const TARGET: &str = "h2conn";

/// The holder of a link or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    /// A listener.
    Server,
    /// A server of hyper, axum or similar, whose requests this library accepts.
    #[cfg(feature = "accept")]
    Accept,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
            #[cfg(feature = "accept")]
            Side::Accept => "accept",
        }
    }
}

/// The name of a kind of error.
fn name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidInput => "invalid_input",
        ErrorKind::Connect => "connect",
        ErrorKind::Tls => "tls",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::Refused => "refused",
        ErrorKind::Rejected => "rejected",
        ErrorKind::Reset => "reset",
        ErrorKind::Truncated => "truncated",
        ErrorKind::Closed => "closed",
        ErrorKind::Aborted => "aborted",
        ErrorKind::TimedOut => "timed_out",
        ErrorKind::Protocol => "protocol",
    }
}

/// A client begins to make a link.
pub(crate) fn dialing() {
    meters::count("h2conn_dials_total", []);
}

/// The client has not made a link: the dial failed, its time was up, or no caller waited any more.
pub(crate) fn dial_failed() {
    meters::count("h2conn_dial_failures_total", []);
}

/// A link was not established. `peer` is its address, or the requested destination.
pub(crate) fn handshake_failed(side: Side, peer: &dyn Display, error: &Error) {
    let why = name(error.kind());
    meters::count("h2conn_handshake_failures_total", [("side", side.name()), ("why", why)]);
    tracing::debug!(target: TARGET, side = side.name(), %peer, why, %error, "handshake failed");
}

/// A client or request was refused because of the `limit` of that name.
pub(crate) fn refused(limit: &'static str, peer: &dyn Display) {
    meters::count("h2conn_refused_total", [("limit", limit)]);
    tracing::debug!(target: TARGET, limit, %peer, "refused");
    if let Some(refused) = turned_away::to_say(limit, Instant::now()) {
        tracing::warn!(target: TARGET, limit, %peer, refused, "at a limit");
    }
}

/// A request that the server has not looked at is sent again.
pub(crate) fn retrying(error: &Error, pause: Duration) {
    meters::count("h2conn_retries_total", []);
    tracing::debug!(target: TARGET, %error, ?pause, "retrying");
}

/// A client tries a WebSocket, because HTTP/2 has failed or gives no answer.
#[cfg(feature = "websocket")]
pub(crate) fn falling_back(error: Option<&Error>) {
    meters::count("h2conn_fallbacks_total", []);
    let why = error.map_or_else(|| "no answer yet".to_owned(), Error::to_string);
    tracing::debug!(target: TARGET, why, "trying a WebSocket");
}

/// A WebSocket over HTTP/2 has failed or gives no answer, and a client tries one over HTTP/1.1.
#[cfg(feature = "websocket")]
pub(crate) fn falling_back_to_http1(error: Option<&Error>) {
    let why = error.map_or_else(|| "no answer yet".to_owned(), Error::to_string);
    tracing::debug!(target: TARGET, why, "trying a WebSocket over HTTP/1.1");
}

/// The system gives no socket to a listener, which tries again. `first` if the last try succeeded.
pub(crate) fn accept_failed(error: &io::Error, pause: Duration, first: bool) {
    meters::count("h2conn_accept_errors_total", []);
    if first {
        tracing::warn!(target: TARGET, %error, "cannot accept; trying again every {pause:?}");
    }
}

/// The system gives sockets again.
pub(crate) fn accepting_again(failures: u64) {
    tracing::info!(target: TARGET, failures, "accepting again");
}

/// A connection was reset because it is not read and there is no more memory.
pub(crate) fn hoarder_reset(peer: &dyn Display, message: &str) {
    meters::count("h2conn_hoarders_reset_total", []);
    match turned_away::to_say("hoarders", Instant::now()) {
        Some(times) => tracing::warn!(target: TARGET, %peer, times, "{message}"),
        None => tracing::debug!(target: TARGET, %peer, "{message}"),
    }
}

/// A listener or acceptor asks the users of its `open` links or connections to finish. `local` is
/// the listener's address, if it is known.
pub(crate) fn draining(side: Side, local: &dyn Display, open: usize) {
    let side = side.name();
    meters::count("h2conn_drains_total", [("side", side)]);
    tracing::info!(target: TARGET, side, %local, open, "draining");
}

/// A program's service has failed, or what it answers cannot be sent. The client is told no more
/// than that.
#[cfg(feature = "serve")]
pub(crate) fn service_failed(path: &str, error: &dyn Display) {
    let message = "a request could not be answered";
    match turned_away::to_say("services", Instant::now()) {
        Some(times) => tracing::warn!(target: TARGET, path, %error, times, "{message}"),
        None => tracing::debug!(target: TARGET, path, %error, "{message}"),
    }
}

/// A client that speaks HTTP/1 was served until something failed, on either side.
#[cfg(any(feature = "serve", feature = "websocket"))]
pub(crate) fn http1_failed(peer: &dyn Display, error: &dyn Display) {
    tracing::debug!(target: TARGET, %peer, %error, "http/1 ended");
}

/// Everything that was drained is gone, by itself or because its time was up.
pub(crate) fn drained(side: Side, local: &dyn Display, in_time: bool) {
    tracing::info!(target: TARGET, side = side.name(), %local, in_time, "drained");
}
