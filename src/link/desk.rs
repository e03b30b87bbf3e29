//! The place where a link's driver works. Its own task works there, and for a moment a user's task
//! that writes.
//!
//! Neither task waits. If a user's task finds the place taken, it leaves its bytes to the driver.
//! If the driver's task finds a user's task there, it is woken when that has left.

use std::sync::TryLockError;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicWaker, Mutex, MutexGuard, fence, lock};

/// The desk of a driver.
pub(super) struct Desk<D> {
    work: Mutex<Option<Work<D>>>,
    /// The waker of the driver's task, if that has found a user's task here.
    missed: AtomicWaker,
}

/// A user's task at the desk. Dropping this frees the place first, and then wakes the driver's
/// task.
struct Visit<'a, D> {
    place: MutexGuard<'a, Option<Work<D>>>,
    _leaving: Leaving<'a, D>,
}

/// Wakes the driver's task if it has come meanwhile, or if it must end because the user's task has
/// panicked.
struct Leaving<'a, D>(&'a Desk<D>);

impl<D> Drop for Leaving<'_, D> {
    fn drop(&mut self) {
        // Since the place is free, the driver's task has either found it free or registered its
        // waker.
        fence(SeqCst);
        self.0.missed.wake();
        if std::thread::panicking()
            && let Err(TryLockError::Poisoned(place)) = self.0.work.try_lock()
            && let Some(work) = place.get_ref().as_ref()
        {
            work.task.wake_by_ref();
        }
    }
}

struct Work<D> {
    driver: Box<D>,
    /// The driver's task.
    task: Waker,
}

impl<D> Desk<D> {
    /// Makes a desk without a driver.
    pub(super) fn new() -> Desk<D> {
        Desk { work: Mutex::new(None), missed: AtomicWaker::new() }
    }

    /// Puts the driver in its place.
    pub(super) fn set(&self, driver: D) {
        let (driver, task) = (Box::new(driver), Waker::noop().clone());
        *lock(&self.work) = Some(Work { driver, task });
    }

    /// Removes the driver, which has ended.
    pub(super) fn clear(&self) {
        let work = lock(&self.work).take();
        drop(work);
    }

    /// Lets a user's task act in the driver's place, with the context of the driver's task. `None`
    /// if the place is taken, or if the driver has ended.
    pub(super) fn visit<T>(&self, act: impl FnOnce(&mut D, &mut Context<'_>) -> T) -> Option<T> {
        let place = self.work.try_lock().ok()?;
        let mut visit = Visit { place, _leaving: Leaving(self) };
        let Work { driver, task } = visit.place.as_mut()?;
        Some(act(driver, &mut Context::from_waker(task)))
    }

    /// Lets the driver's task work, now or when the present user's task has left.
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
            // A user's task has panicked here, and its unfinished work is unknown.
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
    use crate::sync::Woken;

    #[test]
    fn a_visitor_that_panics_ends_the_drivers_task() {
        let desk = Desk::new();
        let (task, waker) = Woken::new();
        let mut cx = Context::from_waker(&waker);
        desk.set(1);
        assert_eq!(desk.visit(|driver, _| *driver + 1), Some(2));
        assert_eq!(desk.poll(&mut cx, |_, _| Poll::Pending), Poll::Pending);
        let visit = AssertUnwindSafe(|| desk.visit(|_, _| panic!("on purpose")));
        let before = task.count();
        assert!(catch_unwind(visit).is_err());
        assert_eq!(task.count(), before + 1, "it would sleep, for nobody else knows");
        assert_eq!(desk.visit(|driver, _| *driver), None);
        assert_eq!(desk.poll(&mut cx, |_, _| Poll::Pending), Poll::Ready(()));
    }

    #[test]
    fn a_driver_that_comes_during_a_visit_is_woken_also_by_a_panic() {
        let desk = Desk::new();
        let (task, waker) = Woken::new();
        desk.set(1);
        let visit = AssertUnwindSafe(|| {
            desk.visit(|_, _| {
                let poll = desk.poll(&mut Context::from_waker(&waker), |_, _| Poll::Ready(()));
                assert_eq!(poll, Poll::Pending);
                panic!("on purpose");
            })
        });
        assert!(catch_unwind(visit).is_err());
        assert_eq!(task.count(), 1);
    }
}
