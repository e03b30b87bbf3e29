//! Places on a link: the streams that its peer takes at once, and the leases of them.
//!
//! A lease is taken before its stream is opened, and goes to the driver with the stream. It is
//! given back when HTTP/2 has finished the stream, even if its user has still bytes to read. The
//! number of leases and the bit that says that there are no more places are one atomic. So an
//! unused link can close only while it has no lease.

use std::fmt;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::request;
use tokio::time::Instant;

use super::outcome::lost_unseen;
use super::{Command, Shared};
use crate::conn::{Stream, Transport};
use crate::error::Error;

/// The part of a client that waits for places on a link.
pub(crate) trait Watch: Send + Sync {
    /// The peer has said how many streams it takes at once.
    fn limit_is(&self, limit: usize);

    /// There may be another place, or there will be no more.
    fn changed(self: Arc<Self>);

    /// A connection that no caller holds may have lost bytes, because of this error.
    fn lost(&self, error: Error);
}

/// The places on one link.
pub(crate) struct Places {
    /// Twice the leases, plus [`CLOSED`].
    state: AtomicUsize,
    limit: AtomicUsize,
    /// Whether the peer itself has stated the limit.
    settled: AtomicBool,
    /// Whether the peer refused the last stream that it decided on.
    refusing: AtomicBool,
    since: Instant,
    watch: Option<Weak<dyn Watch>>,
}

/// The bit that says that there are no more places.
const CLOSED: usize = 1;

/// One lease, in `state`.
const ONE: usize = 2;

impl Places {
    /// Makes places for `limit` streams until the peer says how many it takes.
    pub(crate) fn new(limit: usize, watch: Weak<dyn Watch>) -> Places {
        Places { limit: AtomicUsize::new(limit), watch: Some(watch), ..Places::default() }
    }

    fn try_take(&self) -> bool {
        let take = |state: usize| {
            (state & CLOSED == 0 && state / ONE < self.limit.load(SeqCst)).then_some(state + ONE)
        };
        self.state.fetch_update(SeqCst, SeqCst, take).is_ok()
    }

    pub(super) fn active(&self) -> usize {
        self.state.load(SeqCst) / ONE
    }

    fn is_closed(&self) -> bool {
        self.state.load(SeqCst) & CLOSED != 0
    }

    /// Gives no more places from now on.
    pub(super) fn close(&self) {
        if self.state.fetch_or(CLOSED, SeqCst) & CLOSED == 0 {
            self.tell();
        }
    }

    /// The same as [`Places::close`], but only if there is no lease. It does not tell the watch.
    pub(super) fn close_if_unused(&self) -> bool {
        self.state.compare_exchange(0, CLOSED, SeqCst, SeqCst).is_ok()
    }

    /// Sets how many streams the peer takes at once.
    pub(super) fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, SeqCst);
        let news = !self.settled.swap(true, SeqCst) || before != limit;
        if let Some(watch) = self.watch.as_ref().filter(|_| news).and_then(Weak::upgrade) {
            watch.limit_is(limit);
            watch.changed();
        }
    }

    /// A stream that no caller holds has failed with this error.
    pub(super) fn lost(&self, error: &Error) {
        if let Some(watch) = self.watch.as_ref().and_then(Weak::upgrade) {
            watch.lost(lost_unseen(error));
        }
    }

    pub(super) fn tell(&self) {
        if let Some(watch) = self.watch.as_ref().and_then(Weak::upgrade) {
            watch.changed();
        }
    }
}

/// Without a limit.
impl Default for Places {
    fn default() -> Places {
        Places {
            state: AtomicUsize::new(0),
            limit: AtomicUsize::new(usize::MAX),
            settled: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            since: Instant::now(),
            watch: None,
        }
    }
}

/// The right to one stream on a link. While it exists, the link does not close as unused.
pub(crate) struct Lease(Arc<Shared>);

impl Lease {
    /// The first lease of a link, even if the link closes meanwhile.
    pub(super) fn first(shared: &Arc<Shared>) -> Lease {
        shared.places.state.fetch_add(ONE, SeqCst);
        Lease(Arc::clone(shared))
    }

