//! The necessary size of a window: the bytes that the path carries in a round trip, measured by
//! PING.
//!
//! A sender that has filled its window waits a round trip for more. So a window below bandwidth ×
//! delay makes a connection slower than the network. Between a PING and its answer, one round trip,
//! the probe counts the bytes that users have *read*. If these are most of the window, the window
//! may be holding the sender back, and it grows. Bytes that were only received do not count: a
//! larger window would not make a slow reader faster, only its queue longer.
//!
//! A window that is already larger than bandwidth × delay fills queues on the path. The round trip
//! grows with the queues, and the count grows with the round trip. So after its first growth a
//! window grows only if the previous growth has made the connection faster.
//!
//! A window is doubled. While the round trip is as short as ever, no queue has begun to fill: then a
//! small window whose previous growth has made the connection much faster grows to four times its
//! size. Once the round trip is longer, a window grows to no more than twice what the path carries
//! in the shortest round trip.
//!
//! A sample also shows which of the other streams are held back by their windows. Those get at once
//! the window that an earlier stream turned out to need.

use std::time::Duration;

use tokio::time::Instant;

/// After a measurement without effect the next one waits for this long, and twice as long each
/// further time. So a link that already carries what it can is rarely measured.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How much a window grows, and how much if there is no queue and it is not large afterwards. A
/// large window that is larger than needed would leave other streams much less.
const GROWTH: u32 = 2;
const FAST_GROWTH: u32 = 4;
const LARGE: u64 = 8 << 20;

/// The first sample begins when this part of a window was read. Later in the window, the rest of it
/// is too little to show a sender that waits.
const FIRST_PART: u32 = 8;

/// A stream asks for a sample after at most the first part of its window times two to this power,
/// again and again.
const MOST_ASKED: u32 = 12;

#[derive(Debug)]
pub(super) struct Probe {
    sample: Option<Sample>,
    /// The number of the present sample.
    number: u32,
    /// Bytes that were read since the last sample.
    since: u64,
    /// A stream that could become wide has read enough for a sample, whatever the pause.
    is_asked: bool,
    /// The rate in bytes a second when the window last grew.
    best: f64,
    /// The shortest round trip of a sample.
    shortest: Duration,
    /// The part of a window that is read before a sample begins: the window before its last growth,
    /// with which the sender filled the path until it heard of the growth.
    part: u32,
    pause: Duration,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Sample {
    began: Instant,
    /// The bytes read on the whole link.
    link: u64,
    /// The bytes read on the stream with most of them, and its window.
    stream: (u64, u32),
    /// A stream has asked for it during a pause.
    is_extra: bool,
}

/// A stream's counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    /// The bytes read in the sample with this number.
    number: u32,
    bytes: u64,
    /// The bytes read since the stream last asked for a sample, and how often it has asked.
    since: u64,
    asked: u32,
}

/// The windows that are needed, for a stream and for the whole link. `None` if the present one is
/// enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) stream: Option<u64>,
    pub(super) link: Option<u64>,
}

/// The larger of the window and the bytes read in a round trip, if these bytes are so many that the
/// sender may have waited. A sender that waits for its window sends at least three quarters of a
/// window in a round trip, because HTTP/2 gives credit back once a quarter of a window is free.
fn filled(read: u64, window: u32) -> Option<u64> {
    let window = u64::from(window);
    (read > 0 && read * 5 >= window * 3).then_some(read.max(window))
}

impl Probe {
    pub(super) fn new() -> Probe {
        Probe {
            sample: None,
            number: 0,
            since: 0,
            is_asked: false,
            best: 0.0,
            shortest: Duration::MAX,
            part: FIRST_PART,
            pause: FIRST_PAUSE,
            next: None,
        }
    }

