//! Receive windows: how much the peer may send, on each stream and on the link.
//!
//! The link's memory `M` is split in two. A quarter, the base, stays open in the link's own window
//! however much its streams hold unread, because the link's window is raised by the bytes that are
//! held. So a stream that is not read cannot stop the other streams. The rest is divided among the
//! streams' windows: `INITIAL_WINDOW_SIZE` (RFC 9113 §6.9.2) shrinks as streams are opened, so that
//! they cannot hold more than `M` together. A lower value takes effect one round trip later and
//! cannot take back bytes that have arrived, so the streams can still exceed `M`. Then the stream
//! that holds most is reset.
//!
//! If the path carries more in a round trip than a window holds (`link/bandwidth.rs`), the window
//! grows: the base to a half of `M`, and the window of a stream whose user reads so much to a cap.
//! Such a stream is *wide*. It has a window of its own, which WINDOW_UPDATE raises (RFC 9113
//! §6.9). The wide streams divide what the other streams leave of the rest. A stream that was never
//! read fast is not wide.
//!
//! Credit of a wide stream cannot be taken back. So what its peer may still send counts, and not
//! only the window that it should have: other wide streams get less meanwhile, and then also
//! `INITIAL_WINDOW_SIZE` is smaller.

use std::time::Duration;

use tokio::time::Instant;

use super::bandwidth::Need;
use crate::config::Config;

/// The shortest time between two rises of `INITIAL_WINDOW_SIZE`. Otherwise many connections that
/// come and go would cause many SETTINGS, which peers take for an attack.
const RISES: Duration = Duration::from_secs(1);

/// The least window of a stream, even with very many streams.
const LEAST: u32 = 4 << 10;

/// The part of the link's window that stays open before it has grown.
fn first_base(memory: u32) -> u32 {
    (memory / 4).max(LEAST)
}

#[derive(Debug)]
pub(crate) struct Windows {
    /// The largest window of a stream that is not wide.
    first: u32,
    /// The largest window of a wide stream for now, and the largest that it may grow to.
    most: u32,
    cap: u32,
    memory: u32,
    /// The part of the link's window that stays open.
    base: u32,
    /// The number of streams that the windows are made for, a power of two.
    slots: u32,
    /// The windows that the peer knows.
    stream: u32,
    wide: u32,
    link: u32,
    /// The bytes missing of each share, because peers of wide streams were promised too much.
    missing: u32,
    raised: Option<Instant>,
}

/// The room that wide streams divide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// The window that each of them has in any case.
    share: u32,
    /// The bytes that all of them have in addition.
    left: u32,
    /// The largest window.
    most: u32,
    /// The number of streams that have a share, wide or not.
    slots: u32,
}

/// The outcome of a division.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    pub(crate) window: u32,
    /// Some peers were promised more than this window.
    pub(crate) is_tight: bool,
    /// The bytes missing of each other stream's share.
    pub(crate) missing: u32,
}

impl Room {
    fn window(self, left: u64, streams: usize) -> u32 {
        let more = u32::try_from(left / streams.max(1) as u64).unwrap_or(u32::MAX);
        self.share.saturating_add(more).min(self.most).max(self.share)
    }

    /// Divides the room among wide streams. `promised` has, for each of them, the bytes that lie
    /// unread and those that the peer may still send. Streams that were promised too much keep that,
    /// and take it from the other wide streams, and then from the shares of all others.
    pub(crate) fn divide(self, promised: &mut [u32]) -> Division {
        promised.sort_unstable_by(|one, other| other.cmp(one));
        let (mut left, mut excess, mut others) = (u64::from(self.left), 0, self.slots);
        let mut streams = promised.len();
        for bytes in promised {
            if *bytes <= self.window(left, streams) {
                break;
            }
            let more = u64::from(bytes.saturating_sub(self.share));
            excess += more.saturating_sub(left);
            left = left.saturating_sub(more);
            (streams, others) = (streams - 1, others.saturating_sub(1));
        }
        let missing = excess.div_ceil(others.max(1).into());
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        let least = self.share.saturating_sub(missing).max(LEAST.min(self.share));
        Division {
            window: if missing > 0 { least } else { self.window(left, streams) },
            is_tight: left < u64::from(self.left) || missing > 0,
            missing,
        }
    }
}

