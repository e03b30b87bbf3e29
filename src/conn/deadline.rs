//! Deadlines of reads and writes, which never spoil the stream.

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

/// Until when one direction may wait.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    /// Whether there is one, so that a connection without pays next to nothing.
    armed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    /// Set when somebody first waits, since only a task has a runtime with a clock.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The two directions of a stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    Read,
    Write,
}

/// Wakes whoever waits for a direction of a stream, when its timer fires. The stream owns the
/// timer, so the timer must not own the stream.
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

    /// Fails if the deadline has passed; otherwise sees to it that `alarm` is woken when it does.
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
        // A task that has used up its budget would be put off, and the timer not set.
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

    /// Polls an operation unless its deadline has passed, in which case it is not even tried.
    ///
    /// The deadline is looked at again when the operation has to wait: it may have been set, and
    /// its waiters woken, just before this one was among them.
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

impl ReadHalf {
    /// As [`Conn::set_read_deadline`].
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.stream().set_deadline(Direction::Read, deadline);
    }
}

impl WriteHalf {
    /// As [`Conn::set_write_deadline`].
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.stream().set_deadline(Direction::Write, deadline);
    }
}

impl Conn {
    /// Sets when reads stop waiting; `None`, the default, is never.
    ///
    /// A read at or after the deadline fails with [`ErrorKind::TimedOut`], even if bytes are
    /// there, and takes none of them. Reads that wait already, in any task, are taken hold of. The
    /// stream is not harmed: with the deadline cleared or moved on, reads go on where they were.
    /// (`read_exact` and the like are tokio's, and lose their place.) The clock's resolution is
    /// 1 ms.
    pub fn set_read_deadline(&self, deadline: Option<Instant>) {
        self.stream().set_deadline(Direction::Read, deadline);
    }

    /// Sets when writes, flushes, shutdowns and [`sent`](Conn::sent) stop waiting; `None`, the
    /// default, is never.
    ///
    /// A write at or after the deadline fails with [`ErrorKind::TimedOut`] and has taken no byte;
    /// a shutdown that fails so stays requested. Otherwise as
    /// [`set_read_deadline`](Conn::set_read_deadline). Bytes that were accepted before go on being
    /// sent.
    pub fn set_write_deadline(&self, deadline: Option<Instant>) {
        self.stream().set_deadline(Direction::Write, deadline);
    }

    /// Sets both deadlines.
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        self.set_read_deadline(deadline);
        self.set_write_deadline(deadline);
    }
}