    /// Counts bytes that were read of a stream with this window. A stream that could be wide asks
    /// for a sample after an eighth of a window, and then after twice as much each time.
    pub(super) fn count(
        &mut self,
        part: &mut Part,
        bytes: usize,
        window: u32,
        could_be_wide: impl FnOnce() -> bool,
    ) {
        let bytes = bytes as u64;
        if bytes == 0 {
            return;
        }
        let Some(sample) = &mut self.sample else {
            self.since += bytes;
            part.since += bytes;
            let enough = u64::from(window / FIRST_PART) << part.asked.min(MOST_ASKED);
            if part.since >= enough && could_be_wide() {
                (part.since, part.asked) = (0, part.asked + 1);
                self.is_asked = true;
            }
            return;
        };
        if part.number != self.number {
            (part.number, part.bytes) = (self.number, 0);
        }
        part.bytes += bytes;
        sample.link += bytes;
        sample.stream = sample.stream.max((part.bytes, window));
    }

    /// Whether a PING would give information: about windows of this size, if they can grow, or
    /// about a stream that could be wide.
    pub(super) fn is_due(&self, largest_window: u32, can_grow: bool) -> bool {
        let is_over = |pause: Instant| pause <= Instant::now();
        let may_grow = || {
            let enough = u64::from(largest_window / self.part);
            can_grow && self.since >= enough && self.next.is_none_or(is_over)
        };
        self.sample.is_none() && (self.is_asked || may_grow())
    }

