//! Flow-control windows (RFC 9113 §5.2, §6.9): the bytes that this side may send, and the bytes
//! that the peer may send.
//!
//! Windows are signed, because SETTINGS_INITIAL_WINDOW_SIZE can take back credit that is already
//! used (RFC 9113 §6.9.2).

/// The largest window (RFC 9113 §6.9.1).
pub(crate) const MAX: u32 = (1 << 31) - 1;

/// The initial window of a connection, and of a stream before SETTINGS (RFC 9113 §6.9.2).
pub(crate) const DEFAULT: u32 = 65_535;

/// A window would become larger than 2³¹−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

/// The window for sending: the bytes that this side may still send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SendWindow(i32);

impl SendWindow {
    pub(crate) fn new(initial: u32) -> SendWindow {
        SendWindow(initial.min(MAX) as i32)
    }

    /// The bytes that may go now.
    #[inline]
    pub(crate) fn available(&self) -> usize {
        self.0.max(0) as usize
    }

    /// The window itself, which may be negative.
    pub(crate) fn signed(&self) -> i64 {
        self.0.into()
    }

    /// Debits bytes, at most [`SendWindow::available`].
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.available());
        self.0 -= bytes as i32;
    }

    /// Gives back bytes that were debited and never written.
    pub(crate) fn untake(&mut self, bytes: usize) {
        let sum = i64::from(self.0) + bytes as i64;
        self.0 = sum.min(i64::from(MAX)) as i32;
    }

    /// The peer has given credit.
    pub(crate) fn grow(&mut self, by: u32) -> Result<(), Overflow> {
        self.shift(i64::from(by))
    }

    /// The peer has changed SETTINGS_INITIAL_WINDOW_SIZE by this much.
    pub(crate) fn shift(&mut self, by: i64) -> Result<(), Overflow> {
        let sum = i64::from(self.0) + by;
        if sum > i64::from(MAX) {
            return Err(Overflow);
        }
        // At least −2³¹: at most 2³¹−1 bytes of a window were ever used, and at most as many are
        // taken back.
        self.0 = sum.max(i64::from(i32::MIN)) as i32;
        Ok(())
    }
}

/// The window for receiving: the bytes that the peer may still send, and the received ones.
///
/// Always `available` (the peer may send it) + `held` (received, and not yet released by the
/// caller) + the credit that is due to the peer = `target`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecvWindow {
    available: i64,
    held: i64,
    target: i64,
    /// Whether the target was chosen for this window alone, so that SETTINGS do not change it.
    is_own: bool,
}

/// Whether due credit is worth a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// Below a quarter of the window: not yet worth a WINDOW_UPDATE.
    Nothing,
    /// From a quarter of the window on: it goes with the next output.
    CanWait,
    /// From half of it on: the peer may soon have to stop.
    Now,
}

impl RecvWindow {
    /// Makes a window that the peer knows.
    pub(crate) fn new(initial: u32) -> RecvWindow {
        let initial = i64::from(initial.min(MAX));
        RecvWindow { available: initial, held: 0, target: initial, is_own: false }
    }

    /// The peer has sent this many bytes that count.
    #[inline]
    pub(crate) fn receive(&mut self, bytes: usize) -> Result<(), Overflow> {
        let bytes = bytes as i64;
        // An empty frame needs no window (RFC 9113 §6.9.1), so the window may even be negative.
        if bytes > self.available.max(0) {
            return Err(Overflow);
        }
        self.available -= bytes;
        self.held += bytes;
        Ok(())
    }

    /// The caller is done with this many bytes. More than are held count as all that are held.
    #[inline]
    pub(crate) fn release(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.held -= bytes.min(self.held);
    }

    /// Sets the size that the window should have when nothing is held.
    pub(crate) fn set_target(&mut self, target: u32) {
        self.target = i64::from(target.min(MAX));
        self.is_own = true;
    }

    /// SETTINGS_INITIAL_WINDOW_SIZE of this side has changed by this much, and with it the peer's
    /// count. A target of its own stays, and the difference becomes due. If the target sank with
    /// the setting, it could reach 0, and no credit would ever be due again.
    pub(crate) fn shift(&mut self, by: i64) {
        self.available += by;
        if !self.is_own {
            self.target = (self.target + by).clamp(0, i64::from(MAX));
        }
    }

    /// The credit that is due to the peer. Negative if the target was lowered below the bytes
    /// promised to the peer.
    #[inline]
    fn credit(&self) -> i64 {
        self.target - self.available - self.held
    }

    /// Whether the credit is worth a frame.
    #[inline]
    pub(crate) fn due(&self) -> Due {
        self.due_of(self.target)
    }

    /// The same as [`RecvWindow::due`], for a window that many streams share. Bytes that some
    /// streams hold unreleased do not count, because the other streams could not use them.
    /// Otherwise a stream that holds most of the window would keep the rest too small to be worth a
    /// frame, for good.
    #[inline]
    pub(crate) fn due_of_the_rest(&self) -> Due {
        self.due_of((self.target - self.held).max(i64::from(DEFAULT)))
    }

    #[inline]
    fn due_of(&self, window: i64) -> Due {
        let credit = self.credit();
        if credit <= 0 || credit * 4 < window {
            Due::Nothing
        } else if credit * 2 < window {
            Due::CanWait
        } else {
            Due::Now
        }
    }

