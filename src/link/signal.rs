//! How a driver is woken, and by which of its streams.
//!
//! Each stream has a waker of its own, which puts the stream on the ready list: a turn costs what
//! the streams with work cost, however many are open. While the driver is in its turn, a wake only
//! sets a flag (h2 wakes its task inside nearly every call), which the driver looks at before it
//! goes to sleep.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake};

use crate::sync::{AtomicBool, AtomicU8, AtomicUsize, AtomicWaker, Mutex, lock};

/// The driver sleeps; a wake must reach its task.
const ASLEEP: u8 = 0;
/// In its turn, nothing new: who has just listed a stream is about to say so.
const AWAKE: u8 = 1;
/// In its turn, and streams may have been listed since it last took the list.
const LISTED: u8 = 2;
/// In its turn, and something else has happened since it last looked.
const FLAGGED: u8 = 3;
/// Its task has been woken and has not run yet.
const WOKEN: u8 = 4;

#[derive(Debug)]
pub(crate) struct Signal {
    state: AtomicU8,
    task: AtomicWaker,
    /// `None` when the driver is gone.
    ready: Mutex<Option<Vec<Arc<StreamWaker>>>>,
}

impl Signal {
    pub(crate) fn new() -> Arc<Signal> {
        let state = AtomicU8::new(WOKEN);
        let ready = Mutex::new(Some(Vec::new()));
        Arc::new(Signal { state, task: AtomicWaker::new(), ready })
    }

    /// The driver's task has been polled.
    pub(crate) fn begin(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        // Who was listed while the task was on its way could not say so.
        self.state.store(LISTED, SeqCst);
    }

    /// What has happened until now is about to be dealt with: h2 and the wire are about to be
    /// polled, and then the list is taken. Whatever else is not seen by polling must be kept track of
    /// apart.
    pub(crate) fn clear(&self) {
        let _ = self.state.compare_exchange(FLAGGED, LISTED, SeqCst, SeqCst);
    }

    /// The driver goes to sleep; `false` if there is more to do, and it must not.
    pub(crate) fn sleep(&self) -> bool {
        self.state.compare_exchange(AWAKE, ASLEEP, SeqCst, SeqCst).is_ok()
    }

    /// The driver gives way to other tasks although there is more to do.
    pub(crate) fn give_way(&self, cx: &Context<'_>) {
        self.state.store(WOKEN, SeqCst);
        cx.waker().wake_by_ref();
    }

    /// Moves the ready streams' keys to `keys`. That some were listed is dealt with then: most often
    /// HTTP/2 lists them while it is polled, and it would be a turn for nothing.
    pub(crate) fn take_ready(&self, keys: &mut Vec<usize>) {
        if self.state.load(SeqCst) == AWAKE {
            return;
        }
        // Before the list is taken: who comes in between is in it, and flags at worst in vain.
        let _ = self.state.compare_exchange(LISTED, AWAKE, SeqCst, SeqCst);
        for waker in lock(&self.ready).iter_mut().flat_map(|ready| ready.drain(..)) {
            waker.listed.store(false, SeqCst);
            keys.push(waker.key.load(SeqCst));
        }
    }

    /// The driver is gone: nothing is listed any more. The list and its wakers hold each other.
    pub(crate) fn close(&self) {
        *lock(&self.ready) = None;
        self.task.take();
    }

    /// Sets the flag of a driver in its turn, or wakes its task.
    pub(crate) fn notify(&self) {
        self.rouse(FLAGGED);
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

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}

/// The waker of one stream.
#[derive(Debug)]
pub(crate) struct StreamWaker {
    key: AtomicUsize,
    listed: AtomicBool,
    signal: Arc<Signal>,
}

/// The key of a stream that its driver has not seen yet.
pub(crate) const NO_KEY: usize = usize::MAX;

impl StreamWaker {
    pub(crate) fn new(signal: &Arc<Signal>) -> Arc<StreamWaker> {
        let (key, listed) = (AtomicUsize::new(NO_KEY), AtomicBool::new(false));
        Arc::new(StreamWaker { key, listed, signal: Arc::clone(signal) })
    }

    /// The driver has given the stream its place.
    pub(crate) fn set_key(&self, key: usize) {
        self.key.store(key, SeqCst);
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.listed.swap(true, SeqCst) {
            if let Some(ready) = &mut *lock(&self.signal.ready) {
                ready.push(Arc::clone(self));
            }
            self.signal.rouse(LISTED);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_wake_in_the_turn_is_a_flag_and_a_wake_in_sleep_reaches_the_task_once() {
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let signal = Signal::new();
        let mine = Waker::from(Arc::clone(&signal));

        signal.begin(&Context::from_waker(&waker));
        mine.wake_by_ref();
        signal.take_ready(&mut Vec::new());
        assert!(!signal.sleep());
        signal.clear();
        assert!(!signal.sleep(), "a stream may have been listed as well");
        signal.take_ready(&mut Vec::new());
        assert!(signal.sleep());
        assert_eq!(task.0.load(SeqCst), 0);

        mine.wake_by_ref();
        mine.wake_by_ref();
        assert_eq!(task.0.load(SeqCst), 1);
    }

    #[test]
    fn a_stream_is_listed_once_until_it_is_taken() {
        let signal = Signal::new();
        signal.begin(&Context::from_waker(Waker::noop()));
        let streams = [7, 8].map(|key| {
            let stream = StreamWaker::new(&signal);
            stream.set_key(key);
            Waker::from(stream)
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
        Waker::from(Arc::clone(&signal)).wake();
        streams[0].wake_by_ref();
        signal.take_ready(&mut keys);
        assert_eq!(keys, [7, 8, 8, 7]);
        assert!(!signal.sleep(), "something else has happened as well");
    }
}