    /// The PING has been sent.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        let is_extra =
            std::mem::take(&mut self.is_asked) && self.next.is_some_and(|next| next > now);
        self.number = self.number.wrapping_add(1);
        self.since = 0;
        self.sample = Some(Sample { began: now, link: 0, stream: (0, 0), is_extra });
    }

    /// A PING was answered. Returns the sizes that the windows of the stream with most bytes, and
    /// of the link, turned out to need, as far as that is `useful`. `None` if this was no sample.
    pub(super) fn end(
        &mut self,
        link_window: u32,
        useful: impl FnOnce(Need) -> Need,
    ) -> Option<Need> {
        let sample = self.sample.take()?;
        let now = Instant::now();
        let took = now - sample.began;
        let rate = sample.link as f64 / took.as_secs_f64().max(1e-6);
        // A much slower path is a different one, on which growing has not been tried.
        let is_new = rate <= self.best / 2.0;
        let shortest = if is_new { took } else { self.shortest.min(took) };
        self.shortest = shortest;
        let has_queue = took > shortest.saturating_mul(5) / 4;
        let is_fast = !has_queue && self.best > 0.0 && rate >= self.best * 1.5;
        let growth = |bytes: u64| match bytes * u64::from(FAST_GROWTH) {
            ..=LARGE if is_fast => FAST_GROWTH,
            _ => GROWTH,
        };
        let needed = |read: u64, window| {
            let bytes = filled(read, window)?;
            let grown = bytes * u64::from(growth(bytes));
            let carried = read as f64 * shortest.as_secs_f64() / took.as_secs_f64();
            let needed = if has_queue { grown.min((2.0 * carried) as u64) } else { grown };
            (needed > window.into()).then_some(needed)
        };
        let (bytes, window) = sample.stream;
        let stream = needed(bytes, window);
        let found = useful(Need { stream, link: needed(sample.link, link_window) });
        let pays = is_new || rate >= self.best * 1.25;
        if pays && found != Need::default() {
            (self.best, self.pause, self.next) = (rate, FIRST_PAUSE, None);
            self.part = growth(bytes.max(window.into()));
            return Some(found);
        }
        if !sample.is_extra {
            self.next = Some(now + self.pause);
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        }
        Some(Need::default())
    }

    /// Whether the last sample shows that a window of this size may hold the stream back.
    pub(super) fn holds_back(&self, part: &Part, window: u32) -> bool {
        part.number == self.number && filled(part.bytes, window).is_some()
    }

    /// A stream has become wide that the last sample has shown, and needs no sample for that.
    pub(super) fn has_widened(&mut self) {
        self.is_asked = false;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MIB: u32 = 1 << 20;

    /// Every need is useful.
    fn all(need: Need) -> Need {
        need
    }

    /// A sample after which streams need this window, or no larger one.
    fn grown(window: Option<u32>) -> Option<Need> {
        Some(Need { stream: window.map(u64::from), link: None })
    }

    /// A round trip in which a stream's user reads this many bytes.
    async fn sample(probe: &mut Probe, part: &mut Part, window: u32, bytes: u64, time: Duration) {
        probe.count(part, MIB as usize * 100, window, || false);
        probe.begin();
        advance(time).await;
        probe.count(part, bytes as usize, window, || false);
    }

    #[tokio::test(start_paused = true)]
    async fn windows_double_until_they_hold_what_the_path_carries() {
        const DELAY: Duration = Duration::from_millis(100);
        const PRODUCT: u32 = 12 * MIB;
        let (mut probe, mut part, mut window) = (Probe::new(), Part::default(), MIB);
        for _ in 0..10 {
            let bytes = (window / 3 * 2).min(PRODUCT).into();
            sample(&mut probe, &mut part, window, bytes, DELAY).await;
            if let Some(need) = probe.end(100 * MIB, all) {
                window = need.stream.map_or(window, |window| window as u32);
            }
        }
        assert!((PRODUCT * 3 / 2..PRODUCT * 10 / 3).contains(&window), "{window}");
    }

    #[tokio::test(start_paused = true)]
    async fn small_windows_grow_faster_until_a_queue_makes_the_round_trip_longer() {
        let (mut probe, mut part) = (Probe::new(), Part::default());
        let time = Duration::from_millis;
        let mut windows = Vec::new();
        for (quarters, round_trip) in [(1, 100), (2, 100), (8, 130), (16, 110), (64, 110)] {
            let window = quarters * MIB / 4;
            sample(&mut probe, &mut part, window, window.into(), time(round_trip)).await;
            windows.push(probe.end(1000 * MIB, all).and_then(|need| need.stream));
        }
        let quarters = |window: Option<u64>| window.map_or(0, |bytes| 4 * bytes / u64::from(MIB));
        let windows: Vec<_> = windows.into_iter().map(quarters).collect();
        assert_eq!(windows, [2, 8, 12, 32, 128], "8 with a queue, 16 and 64 are large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sample_begins_when_the_bytes_of_the_last_growth_come() {
        let (mut probe, mut part) = (Probe::new(), Part::default());
        let mut read = |probe: &mut Probe, window: u32, bytes: u32| {
            probe.count(&mut part, bytes as usize, window, || false);
            probe.is_due(window, true)
        };
        for (window, before) in [(MIB / 2, MIB / 16), (MIB, MIB / 2), (4 * MIB, MIB)] {
            assert!(!read(&mut probe, window, before - 1));
            assert!(read(&mut probe, window, 1), "{before} bytes were read");
            probe.begin();
            advance(Duration::from_millis(100)).await;
            read(&mut probe, window, window);
            assert!(probe.end(100 * MIB, all).is_some_and(|need| need.stream.is_some()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queues_that_fill_with_the_window_do_not_make_it_grow_for_ever() {
        const RATE: u32 = 10 * MIB;
        let (mut probe, mut part, mut window) = (Probe::new(), Part::default(), MIB);
        for _ in 0..10 {
            // The round trip lasts as long as the whole window needs to pass.
            let time = Duration::from_secs_f64(f64::from(window) / f64::from(RATE));
            sample(&mut probe, &mut part, window, window.into(), time).await;
            if let Some(need) = probe.end(100 * MIB, all) {
                window = need.stream.map_or(window, |window| window as u32);
            }
        }
        assert_eq!(window, 2 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_gets_longer_is_another_one() {
        let (mut probe, mut part) = (Probe::new(), Part::default());
        sample(&mut probe, &mut part, MIB, MIB.into(), Duration::from_millis(10)).await;
        assert_eq!(probe.end(100 * MIB, all), grown(Some(2 * MIB)));
        let window = 2 * MIB;
        sample(&mut probe, &mut part, window, window.into(), Duration::from_millis(100)).await;
        assert_eq!(probe.end(100 * MIB, all), grown(Some(4 * MIB)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_needs_no_more_and_is_measured_ever_less() {
        let (mut probe, mut part, mut samples) = (Probe::new(), Part::default(), 0);
        for _ in 0..6_000 {
            advance(Duration::from_millis(10)).await;
            probe.count(&mut part, MIB as usize, MIB, || false);
            if probe.is_due(MIB, true) {
                probe.begin();
                probe.count(&mut part, MIB as usize / 2, MIB, || false);
                assert_eq!(probe.end(100 * MIB, all), grown(None));
                samples += 1;
            }
        }
        assert!((8..=15).contains(&samples), "{samples} in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn many_streams_need_a_larger_window_for_the_link_alone() {
        let mut probe = Probe::new();
        let mut parts = [Part::default(); 64];
        probe.begin();
        advance(Duration::from_millis(100)).await;
        for part in &mut parts {
            probe.count(part, 200 << 10, MIB, || false);
        }
        let need = Need { stream: None, link: Some(32 * u64::from(MIB)) };
        assert_eq!(probe.end(16 * MIB, all), Some(need));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_could_be_wide_is_measured_during_a_pause_and_ever_less() {
        let (mut probe, mut part, mut samples) = (Probe::new(), Part::default(), Vec::new());
        sample(&mut probe, &mut part, MIB, 1, Duration::from_millis(10)).await;
        assert_eq!((probe.end(100 * MIB, all), probe.is_due(MIB, true)), (grown(None), false));
        for eighth in 1..400 {
            probe.count(&mut part, MIB as usize / 8, MIB, || true);
            if probe.is_due(MIB, false) {
                probe.begin();
                probe.count(&mut part, 1, MIB, || true);
                assert!(!probe.holds_back(&part, MIB));
                assert_eq!(probe.end(100 * MIB, all), grown(None));
                samples.push(eighth);
            }
        }
        assert_eq!(samples, [1, 3, 7, 15, 31, 63, 127, 255]);
        assert_eq!(probe.pause, 2 * FIRST_PAUSE, "the others' pause is not longer for it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_sample_shows_each_stream_that_its_window_holds_back() {
        let mut probe = Probe::new();
        let [mut fast, mut slow, mut silent] = [Part::default(); 3];
        sample(&mut probe, &mut silent, MIB, MIB.into(), Duration::from_millis(10)).await;
        assert!(probe.end(100 * MIB, all).is_some());
        probe.begin();
        advance(Duration::from_millis(10)).await;
        probe.count(&mut fast, 700 << 10, MIB, || true);
        probe.count(&mut slow, 600 << 10, MIB, || true);
        assert!(probe.end(100 * MIB, all).is_some());
        let parts = [fast, slow, silent, Part::default()];
        assert_eq!(parts.map(|part| probe.holds_back(&part, MIB)), [true, false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_stream_with_a_small_window_is_no_slower_path() {
        let (mut probe, mut part) = (Probe::new(), Part::default());
        let second = Duration::from_secs(1);
        sample(&mut probe, &mut part, 4 * MIB, 4 * u64::from(MIB), second).await;
        assert_eq!(probe.end(100 * MIB, all), grown(Some(8 * MIB)));
        let useful = |need: Need| Need { stream: need.stream.filter(|b| *b > 8 << 20), ..need };
        // Its first window holds it back, and the earlier stream's is larger than it needs.
        sample(&mut probe, &mut Part::default(), MIB, MIB.into(), second).await;
        assert_eq!(probe.end(100 * MIB, useful), grown(None));
        let bytes = 49 * u64::from(MIB) / 10;
        sample(&mut probe, &mut Part::default(), 8 * MIB, bytes, second).await;
        assert_eq!(probe.end(100 * MIB, useful), grown(None), "as fast as before");
    }
}
