//! The timers of a link and of its streams, and the calls that they are for.

use std::task::{Context, Poll};

use super::{Driver, GOODBYE, LAST_WORDS, PARTING, end};
use crate::error::Ending;
use crate::observe::Cause;

/// The purpose of a timer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timer {
    /// The peer's SETTINGS should have come.
    Handshake,
    /// The transport takes no more, and should have said why.
    Broken,
    /// The link should be gone.
    Goodbye,
    /// The peer has perhaps been silent for long.
    KeepAlive,
    /// Nobody may have used the link for long enough.
    Idle,
    /// The link has been there for long enough.
    Age,
    /// A stream's linger, or a refusal's body.
    Stream(usize),
    /// A stream on which perhaps nothing moves.
    Quiet(usize),
}

impl Driver {
    pub(super) fn poll_timers(&mut self) {
        if self.session.is_broken() && !std::mem::replace(&mut self.broken, true) {
            self.timers.insert(Timer::Broken, LAST_WORDS);
        }
        // A server asks its client whether requests are still on their way, and the client may
        // not answer. Where something is owed to it, its silence is bounded by keep-alive instead.
        let leaves = self.is_leaving() && !self.owes();
        let time = if self.is_over { PARTING } else { GOODBYE };
        match self.leaving {
            None if leaves => self.leaving = Some(self.timers.insert(Timer::Goodbye, time)),
            Some(timer) if !leaves => {
                self.timers.remove(&timer);
                self.leaving = None;
            }
            _ => {}
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(&mut cx) {
            match expired.into_inner() {
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
                Timer::Goodbye => {
                    self.leaving = None;
                    self.stop_leaving();
                }
                Timer::Idle => self.idle_time_is_up(),
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
