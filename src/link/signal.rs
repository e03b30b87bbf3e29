//! How a driver is woken, and by which of its streams.
//!
//! Each stream has its own waker, which puts the stream on the ready list. So a turn costs only as
//! much as the streams with work, however many are open. During the driver's turn, a wake only sets
//! a flag, and the driver checks the flag before it goes to sleep.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Context;

use super::carrier::LinkCarrier;
use crate::sync::{AtomicU8, AtomicWaker, Mutex, lock};

/// The driver sleeps. A wake must reach its task.
const ASLEEP: u8 = 0;
/// Running, nothing new. A carrier that has just listed its stream has yet to set LISTED.
const AWAKE: u8 = 1;
/// Running, and streams may have been listed since the driver last took the list.
const LISTED: u8 = 2;
/// Running, and another event has happened since the driver last looked.
const FLAGGED: u8 = 3;
/// The driver's task has been woken and has not run yet.
const WOKEN: u8 = 4;

#[derive(Debug)]
pub(crate) struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
    /// `None` when the driver is gone.
    ready: Mutex<Option<Vec<Arc<LinkCarrier>>>>,
}

impl Signal {
    pub(crate) fn new() -> Signal {
        let state = AtomicU8::new(WOKEN);
        let ready = Mutex::new(Some(Vec::new()));
        Signal { state, task: AtomicWaker::new(), ready }
    }

    /// The driver's task has been polled.
    pub(crate) fn begin(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        // A stream that was listed between the wake and this poll has set no flag.
        self.state.store(LISTED, SeqCst);
    }

    /// Clears the flag, because a turn is about to handle all past events. An event that the turn
    /// does not check must be recorded elsewhere.
    pub(crate) fn clear(&self) {
        let _ = self.state.compare_exchange(FLAGGED, LISTED, SeqCst, SeqCst);
    }

    /// Puts the driver to sleep. `false` if there is more work, so that it must not sleep.
    pub(crate) fn sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, SeqCst, SeqCst).is_ok()
    }

    /// Lets other tasks run although the driver has more work.
    pub(crate) fn give_way(&self, cx: &Context<'_>) {
        self.state.store(WOKEN, SeqCst);
        cx.waker().wake_by_ref();
    }

    /// Moves the ready streams' keys to `keys`, and clears the flag for listed streams. Returns
    /// whether there can be some.
    pub(crate) fn take_ready(&self, keys: &mut Vec<usize>) -> bool {
        if self.state.load(SeqCst) == AWAKE {
            return false;
        }
        // Clear the flag before the list is taken. A stream that is listed in between is then in
        // the list, and its flag at worst causes an empty look.
        let _ = self.state.compare_exchange(LISTED, AWAKE, SeqCst, SeqCst);
        for carrier in lock(&self.ready).iter_mut().flat_map(|ready| ready.drain(..)) {
            keys.push(carrier.unlist());
        }
        true
    }

    /// Whether the driver sleeps, with no work left.
    pub(super) fn is_asleep(&self) -> bool {
        self.state.load(SeqCst) == ASLEEP
    }

    /// The driver is gone, so nothing is listed any more. The list and its wakers hold each other.
    pub(crate) fn close(&self) {
        *lock(&self.ready) = None;
        self.task.take();
    }

    /// Sets the flag of a running driver, or wakes its task.
    pub(crate) fn notify(&self) {
        self.rouse(FLAGGED);
    }

    /// Puts a stream on the list, and sets the flag of a running driver, or wakes its task.
    pub(super) fn list(&self, carrier: Arc<LinkCarrier>) {
        if let Some(ready) = &mut *lock(&self.ready) {
            ready.push(carrier);
        }
        self.rouse(LISTED);
    }

    fn rouse(&self, flag: u8) {
        let mut state = self.state.load(SeqCst);
        loop {
            let next = match state {
                ASLEEP => WOKEN,
                AWAKE | LISTED if flag > state => flag,
                _ => return,
            };
            match self.state.compare_exchange_weak(state, next, SeqCst, SeqCst) {
                Ok(ASLEEP) => return self.task.wake(),
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::super::Shared;
    use super::*;
    use crate::sync::Woken;

    #[test]
    fn a_wake_in_the_turn_is_a_flag_and_a_wake_in_sleep_reaches_the_task_once() {
        let (task, waker) = Woken::new();
        let shared = Shared::alone();
        let (signal, mine) = (&shared.signal, Waker::from(Arc::clone(&shared)));

        signal.begin(&Context::from_waker(&waker));
        mine.wake_by_ref();
        signal.take_ready(&mut Vec::new());
        assert!(!signal.sleep());
        signal.clear();
        assert!(!signal.sleep(), "a stream may have been listed as well");
        signal.take_ready(&mut Vec::new());
        assert!(signal.sleep());
        assert_eq!(task.count(), 0);

        mine.wake_by_ref();
        mine.wake_by_ref();
        assert_eq!(task.count(), 1);
    }

    #[test]
    fn a_stream_is_listed_once_until_it_is_taken() {
        let shared = Shared::alone();
        let signal = &shared.signal;
        signal.begin(&Context::from_waker(Waker::noop()));
        let streams = [7, 8].map(|key| {
            let carrier = LinkCarrier::new(&shared, None);
            carrier.set_key(key);
            Waker::from(carrier)
        });
        streams[0].wake_by_ref();
        streams[0].wake_by_ref();
        streams[1].wake_by_ref();
        signal.clear();
        assert!(!signal.sleep(), "clearing the flag does not hide a ready stream");
        let mut keys = Vec::new();
        signal.take_ready(&mut keys);
        assert_eq!(keys, [7, 8]);
        assert!(signal.sleep(), "all that has happened is dealt with");
        streams[1].wake_by_ref();
        signal.begin(&Context::from_waker(Waker::noop()));
        Waker::from(Arc::clone(&shared)).wake();
        streams[0].wake_by_ref();
        signal.take_ready(&mut keys);
        assert_eq!(keys, [7, 8, 8, 7]);
        assert!(!signal.sleep(), "something else has happened as well");
    }
}
