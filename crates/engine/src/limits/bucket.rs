//! The number of frames of a kind that may come: a stock that refills with time, and in addition
//! the frames that this side has requested.

use std::time::{Duration, Instant};

/// The capacity of a bucket, and the speed at which it fills.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) most: u32,
    pub(crate) per_second: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    stock: u32,
    /// Frames that this side has requested. They do not count against the stock.
    due: u64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) const fn new(size: Size) -> Bucket {
        Bucket { stock: size.most, due: 0, filled: None }
    }

    /// Takes a cost out. `false` if there is not as much.
    #[inline]
    pub(crate) fn spend(&mut self, size: Size, cost: u32, now: Instant) -> bool {
        let due = self.due.min(u64::from(cost));
        self.due -= due;
        // At most `cost`, which has 32 bits.
        let cost = cost - due as u32;
        if cost > 0 && self.stock < size.most / 2 {
            self.refill(size, now);
        }
        match self.stock.checked_sub(cost) {
            Some(stock) => {
                self.stock = stock;
                true
            }
            None => false,
        }
    }

    /// Adds the gain of the time since. Called only when the stock is low, which is rare.
    #[cold]
    fn refill(&mut self, size: Size, now: Instant) {
        let Some(filled) = self.filled else {
            self.filled = Some(now);
            return;
        };
        let passed = now.saturating_duration_since(filled).as_micros();
        let per_second = u128::from(size.per_second);
        let gained = passed * per_second / 1_000_000;
        if gained == 0 {
            return;
        }
        let room = size.most - self.stock;
        if gained >= u128::from(room) {
            self.stock = size.most;
            self.filled = Some(now);
        } else {
            // Less than the room, which has 32 bits. The rest of the time counts at the next call.
            self.stock += gained as u32;
            let worth = Duration::from_micros((gained * 1_000_000 / per_second) as u64);
            self.filled = Some(filled + worth);
        }
    }

    /// This side has requested this many frames.
    #[inline]
    pub(crate) fn expect(&mut self, frames: u64) {
        self.due = self.due.saturating_add(frames);
    }

    /// The same as [`Bucket::expect`], but at most `most` altogether.
    #[inline]
    pub(crate) fn expect_up_to(&mut self, most: u64, frames: u64) {
        self.due = self.due.saturating_add(frames).min(most);
    }

    /// This many more are honest now, up to the whole stock.
    #[inline]
    pub(crate) fn add(&mut self, size: Size, frames: u32) {
        self.stock = self.stock.saturating_add(frames).min(size.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { most: 1_000, per_second: 100 };

    /// A time. There is no clock here, so any instant will do.
    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test says what time it is")]
        Instant::now()
    }

    fn spent(bucket: &mut Bucket, now: Instant) -> usize {
        (0..10_000).take_while(|_| bucket.spend(SIZE, 1, now)).count()
    }

    #[test]
    fn a_stock_is_spent_and_refills_with_time() {
        let (mut bucket, now) = (Bucket::new(SIZE), start());
        assert_eq!(spent(&mut bucket, now), 1_000);
        assert_eq!(spent(&mut bucket, now + Duration::from_millis(9)), 0);
        assert_eq!(spent(&mut bucket, now + Duration::from_millis(15)), 1);
        assert_eq!(spent(&mut bucket, now + Duration::from_millis(20)), 1, "rests add up");
        assert_eq!(spent(&mut bucket, now + Duration::from_secs(3)), 298);
        assert_eq!(spent(&mut bucket, now + Duration::from_secs(1_000_000)), 1_000);
        assert_eq!(spent(&mut bucket, now), 0, "a clock that goes back gives nothing");
    }

    #[test]
    fn what_was_called_for_costs_nothing() {
        let (mut bucket, now) = (Bucket::new(SIZE), start());
        bucket.expect(500);
        assert_eq!(spent(&mut bucket, now), 1_500);
        bucket.add(SIZE, 7);
        assert_eq!(spent(&mut bucket, now), 7);
        bucket.add(SIZE, u32::MAX);
        assert_eq!(spent(&mut bucket, now), 1_000);
    }

    #[test]
    fn a_cost_that_is_partly_due_takes_the_rest_from_the_stock() {
        let (mut bucket, now) = (Bucket::new(SIZE), start());
        bucket.expect(5);
        assert!(bucket.spend(SIZE, 1_005, now));
        assert!(!bucket.spend(SIZE, 1, now));
    }
}
