//! Deadlines of reads and writes. A missed deadline does not harm the stream.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Conn, ReadHalf, Stream, WriteHalf};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{AtomicBool, Mutex, lock};

/// The time until which one direction may wait.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Whether a deadline is set. A connection without one pays only for this check.
    armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    /// Set at the first wait, because only a task has a runtime with a clock.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The two directions of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Read,
    Write,
}

/// Wakes the tasks that wait for one direction of a stream, when its timer fires. The stream owns
/// the timer, so the timer must not own the stream.
struct Alarm(Weak<Stream>, Direction);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        if let Some(stream) = self.0.upgrade() {
            stream.wake_waiting(self.1);
        }
    }
}

impl Deadline {
    fn set(&self, at: Option<Instant>) {
        let mut state = lock(&self.state);
        *state = State { at, timer: None };
        self.armed.store(at.is_some(), SeqCst);
    }

    /// Fails if the deadline has passed. Otherwise `alarm` is woken when it passes.
    #[inline]
    fn check(&self, direction: Direction, alarm: impl FnOnce() -> Waker) -> Result<()> {
        match self.armed.load(SeqCst) {
            true => self.check_time(direction, alarm),
            false => Ok(()),
        }
    }

    #[cold]
    fn check_time(&self, direction: Direction, alarm: impl FnOnce() -> Waker) -> Result<()> {
        let mut state = lock(&self.state);
        let Some(at) = state.at else { return Ok(()) };
        if at > Instant::now() && state.wait(at, alarm).is_pending() {
            return Ok(());
        }
        let what = match direction {
            Direction::Read => "the read deadline has passed",
            Direction::Write => "the write deadline has passed",
        };
        Err(Error::new(ErrorKind::TimedOut, what))
    }
}

impl State {
    /// Sets the timer, if it is not set.
    fn wait(&mut self, at: Instant, alarm: impl FnOnce() -> Waker) -> Poll<()> {
        if self.timer.is_some() {
            return Poll::Pending;
        }
        let timer = self.timer.insert(Box::pin(sleep_until(at)));
        // Unconstrained, or a task that has used up its budget would get no timer.
        let timer = pin!(unconstrained(timer.as_mut()));
        timer.poll(&mut Context::from_waker(&alarm()))
    }
}

impl Stream {
    fn deadline(&self, direction: Direction) -> &Deadline {
        match direction {
            Direction::Read => &self.read_deadline,
            Direction::Write => &self.write_deadline,
        }
    }

    fn wake_waiting(&self, direction: Direction) {
        match direction {
            Direction::Read => self.inbox.wake_readers(),
            Direction::Write => self.outbox.wake_writers(),
        }
    }

    fn set_deadline(&self, direction: Direction, at: Option<Instant>) {
        self.deadline(direction).set(at);
        self.wake_waiting(direction);
    }

    /// Polls an operation. If its deadline has passed, the operation is not even tried.
    ///
    /// An operation that must wait checks the deadline again: another task may have set a deadline,
    /// and woken the waiters, just before this one was among them.
    pub(super) fn poll_before<T>(
        self: &Arc<Self>,
        direction: Direction,
        operation: impl FnOnce() -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let check = || {
            let alarm = || Waker::from(Arc::new(Alarm(Arc::downgrade(self), direction)));
            self.deadline(direction).check(direction, alarm)
        };
        check()?;
        let poll = operation();
        if poll.is_pending() {
            check()?;
        }
        poll
    }
}

/// A time until which reads or writes may wait, for [`Conn::set_deadline`] and its like.
///
/// `None` is no deadline. The clock is that of the runtime: where a test has paused it, an `Instant` of `std::time` is not
/// affected by the pause.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a deadline",
    label = "expected `None`, an `Instant` of `std::time` or of `tokio::time`, or `Some` of tokio's",
    note = "pass an `Instant` of `std::time` without `Some`",
    note = "convert an `Option` of it: `deadline.map(tokio::time::Instant::from_std)`"
)]
pub trait IntoDeadline: sealed::Sealed {
    #[doc(hidden)]
    fn into_deadline(self) -> Option<Instant>;
}

mod sealed {
    pub trait Sealed {}

    // No other `Option`, or the compiler could not infer the type of `None`.
    impl Sealed for Option<tokio::time::Instant> {}
    impl Sealed for tokio::time::Instant {}
    impl Sealed for std::time::Instant {}
}

impl IntoDeadline for Option<Instant> {
    fn into_deadline(self) -> Option<Instant> {
        self
    }
}

impl IntoDeadline for Instant {
    fn into_deadline(self) -> Option<Instant> {
        Some(self)
    }
}

impl IntoDeadline for std::time::Instant {
    fn into_deadline(self) -> Option<Instant> {
        Some(Instant::from_std(self))
    }
}

impl ReadHalf {
    /// The same as [`Conn::set_read_deadline`].
    pub fn set_read_deadline(&self, deadline: impl IntoDeadline) {
        self.stream().set_deadline(Direction::Read, deadline.into_deadline());
    }
}

impl WriteHalf {
    /// The same as [`Conn::set_write_deadline`].
    pub fn set_write_deadline(&self, deadline: impl IntoDeadline) {
        self.stream().set_deadline(Direction::Write, deadline.into_deadline());
    }
}

impl Conn {
    /// Sets when reads stop waiting: at an `Instant` of `tokio::time` or of `std::time`. `None`, the
    /// default, is never.
    ///
    /// A read at or after the deadline fails with [`ErrorKind::TimedOut`], even if bytes are there,
    /// and takes none of them. A deadline also applies to reads that already wait, in any task. The
    /// stream is not harmed: once the deadline is cleared or moved on, reads continue where they
    /// were. (`read_exact` and similar methods are tokio's, and lose their place.) The clock's
    /// resolution is 1 ms.
    pub fn set_read_deadline(&self, deadline: impl IntoDeadline) {
        self.stream().set_deadline(Direction::Read, deadline.into_deadline());
    }

    /// Sets when writes, flushes, shutdowns and [`sent`](Conn::sent) stop waiting. `None`, the
    /// default, is never.
    ///
    /// A write at or after the deadline fails with [`ErrorKind::TimedOut`] and has accepted no
    /// byte. A shutdown that fails in this way stays requested. Bytes that were accepted before are
    /// still sent. In all other respects this is like
    /// [`set_read_deadline`](Conn::set_read_deadline).
    pub fn set_write_deadline(&self, deadline: impl IntoDeadline) {
        self.stream().set_deadline(Direction::Write, deadline.into_deadline());
    }

    /// Sets both deadlines.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// # fn limit(conn: &h2conn::Conn) {
    /// conn.set_deadline(Instant::now() + Duration::from_secs(30));
    /// conn.set_deadline(tokio::time::Instant::now() + Duration::from_secs(30));
    /// conn.set_deadline(None); // no deadline any more
    /// # }
    /// ```
    pub fn set_deadline(&self, deadline: impl IntoDeadline) {
        let deadline = deadline.into_deadline();
        self.set_read_deadline(deadline);
        self.set_write_deadline(deadline);
    }
}
