//! The memory for bytes that wait to be sent, which the queues of a link share.
//!
//! Each queue may grow as long as it is no larger than what is still free, so that some room is
//! always left for a queue that fills later. Links share the memory of a listener in the same way.
//! Switches divide their memory by such dynamic thresholds (Choudhury and Hahne, 1998). A queue at
//! its threshold waits until bytes of its own have left. Others that get shorter need not wake it,
//! because every queue may hold [`SMALL`] bytes.

use std::sync::Arc;
// These numbers order nothing between tasks, so the models of loom need not try them.
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::buffers::SMALL;

/// A link tells the listener of a change by more than this. Few do, so they do not slow each other
/// down.
const STEP: usize = 256 << 10;

/// Memory with a cap, which may be a part of the memory of more queues.
#[derive(Debug)]
pub(crate) struct SendMemory {
    cap: usize,
    held: AtomicUsize,
    /// The part of `held` that `whole` knows of.
    told: AtomicUsize,
    whole: Option<Arc<SendMemory>>,
}

impl SendMemory {
    pub(crate) fn new(cap: usize) -> SendMemory {
        SendMemory::of(None, cap)
    }

    /// The same, as a part of `whole`.
    pub(crate) fn part_of(whole: &Arc<SendMemory>, cap: usize) -> SendMemory {
        SendMemory::of(Some(Arc::clone(whole)), cap)
    }

    fn of(whole: Option<Arc<SendMemory>>, cap: usize) -> SendMemory {
        SendMemory { cap, held: AtomicUsize::new(0), told: AtomicUsize::new(0), whole }
    }

    /// The bytes that a queue may hold at present.
    pub(super) fn threshold(&self) -> usize {
        self.free().max(SMALL)
    }

    fn free(&self) -> usize {
        let most = self.whole.as_ref().map_or(self.cap, |whole| self.cap.min(whole.free()));
        most.saturating_sub(self.held.load(Relaxed))
    }

    /// A queue holds `after` bytes in the place of `before`.
    pub(super) fn change(&self, before: usize, after: usize) {
        // The difference may wrap, and the wrapping sum is still right.
        let difference = after.wrapping_sub(before);
        let held = self.held.fetch_add(difference, Relaxed).wrapping_add(difference);
        let Some(whole) = &self.whole else { return };
        let told = self.told.load(Relaxed);
        if held.abs_diff(told) > STEP
            && self.told.compare_exchange(told, held, Relaxed, Relaxed).is_ok()
        {
            whole.change(told, held);
        }
    }
}

impl Drop for SendMemory {
    fn drop(&mut self) {
        if let Some(whole) = &self.whole {
            whole.change(*self.told.get_mut(), 0);
        }
    }
}

/// Memory without a cap.
impl Default for SendMemory {
    fn default() -> SendMemory {
        SendMemory::new(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_queue_may_take_as_much_as_it_leaves_and_always_a_little() {
        let memory = SendMemory::new(64 << 10);
        assert_eq!(memory.threshold(), 64 << 10);
        memory.change(0, 32 << 10);
        assert_eq!(memory.threshold(), 32 << 10);
        memory.change(0, 64 << 10);
        assert_eq!(memory.threshold(), SMALL, "more is held than the cap");
        memory.change(64 << 10, 16 << 10);
        assert_eq!(memory.threshold(), 16 << 10);
    }

    #[test]
    fn parts_share_the_whole_and_leave_it_with_nothing() {
        let whole = Arc::new(SendMemory::new(8 * STEP));
        let parts = [0; 2].map(|_| SendMemory::part_of(&whole, 6 * STEP));
        parts[0].change(0, STEP);
        assert_eq!(whole.free(), 8 * STEP, "not worth a word");
        parts[0].change(STEP, 3 * STEP);
        assert_eq!((parts[0].free(), parts[1].free()), (2 * STEP, 5 * STEP));
        parts[0].change(3 * STEP, 5 * STEP);
        assert_eq!((parts[0].free(), parts[1].free()), (0, 3 * STEP));
        parts[0].change(5 * STEP, 0);
        assert_eq!(parts[1].free(), 6 * STEP);
        parts[1].change(0, 2 * STEP);
        drop(parts);
        assert_eq!(whole.free(), 8 * STEP);
    }

    #[test]
    fn memory_without_a_cap_is_never_short() {
        let memory = SendMemory::default();
        memory.change(0, 1 << 40);
        assert!(memory.threshold() > 1 << 40);
    }
}