impl Windows {
    pub(crate) fn new(config: &Config) -> Windows {
        let base = first_base(config.link_memory);
        let mut windows = Windows {
            first: config.window,
            most: config.window,
            cap: config.max_window.max(config.window),
            memory: config.link_memory,
            base,
            slots: 1,
            stream: 0,
            wide: 0,
            link: base,
            missing: 0,
            raised: None,
        };
        windows.stream = windows.share();
        windows
    }

    /// The window of a stream that is not wide, as told to the peer.
    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }

    /// The window of a wide stream, as told to the peer. 0 if no stream is wide.
    pub(crate) fn wide(&self) -> u32 {
        self.wide
    }

    /// The window of the link when nothing is held.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    /// Whether a measurement can make windows grow.
    pub(crate) fn can_grow(&self) -> bool {
        self.most < self.cap
    }

    /// Grows the windows to the measured need, as far as they may.
    pub(crate) fn grow(&mut self, need: Need) {
        let grown = |window: u32, need: Option<u64>, most: u32| {
            let need = need.map_or(window, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
            need.min(most).max(window)
        };
        self.base = grown(self.base, need.link, self.memory / 2);
        self.most = grown(self.most, need.stream, self.cap);
    }

    /// The part of a need that windows can grow to and have not grown to yet.
    pub(crate) fn useful(&self, need: Need) -> Need {
        Need {
            stream: need.stream.filter(|bytes| self.can_grow() && *bytes > self.most.into()),
            link: need.link.filter(|_| self.base < self.memory / 2),
        }
    }

    /// The part of the memory that is divided among the streams.
    fn rest(&self) -> u32 {
        self.memory.saturating_sub(self.base)
    }

    fn share(&self) -> u32 {
        (self.rest() / self.slots).min(self.first).max(LEAST.min(self.first))
    }

    /// The room that wide streams divide.
    pub(crate) fn room(&self) -> Room {
        let share = self.share();
        let left = self.rest().saturating_sub(share.saturating_mul(self.slots));
        Room { share, left, most: self.most, slots: self.slots }
    }

    /// Whether one more wide stream, beside so many, would have a window that is worth it.
    pub(crate) fn can_widen(&self, streams: usize) -> bool {
        let room = self.room();
        let worth = room.share.saturating_add(room.share / 4);
        let is_room_left = streams == 0 || self.wide > room.share;
        is_room_left
            && self.most > self.first
            && room.window(room.left.into(), streams + 1) >= worth
    }

    /// The peer is being told this window for all wide streams.
    pub(crate) fn set_wide_window(&mut self, window: u32) {
        self.wide = window;
    }

    /// Sets how many bytes are missing of each share, because peers of wide streams were promised too much.
    pub(crate) fn set_missing(&mut self, bytes: u32) {
        self.missing = bytes;
    }

    /// Sets the number of open streams.
    pub(crate) fn set_open(&mut self, open: usize) {
        let open = u32::try_from(open).unwrap_or(u32::MAX).clamp(1, 1 << 30);
        if open > self.slots || open * 2 <= self.slots {
            self.slots = open.next_power_of_two();
        }
    }

    /// The window of a stream that is not wide, if it differs from the one that the peer knows.
    pub(crate) fn wanted_stream_window(&self) -> Option<u32> {
        let share = self.share().saturating_sub(self.missing).max(LEAST.min(self.first));
        let may_rise = || self.raised.is_none_or(|raised| raised.elapsed() >= RISES);
        let wanted = share < self.stream || (share > self.stream && may_rise());
        wanted.then_some(share)
    }

    /// The peer is being told this window.
    pub(crate) fn set_stream_window(&mut self, window: u32) {
        if window > self.stream {
            self.raised = Some(Instant::now());
        }
        self.stream = window;
    }

    /// The link's window with this many bytes held unread, if it is worth a change.
    pub(crate) fn wanted_link_window(&mut self, held: usize) -> Option<u32> {
        let held = u32::try_from(held).unwrap_or(u32::MAX);
        let target = self.base().saturating_add(held).min(self.memory.max(self.base()));
        if target.abs_diff(self.link) < self.base() / 8 && !(held == 0 && self.link != target) {
            return None;
        }
        self.link = target;
        Some(target)
    }

    /// Whether so many bytes are held that less than the first base is left for the others. The
    /// first base is all that streams were not promised; the base may have grown after the promise.
    pub(crate) fn is_over(&self, held: usize) -> bool {
        held + first_base(self.memory) as usize > (self.memory as usize).max(2 * LEAST as usize)
    }

    /// The bytes that the header fields of requests may take in addition to unread bytes: half of
    /// the memory. Streams are promised three quarters, and buffers can take twice as much as their
    /// content.
    pub(crate) fn room_for_fields(&self) -> usize {
        self.memory as usize / 2
    }

    pub(crate) fn memory(&self) -> u32 {
        self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u32 = 1 << 20;

    fn windows(window: u32, max_window: u32, link_memory: u32) -> Windows {
        Windows::new(&Config { window, max_window, link_memory, ..Config::default() })
    }

    /// The window that must be told with so many open streams.
    fn wanted(windows: &mut Windows, open: usize) -> Option<u32> {
        windows.set_open(open);
        windows.wanted_stream_window()
    }

    /// The window of so many wide streams whose peers may send nothing yet.
    fn wide_window(windows: &Windows, streams: usize) -> u32 {
        let Division { window, is_tight, missing } = windows.room().divide(&mut vec![0; streams]);
        assert!(!is_tight && missing == 0);
        window
    }

    #[test]
    fn windows_shrink_as_streams_are_opened_and_never_add_up_to_more_than_the_memory() {
        let mut windows = windows(MIB, MIB, 64 * MIB);
        assert_eq!(windows.stream(), MIB);
        for open in 1..10_000 {
            if let Some(window) = wanted(&mut windows, open) {
                windows.set_stream_window(window);
            }
            let all = open as u64 * u64::from(windows.stream()) + u64::from(windows.base());
            assert!(all <= 64 * u64::from(MIB), "{open} streams may hold {all}");
        }
        assert_eq!(wanted(&mut windows, 8_193), None, "a few less change nothing");
        assert_eq!(wanted(&mut windows, 30), Some(MIB));
    }

    #[tokio::test(start_paused = true)]
    async fn crowds_that_come_and_go_shrink_windows_at_once_and_grow_them_now_and_then() {
        let mut windows = windows(MIB, MIB, 64 * MIB);
        let mut changes = 0;
        for round in 0..1_000 {
            let open = if round % 2 == 0 { 1_000 } else { 1 };
            if let Some(window) = wanted(&mut windows, open) {
                windows.set_stream_window(window);
                changes += 1;
            }
            assert!(windows.stream() < MIB || open == 1, "1,000 streams have small windows");
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!((10..=25).contains(&changes), "{changes} changes in 10 s");
    }

    #[test]
    fn the_links_window_goes_up_with_what_is_held_in_steps_up_to_the_memory() {
        let mut windows = windows(MIB, MIB, 64 * MIB);
        assert_eq!(windows.wanted_link_window(1000), None);
        assert_eq!(windows.wanted_link_window(3 * MIB as usize), Some(19 * MIB));
        assert_eq!(windows.wanted_link_window(3 * MIB as usize + 1), None);
        assert_eq!(windows.wanted_link_window(100 * MIB as usize), Some(64 * MIB));
        assert_eq!(windows.wanted_link_window(0), Some(16 * MIB));
        assert!(!windows.is_over(48 * MIB as usize));
        assert!(windows.is_over(48 * MIB as usize + 1));
    }

    #[test]
    fn wide_windows_grow_to_what_is_needed_within_the_cap_and_the_memory() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        assert!(!windows.can_widen(0), "nothing was measured yet");
        for need in [2, 4, 8, 16, 32, 64] {
            let bytes = need * u64::from(MIB);
            windows.grow(Need { stream: Some(bytes), link: Some(bytes) });
            assert!(windows.can_widen(0));
            assert_eq!(u64::from(wide_window(&windows, 1)), bytes.min(32 << 20));
            assert_eq!(wanted(&mut windows, 1), None, "the others stay as they are");
            assert_eq!(u64::from(windows.base()), bytes.clamp(16 << 20, 32 << 20));
        }
        assert!(!windows.can_grow());
        assert!(!windows.is_over(48 << 20), "a stream that was promised so much is not reset");
        assert_eq!(windows.wanted_link_window(0), Some(32 * MIB));
        assert_eq!(wanted(&mut windows, 64), Some(MIB / 2), "a crowd shares the rest");
    }

    #[test]
    fn wide_streams_divide_what_the_others_leave() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        windows.grow(Need { stream: Some(u64::MAX), link: None });
        for open in 1..200 {
            if let Some(window) = wanted(&mut windows, open) {
                windows.set_stream_window(window);
            }
            for wide in 1..=open {
                let (all, own) = (open as u64 - wide as u64, wide_window(&windows, wide));
                assert!(own >= windows.stream());
                let all = all * u64::from(windows.stream()) + wide as u64 * u64::from(own);
                assert!(all + u64::from(windows.base()) <= 64 << 20, "{wide} of {open}: {own}");
            }
        }
        assert_eq!(wanted(&mut windows, 16), Some(MIB));
        windows.set_stream_window(MIB);
        let few = [1, 2, 4, 32].map(|wide| wide_window(&windows, wide));
        assert_eq!(few, [32 * MIB, 17 * MIB, 9 * MIB, 2 * MIB]);
    }

    #[test]
    fn a_crowd_leaves_no_more_to_wide_streams() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        windows.grow(Need { stream: Some(u64::MAX), link: None });
        assert_eq!(wanted(&mut windows, 128), Some(48 * MIB / 128));
        windows.set_stream_window(48 * MIB / 128);
        assert!(!windows.can_widen(0));
        assert_eq!(wide_window(&windows, 1), windows.stream());
    }

    #[test]
    fn the_smallest_knobs_give_working_windows() {
        let mut windows = windows(1, 1, 1);
        assert_eq!((windows.stream(), windows.base()), (1, LEAST));
        assert_eq!((wide_window(&windows, 0), wide_window(&windows, 1_000)), (1, 1));
        assert_eq!(wanted(&mut windows, usize::MAX), None);
        assert!(windows.wanted_link_window(usize::MAX).is_none_or(|window| window >= LEAST));
    }

    #[test]
    fn a_peer_that_may_still_send_much_leaves_less_to_the_others() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        windows.grow(Need { stream: Some(u64::MAX), link: None });
        windows.set_open(4);
        // 4 of 48 MiB are the streams' shares. Each is wide in turn, and then silent.
        let mut promised = Vec::new();
        for _ in 0..4 {
            promised.push(MIB);
            let division = windows.room().divide(&mut promised.clone());
            assert_eq!(division.missing, 0);
            *promised.last_mut().expect("it is there") = division.window;
        }
        assert_eq!(promised, [32 * MIB, 14 * MIB, MIB, MIB]);
        // The first peer sends some of it, and its window is divided anew.
        promised[0] = 20 * MIB;
        let division = windows.room().divide(&mut promised);
        assert_eq!(division, Division { window: 7 * MIB, is_tight: true, missing: 0 });
    }

    #[test]
    fn a_crowd_beside_a_peer_that_may_still_send_much_has_smaller_windows() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        windows.grow(Need { stream: Some(u64::MAX), link: None });
        assert_eq!(wanted(&mut windows, 32), None);
        // The shares of the others are 31 of 48 MiB, and 15 MiB are missing.
        let division = windows.room().divide(&mut [32 * MIB]);
        let missing = (15 * MIB).div_ceil(31);
        assert_eq!(division, Division { window: MIB - missing, is_tight: true, missing });
        windows.set_missing(missing);
        assert_eq!(windows.wanted_stream_window(), Some(MIB - missing));
        // One more wide stream has no more than the others.
        windows.set_wide_window(division.window);
        assert!(!windows.can_widen(1));
        let division = windows.room().divide(&mut [32 * MIB, MIB / 2]);
        assert_eq!(division.window, MIB - missing);
    }

    #[test]
    fn a_need_that_changes_nothing_is_none() {
        let mut windows = windows(MIB, 32 * MIB, 64 * MIB);
        let need = |mib: u64| Need { stream: Some(mib << 20), link: None };
        windows.grow(need(8));
        assert_eq!(windows.useful(need(8)), Need::default());
        assert_eq!(windows.useful(need(16)), need(16));
        windows.grow(Need { stream: Some(u64::MAX), link: Some(u64::MAX) });
        let all = Need { stream: Some(u64::MAX), link: Some(u64::MAX) };
        assert_eq!(windows.useful(all), Need::default());
    }

    #[test]
    fn nothing_is_widened_for_a_few_bytes_or_without_a_measurement() {
        let mut windows = windows(MIB, 32 * MIB, 50_000_000);
        windows.set_open(64);
        assert!(!windows.can_widen(0));
        windows.grow(Need { stream: Some(u64::MAX), link: None });
        assert!(!windows.can_widen(0), "32 bytes are left");
        windows.set_open(32);
        assert!(windows.can_widen(0));
    }
}