    pub(super) fn of(shared: &Arc<Shared>) -> Option<Lease> {
        shared.places.try_take().then(|| Lease(Arc::clone(shared)))
    }

    /// Opens the stream. It can be written to at once, and reports its own failure.
    pub(crate) fn open(self, request: request::Parts, transport: Transport) -> Arc<Stream> {
        let shared = Arc::clone(&self.0);
        shared.open(Some(self), request, transport)
    }

    /// Opens the stream of a request without content, whose head ends it. It can only be read.
    pub(crate) fn open_ended(self, request: request::Parts, transport: Transport) -> Arc<Stream> {
        let shared = Arc::clone(&self.0);
        let (stream, carrier) = shared.stream(request, transport, None);
        stream.outbox.finish();
        stream.set_ends_with_head();
        shared.command(Command::Open(Arc::clone(&stream), carrier, Some(self)));
        stream
    }

    /// Opens the stream of an ordinary request. `put` puts its content, as far as it is there, into
    /// the outbox, and need not tell anybody.
    #[cfg(feature = "requests")]
    pub(crate) fn exchange(
        self,
        mut request: request::Parts,
        put: impl FnOnce(&Stream),
    ) -> Arc<Stream> {
        let fields = std::mem::take(&mut request.headers);
        let shared = Arc::clone(&self.0);
        let (stream, carrier) = shared.stream(request, Transport::Request, None);
        stream.begin_exchange(fields);
        put(&stream);
        shared.command(Command::Open(Arc::clone(&stream), carrier, Some(self)));
        stream
    }

    /// Whether streams can be opened, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.places.is_closed()
    }

    /// The peer has answered the stream.
    pub(super) fn was_answered(&self) {
        self.0.places.refusing.store(false, Relaxed);
    }

    /// The stream, which no caller holds, has failed with this error and may have lost bytes.
    pub(super) fn was_lost(&self, error: &Error) {
        self.0.places.lost(error);
    }

    /// The peer refused the stream, so other streams should be opened elsewhere.
    pub(super) fn was_refused(&self) {
        self.0.places.refusing.store(true, Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = self.0.places.state.fetch_sub(ONE, SeqCst) - ONE;
        // The driver may be waiting for this, to close the link.
        if state <= CLOSED || state & CLOSED != 0 {
            self.0.ask();
        }
        if state & CLOSED == 0 {
            self.0.places.tell();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.0).finish()
    }
}

/// A link as a client sees it that looks for a place.
impl super::Link {
    pub(crate) fn try_lease(&self) -> Option<Lease> {
        Lease::of(&self.shared)
    }

    /// Whether the link gives places, free or not.
    pub(crate) fn is_open(&self) -> bool {
        !self.shared.places.is_closed()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && self.active() < self.shared.places.limit.load(SeqCst)
    }

    /// The leases whose streams are not yet over.
    pub(crate) fn active(&self) -> usize {
        self.shared.places.active()
    }

    /// The number of streams that the peer has said it takes at once.
    pub(crate) fn limit(&self) -> Option<usize> {
        let places = &self.shared.places;
        places.settled.load(SeqCst).then(|| places.limit.load(SeqCst))
    }

    /// Whether the peer has offered extended CONNECT (RFC 8441 §3).
    #[cfg(feature = "websocket")]
    pub(crate) fn offers_connect(&self) -> bool {
        self.shared.offers_connect.load(SeqCst)
    }

    /// Whether the last stream that the peer decided on was refused.
    pub(crate) fn is_refusing(&self) -> bool {
        self.shared.places.refusing.load(Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.shared.places.since.elapsed()
    }

    /// Ends the link unless there is a lease. It does not tell the watch.
    pub(crate) fn end_if_unused(&self) -> bool {
        let unused = self.shared.places.close_if_unused();
        if unused {
            self.shut_down();
        }
        unused
    }
}

impl Shared {
    /// Opens a stream.
    pub(super) fn open(
        self: &Arc<Self>,
        lease: Option<Lease>,
        request: request::Parts,
        transport: Transport,
    ) -> Arc<Stream> {
        let (stream, carrier) = self.stream(request, transport, None);
        self.command(Command::Open(Arc::clone(&stream), carrier, lease));
        stream
    }
}