    /// Whether any credit is due.
    pub(crate) fn owes(&self) -> bool {
        self.credit() > 0
    }

    /// Takes the credit that is due, for a WINDOW_UPDATE.
    pub(crate) fn update(&mut self) -> Option<u32> {
        // A window below 0 may be due more than one frame can give (RFC 9113 §6.9). The next call
        // gives the rest.
        let credit = self.credit().min(i64::from(MAX));
        let credit = u32::try_from(credit).ok().filter(|credit| *credit > 0)?;
        self.available += i64::from(credit);
        Some(credit)
    }

    /// How much the window can rise.
    pub(crate) fn room(&self) -> u32 {
        let most = self.available.max(self.target).clamp(0, i64::from(MAX));
        MAX - most as u32
    }

    /// The bytes that the peer may still send.
    pub(crate) fn available(&self) -> i64 {
        self.available
    }

    /// The size that the window should have when nothing is held.
    pub(crate) fn target(&self) -> u32 {
        self.target as u32
    }

    /// The bytes that the caller has not yet released.
    pub(crate) fn held(&self) -> usize {
        self.held as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_window_can_become_negative_and_comes_back() {
        let mut window = SendWindow::new(DEFAULT);
        window.take(65_535);
        assert_eq!(window.shift(-65_535), Ok(()));
        assert_eq!((window.available(), window.0), (0, -65_535));
        assert_eq!(window.grow(65_535), Ok(()));
        assert_eq!(window.available(), 0);
        assert_eq!(window.grow(1), Ok(()));
        assert_eq!(window.available(), 1);
    }

    #[test]
    fn a_send_window_overflows_past_two_gigabytes_and_not_before() {
        let mut window = SendWindow::new(1);
        assert_eq!(window.grow(MAX - 1), Ok(()));
        assert_eq!(window.grow(1), Err(Overflow));
        assert_eq!(window.available(), MAX as usize, "an error changes nothing");
        assert_eq!(window.shift(1), Err(Overflow));
        window.take(MAX as usize);
        assert_eq!(window.shift(-i64::from(MAX)), Ok(()));
        assert_eq!(window.shift(-i64::from(MAX)), Ok(()), "no arithmetic overflows either");
    }

    #[test]
    fn bytes_that_were_never_written_come_back() {
        let mut window = SendWindow::new(10);
        window.take(10);
        window.untake(10);
        assert_eq!(window.available(), 10);
    }

    #[test]
    fn what_is_received_is_given_back_once_it_is_released_and_no_more() {
        let mut window = RecvWindow::new(100);
        assert_eq!(window.receive(101), Err(Overflow));
        assert_eq!(window.receive(80), Ok(()));
        assert_eq!((window.due(), window.update()), (Due::Nothing, None));
        window.release(24);
        assert_eq!(window.due(), Due::Nothing, "less than a quarter");
        window.release(1);
        assert_eq!(window.due(), Due::CanWait);
        window.release(1_000);
        assert_eq!((window.due(), window.held()), (Due::Now, 0));
        assert_eq!((window.update(), window.available()), (Some(80), 100));
        assert_eq!(window.update(), None);
    }

    #[test]
    fn what_some_hold_does_not_keep_the_rest_from_the_others() {
        const MIB: usize = 1 << 20;
        let mut window = RecvWindow::new(64 * MIB as u32);
        assert_eq!(window.receive(63 * MIB), Ok(()));
        window.release(10 * MIB);
        assert_eq!(window.due(), Due::Nothing);
        assert_eq!(window.due_of_the_rest(), Due::Now, "10 of 11 that are not held");
        assert_eq!(window.update(), Some(10 * MIB as u32));
        assert_eq!(window.receive(11 * MIB), Ok(()));
        window.release(8 << 10);
        assert_eq!(window.due_of_the_rest(), Due::Nothing, "not even then in crumbs");
    }

    #[test]
    fn a_lowered_target_takes_back_nothing_and_gives_nothing_until_it_is_reached() {
        let mut window = RecvWindow::new(100);
        window.set_target(40);
        assert!(!window.owes());
        assert_eq!(window.receive(100), Ok(()), "the peer was promised that");
        window.release(60);
        assert_eq!(window.update(), None);
        window.release(40);
        assert_eq!((window.due(), window.update()), (Due::Now, Some(40)));
    }

    #[test]
    fn a_lowered_setting_can_make_a_receive_window_negative() {
        let mut window = RecvWindow::new(100);
        assert_eq!(window.receive(100), Ok(()));
        window.shift(-90);
        assert_eq!((window.available(), window.target()), (-90, 10));
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.receive(0), Ok(()), "an empty frame needs no window");
        window.release(100);
        assert_eq!(window.update(), Some(100));
        assert_eq!(window.available(), 10);
    }

    #[test]
    fn no_update_gives_more_than_a_frame_can() {
        let mut window = RecvWindow::new(1_000);
        assert_eq!(window.receive(1_000), Ok(()));
        window.shift(-1_000);
        window.release(1_000);
        window.set_target(MAX);
        assert_eq!((window.update(), window.update()), (Some(MAX), Some(1_000)));
        assert_eq!(window.available(), i64::from(MAX));
    }
}
