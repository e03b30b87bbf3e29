//! One link, from its handshake to its end.

use std::fmt::Display;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

#[cfg(feature = "accept")]
use http::request;
use tracing::Span;
use tracing::field::display;
use tracing::instrument::{Instrument, Instrumented};

use super::meters::{self, Bytes};
use super::{Side, TARGET, turned_away};
use crate::error::{Ending, Reason};

/// The reports of a link.
#[derive(Debug)]
pub(crate) struct Link {
    side: Side,
    tls: bool,
    /// Under `accept` the span of the connection, because the links of another server are not known.
    span: Span,
    bytes: Bytes,
    open: AtomicBool,
    cause: OnceLock<Cause>,
}

/// The direction of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Received,
    Sent,
}

/// The reason why a link takes no more streams, and ends after its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client's program has let it go.
    Unused,
    /// The link's client or listener was closed or drained.
    ShutDown,
    /// The peer's GOAWAY.
    GoAway,
    /// The link was unused for the `link_idle_timeout`.
    Idle,
    /// The link has reached the `max_link_age`.
    Old,
    /// The link's stream identifiers are nearly used up.
    UsedUp,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Cause::Unused => "unused",
            Cause::ShutDown => "shut_down",
            Cause::GoAway => "goaway",
            Cause::Idle => "idle",
            Cause::Old => "old",
            Cause::UsedUp => "used_up",
        }
    }
}

impl Link {
    pub(crate) fn new(side: Side) -> Link {
        Link {
            side,
            tls: false,
            span: Span::none(),
            bytes: Bytes::none(),
            open: AtomicBool::new(false),
            cause: OnceLock::new(),
        }
    }

    /// A connection that `accept` makes, with a span of its own within that of the request.
    #[cfg(feature = "accept")]
    pub(crate) fn of_request(
        form: &'static str,
        request: &request::Parts,
        peer: &dyn Display,
    ) -> Link {
        let (side, method, path) = (Side::Accept, &request.method, request.uri.path());
        let span = tracing::info_span!(
            target: TARGET, "h2conn.conn", side = side.name(), form, %method, path, %peer
        );
        Link { span, ..Link::new(side) }
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    pub(crate) fn set_tls(&mut self) {
        self.tls = true;
    }

    /// HTTP/2 begins.
    pub(crate) fn opened(&mut self, transport: &str, local: &dyn Display, peer: &dyn Display) {
        let (side, tls) = (self.side.name(), self.tls);
        // The span must not belong to the program's present one, which ends earlier.
        self.span = tracing::info_span!(
            target: TARGET, parent: None, "h2conn.link", side, transport, tls, %local, %peer
        );
        self.bytes = Bytes::of(side);
        meters::count("h2conn_links_opened_total", [("side", side)]);
        meters::add("h2conn_links_open", [("side", side)], 1.0);
        self.open.store(true, SeqCst);
        let _entered = self.span.enter();
        tracing::debug!(target: TARGET, side, transport, tls, %local, %peer, "link opened");
    }

    /// The span for reports of the link. If the subscriber does not take it, the caller's span.
    pub(super) fn span_or_current(&self) -> Span {
        if self.span.is_disabled() { Span::current() } else { self.span.clone() }
    }

    /// Runs a user's task in the span of its connection, or else in the caller's span. Each poll of
    /// the task enters the span. That costs nothing where there is no span.
    #[cfg(feature = "axum")]
    pub(crate) fn watch_user<T>(&self, task: T) -> Instrumented<T> {
        task.instrument(self.span_or_current())
    }

    /// Makes a task's reports part of this link.
    pub(crate) fn watch<T>(&self, task: T) -> Instrumented<T> {
        task.instrument(self.span.clone())
    }

    /// Reports the total bytes that have gone out and come in, as HTTP/2 counts them.
    pub(crate) fn moved(&self, sent: u64, received: u64) {
        self.bytes.moved(sent, received);
    }

    /// Reports the peer's SETTINGS.
    pub(crate) fn peer_settings(&self, settings: &dyn Display) {
        let _entered = self.span.enter();
        tracing::debug!(target: TARGET, %settings, "settings of the peer");
    }

    /// Whether the log wants each frame.
    pub(crate) fn traces_frames() -> bool {
        tracing::enabled!(target: TARGET, tracing::Level::TRACE)
    }

    /// Lets a task other than the link's report frames.
    pub(crate) fn enter_to_trace(&self) -> Option<tracing::span::Entered<'_>> {
        Link::traces_frames().then(|| self.span.enter())
    }

    /// Reports a frame that has come or goes out, on the link of the current span.
    pub(crate) fn frame(way: Way, kind: &str, flags: u8, len: usize, stream: u32) {
        let way = match way {
            Way::Received => "received",
            Way::Sent => "sent",
        };
        tracing::trace!(target: TARGET, way, kind, flags, len, stream, "frame");
    }

    /// Reports a measured round trip.
    pub(crate) fn measured(&self, rtt: Duration) {
        meters::observe("h2conn_rtt_seconds", [("side", self.side.name())], rtt.as_secs_f64());
    }

