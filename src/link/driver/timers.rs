//! The timers of a link and of its streams, and the actions that they cause.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{Driver, GOODBYE, LAST_WORDS, PARTING, end};
use crate::error::Ending;
use crate::link::Shared;
use crate::observe::Cause;
use crate::sync::AtomicBool;

/// The purpose of a timer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// The peer's SETTINGS should have come.
    Handshake,
    /// Nothing more can be written to the transport, and the reason should have come.
    Broken,
    /// The link should be gone.
    Goodbye,
    /// The peer may have been silent for long.
    KeepAlive,
    /// A client's request may have waited for its answer.
    Unanswered,
    /// The link may have been unused for long enough.
    Idle,
    /// The peer of a server should have opened something.
    First,
    /// The link is old enough.
    Age,
    /// A slowed link reads on.
    Rest,
    /// The client was asked whether it has heard that no more streams are taken.
    Shutdown,
    /// A stream's linger, or a refusal's body.
    Stream(usize),
    /// A stream on which perhaps nothing moves.
    Quiet(usize),
}

/// All timers. They have their own waker, so that a turn checks them only when one has fired, or
/// when a new one may be the first.
#[derive(Debug)]
pub(super) struct Timers {
    queue: DelayQueue<Timer>,
    bell: Arc<Bell>,
    waker: Waker,
}

/// Rings when a timer fires, and wakes the driver.
#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, SeqCst);
        self.shared.signal.notify();
    }
}

impl Timers {
    pub(super) fn new(shared: &Arc<Shared>) -> Timers {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), shared: Arc::clone(shared) });
        Timers { queue: DelayQueue::new(), waker: Waker::from(Arc::clone(&bell)), bell }
    }

    pub(super) fn insert(&mut self, timer: Timer, after: Duration) -> Key {
        self.bell.rung.store(true, SeqCst);
        self.queue.insert(timer, after)
    }

    pub(super) fn insert_at(&mut self, timer: Timer, at: Instant) -> Key {
        self.bell.rung.store(true, SeqCst);
        self.queue.insert_at(timer, at)
    }

    /// Has no effect if the timer has fired.
    pub(super) fn remove(&mut self, key: &Key) {
        self.bell.rung.store(true, SeqCst);
        self.queue.try_remove(key);
    }

    /// The next timer that has fired.
    fn poll(&mut self) -> Option<Timer> {
        if !self.bell.rung.load(SeqCst) || !self.bell.rung.swap(false, SeqCst) {
            return None;
        }
        match self.queue.poll_expired(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Some(expired)) => {
                self.bell.rung.store(true, SeqCst);
                Some(expired.into_inner())
            }
            Poll::Ready(None) | Poll::Pending => None,
        }
    }
}

impl Driver {
    pub(super) fn poll_timers(&mut self) {
        if self.session.is_broken() && !std::mem::replace(&mut self.broken, true) {
            self.timers.insert(Timer::Broken, LAST_WORDS);
        }
        // A server asks its client whether requests are still in transit, and the client may not
        // answer. If something is owed to the client, keep-alive bounds its silence instead.
        // Refusals are different: a client that talks about other things need not confirm them.
        let owes = self.is_leaving() && self.owes();
        let leaves = self.is_leaving() && (!owes || self.owes_refusals_only());
        match self.leaving {
            None if leaves => {
                let time = match (owes, self.is_over) {
                    (true, _) => GOODBYE.min(self.config.linger_timeout),
                    (false, true) => PARTING,
                    (false, false) => self.goodbye(),
                };
                self.leaving = Some(self.timers.insert(Timer::Goodbye, time));
            }
            Some(timer) if !leaves => {
                self.timers.remove(&timer);
                self.leaving = None;
            }
            _ => {}
        }
        while let Some(timer) = self.timers.poll() {
            match timer {
                Timer::Handshake if !self.session.state().has_peer_settings() => {
                    let time = self.config.handshake_timeout;
                    let silence = end::silence(self.session.first_bytes(), time);
                    self.give_up(Ending::Silent(silence.into()));
                }
                Timer::Handshake => {}
                Timer::Broken => {
                    let error = self.session.write_error();
                    self.give_up(Ending::Gone(error));
                }
                Timer::KeepAlive => self.check_life(),
                Timer::Unanswered => self.look_for_answers(),
                Timer::Goodbye => {
                    self.leaving = None;
                    self.stop_leaving();
                }
                Timer::Idle => self.idle_time_is_up(),
                Timer::First => self.first_time_is_up(),
                Timer::Shutdown => self.shutdown_time_is_up(),
                Timer::Rest => {
                    self.waste.rests_until = None;
                    self.read_more = true;
                }
                Timer::Age => {
                    self.shared.info.observed.retired(Cause::Old);
                    self.shut_down();
                }
                Timer::Stream(key) => self.time_is_up(key),
                Timer::Quiet(key) => self.check_movement(key),
            }
        }
    }
}
