//! The necessary size of a window: the bytes that the path carries in a round trip, measured by
//! PING.
//!
//! A sender that has filled its window waits a round trip for more. So a window below bandwidth ×
//! delay makes a connection slower than the network. Between a PING and its answer, one round trip,
//! the probe counts the bytes that users have *read*. If these are most of the window, the window
//! may be holding the sender back, and it is doubled. Bytes that were only received do not count: a
//! larger window would not make a slow reader faster, only its queue longer.
//!
//! A window that is already larger than bandwidth × delay fills queues on the path. The round trip
//! grows with the queues, and the count grows with the round trip. So after its first growth a
//! window grows only if the previous growth has made the connection faster.

use std::time::Duration;

use tokio::time::Instant;

/// After a measurement without effect the next one waits for this long, and twice as long each
/// further time. So a link that already carries what it can is rarely measured.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Probe {
    sample: Option<Sample>,
    /// The number of the present sample.
    number: u32,
    /// Bytes that were read since the last sample.
    since: u64,
    /// The rate in bytes a second when the window last grew.
    best: f64,
    pause: Duration,
    next: Option<Instant>,
}

#[derive(Debug)]
struct Sample {
    began: Instant,
    /// The bytes read on the whole link, and on the stream with the most bytes read.
    link: u64,
    stream: u64,
}

/// A stream's count in the sample with that number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    number: u32,
    bytes: u64,
}

/// The windows that are needed, for a stream and for the whole link. `None` if the present one is
/// enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) stream: Option<u64>,
    pub(super) link: Option<u64>,
}

/// Twice the larger of the window and the bytes read in a round trip, if these bytes are so many
/// that the sender may have waited. A sender that waits for its window sends at least three
/// quarters of a window in a round trip, because HTTP/2 gives credit back once a quarter of a
/// window is free.
fn need(read: u64, window: u32) -> Option<u64> {
    let window = u64::from(window);
    (read * 5 >= window * 3).then_some(2 * read.max(window))
}

impl Probe {
    pub(super) fn new() -> Probe {
        Probe { sample: None, number: 0, since: 0, best: 0.0, pause: FIRST_PAUSE, next: None }
    }

    /// Counts bytes of a stream that were read.
    pub(super) fn count(&mut self, part: &mut Part, bytes: usize) {
        let bytes = bytes as u64;
        let Some(sample) = &mut self.sample else {
            self.since += bytes;
            return;
        };
        if part.number != self.number {
            *part = Part { number: self.number, bytes: 0 };
        }
        part.bytes += bytes;
        sample.link += bytes;
        sample.stream = sample.stream.max(part.bytes);
    }

    /// Whether a PING would give information about windows of this size.
    pub(super) fn is_due(&self, stream_window: u32) -> bool {
        self.sample.is_none()
            && self.since >= u64::from(stream_window) / 2
            && self.next.is_none_or(|next| next <= Instant::now())
    }

    /// The PING has been sent.
    pub(super) fn begin(&mut self) {
        self.number = self.number.wrapping_add(1);
        self.since = 0;
        self.sample = Some(Sample { began: Instant::now(), link: 0, stream: 0 });
    }

    /// A PING was answered. Returns the sizes that windows of these sizes turned out to need.
    pub(super) fn end(&mut self, stream_window: u32, link_window: u32) -> Option<Need> {
        let sample = self.sample.take()?;
        let now = Instant::now();
        let rate = sample.link as f64 / (now - sample.began).as_secs_f64().max(1e-6);
        let stream = need(sample.stream, stream_window);
        let link = need(sample.link, link_window);
        // A much slower path is a different one, on which growing has not been tried.
        let pays = rate >= self.best * 1.25 || rate <= self.best / 2.0;
        if pays && (stream.is_some() || link.is_some()) {
            (self.best, self.pause, self.next) = (rate, FIRST_PAUSE, None);
            return Some(Need { stream, link });
        }
        self.next = Some(now + self.pause);
        self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const MIB: u32 = 1 << 20;

    /// A round trip in which a stream's user reads this many bytes.
    async fn sample(probe: &mut Probe, part: &mut Part, bytes: u64, time: Duration) {
        probe.count(part, MIB as usize * 100);
        probe.begin();
        advance(time).await;
        probe.count(part, bytes as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn windows_double_until_they_hold_what_the_path_carries() {
        const DELAY: Duration = Duration::from_millis(100);
        const PRODUCT: u32 = 12 * MIB;
        let (mut probe, mut part, mut window) = (Probe::new(), Part::default(), MIB);
        for _ in 0..10 {
            sample(&mut probe, &mut part, (window / 3 * 2).min(PRODUCT).into(), DELAY).await;
            if let Some(need) = probe.end(window, 100 * MIB) {
                window = need.stream.map_or(window, |window| window as u32);
            }
        }
        assert!((PRODUCT * 3 / 2..PRODUCT * 10 / 3).contains(&window), "{window}");
    }

    #[tokio::test(start_paused = true)]
    async fn queues_that_fill_with_the_window_do_not_make_it_grow_for_ever() {
        const RATE: u32 = 10 * MIB;
        let (mut probe, mut part, mut window) = (Probe::new(), Part::default(), MIB);
        for _ in 0..10 {
            // The round trip lasts as long as the whole window needs to pass.
            let time = Duration::from_secs_f64(f64::from(window) / f64::from(RATE));
            sample(&mut probe, &mut part, window.into(), time).await;
            if let Some(need) = probe.end(window, 100 * MIB) {
                window = need.stream.map_or(window, |window| window as u32);
            }
        }
        assert_eq!(window, 2 * MIB);
    }

    #[tokio::test(start_paused = true)]
    async fn a_path_that_gets_longer_is_another_one() {
        let (mut probe, mut part) = (Probe::new(), Part::default());
        sample(&mut probe, &mut part, MIB.into(), Duration::from_millis(10)).await;
        assert!(probe.end(MIB, 100 * MIB).is_some());
        sample(&mut probe, &mut part, (2 * MIB).into(), Duration::from_millis(100)).await;
        assert!(probe.end(2 * MIB, 100 * MIB).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_needs_no_more_and_is_measured_ever_less() {
        let (mut probe, mut part, mut samples) = (Probe::new(), Part::default(), 0);
        for _ in 0..6_000 {
            advance(Duration::from_millis(10)).await;
            probe.count(&mut part, MIB as usize);
            if probe.is_due(MIB) {
                probe.begin();
                probe.count(&mut part, MIB as usize / 2);
                assert_eq!(probe.end(MIB, 100 * MIB), None);
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
            probe.count(part, 200 << 10);
        }
        let need = Need { stream: None, link: Some(32 * u64::from(MIB)) };
        assert_eq!(probe.end(MIB, 16 * MIB), Some(need));
    }
}
