//! A link as the carrier of one of its streams. A user's task goes from here to the driver's desk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::task::{Context, Wake};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::coop;
use tokio::time::Instant;

use super::budget::Charge;
use super::driver::Driver;
use super::{Command, Shared};
use crate::conn::Carrier;
use crate::error::Result;
use crate::pipe::Mover;
use crate::sync::{AtomicBool, AtomicUsize, lock};

/// The way from a stream's users to the driver. It puts the stream on the driver's list, once.
#[derive(Debug)]
pub(crate) struct LinkCarrier {
    key: AtomicUsize,
    listed: AtomicBool,
    /// The stream's identifier on the link, once it has one.
    id: AtomicU32,
    /// The number of the PING behind all of the stream's bytes. 0 is none.
    ping: AtomicU64,
    link: Arc<Shared>,
    /// The memory of the request in addition to unread bytes. It lives as long as the stream.
    charge: Option<Charge>,
}

/// The key of a stream that its driver has not seen yet.
pub(super) const NO_KEY: usize = usize::MAX;

/// The facts that show what the peer has received of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    /// The stream's identifier.
    pub(super) stream: u32,
    /// The number of the PING behind all of the stream's bytes. 0 is none.
    pub(super) ping: u64,
}

impl LinkCarrier {
    pub(super) fn new(link: &Arc<Shared>, charge: Option<Charge>) -> Arc<LinkCarrier> {
        Arc::new(LinkCarrier {
            key: AtomicUsize::new(NO_KEY),
            listed: AtomicBool::new(false),
            id: AtomicU32::new(0),
            ping: AtomicU64::new(0),
            link: Arc::clone(link),
            charge,
        })
    }

    /// Sets the stream's key with the driver.
    pub(super) fn set_key(&self, key: usize) {
        self.key.store(key, SeqCst);
    }

    pub(super) fn key(&self) -> usize {
        self.key.load(SeqCst)
    }

    /// Whether the user's task may act in the driver's place: the driver sleeps, with no work left,
    /// and the runtime would not delay the work with the socket.
    fn may_visit(&self) -> bool {
        self.link.signal.is_asleep() && coop::has_budget_remaining()
    }

    fn visit<T>(&self, act: impl FnOnce(&mut Driver, &mut Context<'_>) -> T) -> Option<T> {
        let _entered = self.link.info.observed.enter_to_trace();
        self.link.desk.visit(act)
    }

    /// The counted bytes of the request's header fields.
    pub(super) fn fields(&self) -> usize {
        self.charge.as_ref().map_or(0, Charge::fields)
    }

    /// The counted bytes of a WebSocket that rides on the stream.
    pub(super) fn ridden(&self) -> usize {
        self.charge.as_ref().map_or(0, Charge::ridden)
    }

    /// The link no longer has the stream, though the program may.
    pub(super) fn leave_link(&self) {
        if let Some(charge) = &self.charge {
            charge.leave_link();
        }
    }

    /// Stops counting what the stream holds.
    pub(super) fn give_back(&self) {
        if let Some(charge) = &self.charge {
            charge.give_back();
        }
    }

    /// The stream, which no caller holds, has failed and may have lost bytes.
    pub(super) fn has_lost_bytes(&self) {
        *lock(&self.link.lost_bytes) = Some(Instant::now());
    }

    /// Sets the identifier that HTTP/2 has given the stream.
    pub(super) fn set_id(&self, id: u32) {
        self.id.store(id, SeqCst);
    }

    /// Sets the number of the PING behind all bytes of the stream.
    pub(super) fn set_ping(&self, number: u64) {
        self.ping.store(number, SeqCst);
    }

    /// Removes the stream from the list, and returns its key.
    pub(super) fn unlist(&self) -> usize {
        self.listed.store(false, SeqCst);
        self.key.load(SeqCst)
    }
}

impl Wake for LinkCarrier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.listed.swap(true, SeqCst) {
            self.link.signal.list(Arc::clone(self));
        }
    }
}

impl Mover for LinkCarrier {
    fn written(self: Arc<Self>) {
        let at_once = |driver: &mut Driver, cx: &mut Context<'_>| driver.send_at_once(&self, cx);
        if !self.may_visit() || self.visit(at_once) != Some(true) {
            self.wake();
        }
    }

    fn write_through(self: Arc<Self>, bytes: &[u8]) -> usize {
        let send =
            |driver: &mut Driver, cx: &mut Context<'_>| driver.send_past_outbox(&self, bytes, cx);
        match self.may_visit() {
            true => self.visit(send).unwrap_or(0),
            false => 0,
        }
    }

    fn read(self: Arc<Self>) {
        self.wake();
    }
}

impl Carrier for LinkCarrier {
    fn changed(self: Arc<Self>) {
        self.wake();
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        let (answer, time) = oneshot::channel();
        self.link.command(Command::Ping(answer));
        Ok(time)
    }

    fn confirm(&self) -> Option<oneshot::Receiver<Result<()>>> {
        let (answer, outcome) = oneshot::channel();
        let proof = Proof { stream: self.id.load(SeqCst), ping: self.ping.load(SeqCst) };
        self.link.command(Command::Confirm(proof, answer));
        Some(outcome)
    }

    #[cfg(feature = "websocket")]
    fn rides(self: Arc<Self>, bytes: usize) -> bool {
        match self.charge.as_ref().map(|charge| charge.rides(bytes)) {
            Some(Some(true)) => self.wake(),
            Some(None) => return false,
            Some(Some(false)) | None => {}
        }
        true
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.link.draining.subscribe()
    }

    fn rtt(&self) -> Option<Duration> {
        *lock(&self.link.rtt)
    }
}