    /// Reports that no more streams are taken. The first cause counts.
    pub(crate) fn retired(&self, cause: Cause) {
        let _ = self.cause.set(cause);
    }

    /// Reports that the peer ended a link because of too many PINGs. Later links send one in
    /// `interval`.
    pub(crate) fn pings_slowed(&self, peer: &dyn Display, interval: Duration) {
        meters::count("h2conn_keep_alive_slowed_total", []);
        tracing::warn!(target: TARGET, %peer, ?interval, "keep-alive slowed down");
    }

    /// Reports that nothing has moved on a connection for too long. `limit` is the name of the
    /// timeout.
    pub(crate) fn timed_out(&self, limit: &'static str, path: &str) {
        let side = self.side.name();
        meters::count("h2conn_timeouts_total", [("side", side), ("limit", limit)]);
        tracing::debug!(target: TARGET, side, limit, path, "conn timed out");
    }

    /// Reports that the link is over, and that this has cut `cut` connections. `established` says
    /// whether the peer had shown that it speaks HTTP/2. Only the first call counts.
    pub(crate) fn closed(&self, ending: &Ending, cut: usize, established: bool) {
        if !self.open.swap(false, SeqCst) {
            return;
        }
        let side = self.side.name();
        let reason = self.reason(ending, cut, established);
        meters::count("h2conn_links_closed_total", [("side", side), ("reason", reason)]);
        meters::add("h2conn_links_open", [("side", side)], -1.0);
        let _entered = self.span.enter();
        let times = (reason == "abuse").then(|| turned_away::to_say(reason, Instant::now()));
        if let Some(times) = times.flatten() {
            tracing::warn!(target: TARGET, reason, cut, times, detail = %ending, "link closed");
        } else {
            // An end that this side has planned, and that broke nothing, needs no other explanation.
            let detail = (!self.is_as_planned(ending, cut)).then(|| display(ending));
            tracing::debug!(target: TARGET, reason, cut, detail, "link closed");
        }
    }

    fn is_as_planned(&self, ending: &Ending, cut: usize) -> bool {
        matches!(ending, Ending::Gone(_) | Ending::Local(..))
            && self.cause.get().is_some()
            && cut == 0
    }

    fn reason(&self, ending: &Ending, cut: usize, established: bool) -> &'static str {
        match (ending, self.cause.get()) {
            (_, Some(cause)) if self.is_as_planned(ending, cut) => cause.name(),
            _ if !established => "handshake",
            (Ending::Gone(_), _) if cut == 0 => "by_peer",
            (Ending::Gone(_), _) => "lost",
            (Ending::GoAway(Reason::NO_ERROR, _), _) => Cause::GoAway.name(),
            (Ending::GoAway(..), _) => "goaway_error",
            (Ending::Violation(Reason::ENHANCE_YOUR_CALM, _), _) => "abuse",
            (Ending::Local(..), _) => "aborted",
            (Ending::Silent(_), _) => "silent",
            (Ending::Failed(_), _) => "runtime",
            (Ending::Violation(..) | Ending::NotHttp2(_), _) => "protocol",
            // These endings belong to streams.
            (Ending::Reset(_) | Ending::NotProcessed(_), _) => "lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::error::{Error, ErrorKind};

    #[test]
    fn each_end_of_a_link_has_a_reason_of_its_own() {
        let text: Arc<str> = "why".into();
        let reason = |ending: Ending, cut| Link::new(Side::Client).reason(&ending, cut, true);
        assert_eq!(reason(Ending::Gone(None), 0), "by_peer");
        assert_eq!(reason(Ending::Gone(None), 1), "lost");
        assert_eq!(reason(Ending::GoAway(Reason::NO_ERROR, text.clone()), 1), "goaway");
        assert_eq!(reason(Ending::GoAway(Reason::PROTOCOL_ERROR, text.clone()), 0), "goaway_error");
        let violation = |code| reason(Ending::Violation(code, text.clone()), 0);
        assert_eq!(violation(Reason::ENHANCE_YOUR_CALM), "abuse");
        assert_eq!(violation(Reason::FRAME_SIZE_ERROR), "protocol");
        assert_eq!(reason(Ending::Local(Reason::CANCEL, text.clone()), 1), "aborted");
        assert_eq!(reason(Ending::Silent(text.clone()), 1), "silent");
        let runtime = Error::new(ErrorKind::Aborted, "the runtime is gone");
        assert_eq!(reason(Ending::Failed(runtime), 1), "runtime");
    }

    #[test]
    fn the_first_cause_counts_unless_connections_were_cut() {
        let link = Link::new(Side::Server);
        link.retired(Cause::GoAway);
        link.retired(Cause::ShutDown);
        assert_eq!(link.reason(&Ending::Gone(None), 0, true), "goaway");
        assert_eq!(link.reason(&Ending::Gone(None), 2, true), "lost");
        let aborted = Ending::Local(Reason::CANCEL, "its time is up".into());
        assert_eq!(link.reason(&aborted, 0, true), "goaway");
        assert_eq!(link.reason(&aborted, 1, true), "aborted");
        let silent = Ending::Silent("no SETTINGS".into());
        assert_eq!(link.reason(&silent, 0, false), "handshake");
    }
}
