//! The parts of the tests under loom: its atomics, with additions, and tasks.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::atomic;
use loom::thread::JoinHandle;

use super::{Mutex, lock};

/// loom treats `SeqCst` accesses as weaker than they are, and would report impossible orders. It
/// handles fences well, and a fence on either side gives the accesses their single order.
fn ordered<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
    let fence = || (order == Ordering::SeqCst).then(|| atomic::fence(order));
    fence();
    let result = access();
    fence();
    result
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> $name {
                $name(atomic::$name::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                ordered(order, || self.0.load(order))
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                ordered(order, || self.0.store(value, order));
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicUsize, usize);

impl AtomicBool {
    pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
        ordered(order, || self.0.swap(value, order))
    }
}

impl AtomicU8 {
    pub(crate) fn compare_exchange(
        &self,
        current: u8,
        new: u8,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u8, u8> {
        ordered(success, || self.0.compare_exchange(current, new, success, failure))
    }

    pub(crate) fn compare_exchange_weak(
        &self,
        current: u8,
        new: u8,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u8, u8> {
        self.compare_exchange(current, new, success, failure)
    }
}

impl AtomicUsize {
    pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
        ordered(order, || self.0.fetch_add(value, order))
    }

    pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
        ordered(order, || self.0.fetch_sub(value, order))
    }

    pub(crate) fn swap(&self, value: usize, order: Ordering) -> usize {
        ordered(order, || self.0.swap(value, order))
    }
}

/// An `AtomicWaker` with the interface of the crate of that name.
#[derive(Debug, Default)]
pub(crate) struct AtomicWaker(loom::future::AtomicWaker);

impl AtomicWaker {
    pub(crate) fn new() -> AtomicWaker {
        AtomicWaker::default()
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.0.register_by_ref(waker);
    }

    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    pub(crate) fn take(&self) -> Option<Waker> {
        self.0.take_waker()
    }
}

/// Runs `test` in every order in which its threads can meet. A deadlock is a failure. A thread is
/// interrupted at most three times where it need not wait, unless `LOOM_MAX_PREEMPTIONS` is set.
/// Each further interruption takes ten times as long, and two find every fault that was ever
/// introduced to try the tests.
pub(crate) fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(test);
}

/// Runs `future` on a thread of its own, and returns its output when joined.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: 'static> + 'static,
{
    loom::thread::spawn(|| block_on(future))
}

/// The waker of a mover, and the place where the mover waits for it.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<(bool, Option<Waker>)>);

impl Bell {
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| {
            let mut bell = lock(&self.0);
            if std::mem::take(&mut bell.0) {
                return Poll::Ready(());
            }
            bell.1 = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut bell = lock(&self.0);
        bell.0 = true;
        let waker = bell.1.take();
        drop(bell);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
