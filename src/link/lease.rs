//! Places on a link: how many streams its peer takes at once, and who has them.
//!
//! A lease is taken before its stream is opened, goes to the driver with it, and is given back when
//! the stream is over for HTTP/2, whatever its user has still to read. The count and the bit that
//! says that there are no more places are one atomic: a link that closes because nobody uses it can
//! do so only while that is true.

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

/// Who waits for places on a link.
pub(crate) trait Watch: Send + Sync {
    /// The peer has said how many streams it takes at once.
    fn limit_is(&self, limit: usize);

    /// There may be another place, or there will be none any more.
    fn changed(self: Arc<Self>);

    /// Bytes of a connection that nobody holds may be lost, and why.
    fn lost(&self, error: Error);
}

/// The places on one link.
pub(crate) struct Places {
    /// Twice the leases, plus [`CLOSED`].
    state: AtomicUsize,
    limit: AtomicUsize,
    /// The limit is the peer's own word.
    settled: AtomicBool,
    /// The last stream that the peer decided on was refused by it.
    refusing: AtomicBool,
    since: Instant,
    watch: Option<Weak<dyn Watch>>,
}

/// There are no more places.
const CLOSED: usize = 1;

/// One lease.
const ONE: usize = 2;

impl Places {
    /// Room for `limit` streams until the peer says how many it takes.
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

    /// From now on there are no more.
    pub(super) fn close(&self) {
        if self.state.fetch_or(CLOSED, SeqCst) & CLOSED == 0 {
            self.tell();
        }
    }

    /// As [`Places::close`], if nobody has a place or has just got one. Nobody is told.
    pub(super) fn close_if_unused(&self) -> bool {
        self.state.compare_exchange(0, CLOSED, SeqCst, SeqCst).is_ok()
    }

    /// The peer takes so many streams at once.
    pub(super) fn set_limit(&self, limit: usize) {
        let before = self.limit.swap(limit, SeqCst);
        let news = !self.settled.swap(true, SeqCst) || before != limit;
        if let Some(watch) = self.watch.as_ref().filter(|_| news).and_then(Weak::upgrade) {
            watch.limit_is(limit);
            watch.changed();
        }
    }

    /// A stream that nobody holds has failed with this error.
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

/// As many as anybody wants.
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

/// The right to one stream on a link, which does not close for want of use while it is there.
pub(crate) struct Lease(Arc<Shared>);

impl Lease {
    /// The first of a link, whatever becomes of that meanwhile.
    pub(super) fn first(shared: &Arc<Shared>) -> Lease {
        shared.places.state.fetch_add(ONE, SeqCst);
        Lease(Arc::clone(shared))
    }

    pub(super) fn of(shared: &Arc<Shared>) -> Option<Lease> {
        shared.places.try_take().then(|| Lease(Arc::clone(shared)))
    }

    /// Opens the stream. It can be written to at once; what becomes of it, it tells itself.
    pub(crate) fn open(self, request: request::Parts, transport: Transport) -> Arc<Stream> {
        let shared = Arc::clone(&self.0);
        shared.open(Some(self), request, transport)
    }

    /// Whether streams can be opened, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        !self.0.places.is_closed()
    }

    /// The peer has answered the stream.
    pub(super) fn was_answered(&self) {
        self.0.places.refusing.store(false, Relaxed);
    }

    /// The stream, which nobody holds, has failed with this error, and bytes of it may be lost.
    pub(super) fn was_lost(&self, error: &Error) {
        self.0.places.lost(error);
    }

    /// The peer would not have the stream: others are better opened elsewhere.
    pub(super) fn was_refused(&self) {
        self.0.places.refusing.store(true, Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let state = self.0.places.state.fetch_sub(ONE, SeqCst) - ONE;
        // The driver may be waiting for that, to close the link.
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

/// A link as those see it who look for a place.
impl super::Link {
    pub(crate) fn try_lease(&self) -> Option<Lease> {
        Lease::of(&self.shared)
    }

    /// Whether there are places, taken or not.
    pub(crate) fn is_open(&self) -> bool {
        !self.shared.places.is_closed()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.is_open() && self.active() < self.shared.places.limit.load(SeqCst)
    }

    /// The streams that are leased and not yet over.
    pub(crate) fn active(&self) -> usize {
        self.shared.places.active()
    }

    /// What the peer has said that it takes at once.
    pub(crate) fn limit(&self) -> Option<usize> {
        let places = &self.shared.places;
        places.settled.load(SeqCst).then(|| places.limit.load(SeqCst))
    }

    /// Whether the last stream that the peer decided on was refused.
    pub(crate) fn is_refusing(&self) -> bool {
        self.shared.places.refusing.load(Relaxed)
    }

    pub(crate) fn age(&self) -> Duration {
        self.shared.places.since.elapsed()
    }

    /// Ends the link unless somebody has a place there. Nobody is told.
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
