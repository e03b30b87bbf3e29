//! The place of a link's driver: its task works there, and a user's task that writes, for a moment.
//!
//! Neither waits for the other: a user who finds the place taken leaves its bytes to the driver, and a driver
//! that finds a user there is woken when the user leaves.

use std::sync::TryLockError;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicWaker, Mutex, fence, lock};

/// The desk of a driver.
pub(super) struct Desk<D> {
    work: Mutex<Option<Work<D>>>,
    /// The driver's task, where it has found a user here.
    missed: AtomicWaker,
}

struct Work<D> {
    driver: Box<D>,
    /// The driver's task.
    task: Waker,
}

impl<D> Desk<D> {
    /// A desk without a driver.
    pub(super) fn new() -> Desk<D> {
        Desk { work: Mutex::new(None), missed: AtomicWaker::new() }
    }

    /// Gives the driver its place.
    pub(super) fn set(&self, driver: D) {
        let (driver, task) = (Box::new(driver), Waker::noop().clone());
        *lock(&self.work) = Some(Work { driver, task });
    }

    /// The driver is over.
    pub(super) fn clear(&self) {
        let work = lock(&self.work).take();
        drop(work);
    }

    /// Lets a user's task act in the driver's place, with the context of the driver's task. `None` if it is taken, or
    /// nobody's any more.
    pub(super) fn visit<T>(&self, act: impl FnOnce(&mut D, &mut Context<'_>) -> T) -> Option<T> {
        let mut work = self.work.try_lock().ok()?;
        let Work { driver, task } = work.as_mut()?;
        let done = act(driver, &mut Context::from_waker(task));
        drop(work);
        // Either the driver has found the place free since, or its waker is here.
        fence(SeqCst);
        self.missed.wake();
        Some(done)
    }

    /// Lets the driver's task work, now, or when a user who is there has left.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        work: impl FnOnce(&mut D, &mut Context<'_>) -> Poll<()>,
    ) -> Poll<()> {
        let mut place = self.work.try_lock();
        if let Err(TryLockError::WouldBlock) = place {
            self.missed.register(cx.waker());
            fence(SeqCst);
            place = self.work.try_lock();
        }
        let mut place = match place {
            Ok(place) => place,
            Err(TryLockError::WouldBlock) => return Poll::Pending,
            // A user's task has panicked here, and nobody knows what it has left undone.
            Err(TryLockError::Poisoned(_)) => return Poll::Ready(()),
        };
        let Some(Work { driver, task }) = place.as_mut() else { return Poll::Ready(()) };
        if !task.will_wake(cx.waker()) {
            *task = cx.waker().clone();
        }
        work(driver, cx)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_visitor_that_panics_ends_the_drivers_task() {
        let desk = Desk::new();
        let mut cx = Context::from_waker(Waker::noop());
        desk.set(1);
        assert_eq!(desk.visit(|driver, _| *driver + 1), Some(2));
        assert_eq!(desk.poll(&mut cx, |_, _| Poll::Pending), Poll::Pending);
        let visit = AssertUnwindSafe(|| desk.visit(|_, _| panic!("on purpose")));
        assert!(catch_unwind(visit).is_err());
        assert_eq!(desk.visit(|driver, _| *driver), None);
        assert_eq!(desk.poll(&mut cx, |_, _| Poll::Pending), Poll::Ready(()));
    }
}
