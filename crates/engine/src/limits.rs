//! One table of limits: every type of frame, with every flag, has a row, a cost and an end.
//!
//! Flow control bounds the cost of DATA alone, so all other frames are bounded here. A peer may send
//! of each kind as many as an honest one would at its worst, and is told to calm down beyond
//! (ENHANCE_YOUR_CALM, RFC 9113 §10.5). The figures are generous: a client that drops 10,000
//! connections at once is honest.

mod bucket;

use std::time::Instant;

use bucket::{Bucket, Size};

/// Frames that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Resets,
    Priorities,
    PriorityUpdates,
    Settings,
    Pings,
    Continuations,
    WindowUpdates,
    Heads,
    EmptyData,
    Unasked,
    Goaways,
    Announcements,
    Unknown,
    StreamErrors,
    DeadData,
}

/// The name of each row, as errors say it, what it has in stock, and what a second adds.
const ROWS: [(&str, Size); 15] = [
    // Beside one for each stream that a client opens, and for each that a server has answered before
    // all of the request was there.
    ("RST_STREAM frames", size(20_000, 2_000)),
    ("PRIORITY frames", size(10_000, 100)),
    // A browser sends one for each request, which are due, and more when a tab is chosen.
    ("PRIORITY_UPDATE frames", size(10_000, 1_000)),
    ("SETTINGS frames", size(1_000, 100)),
    // Beside one for each DATA frame that this side sends: gRPC measures the line by a PING behind
    // what it reads, as soon as the last one is answered.
    ("PING frames", size(10_000, 2_000)),
    // Beside one behind each full frame of a field block.
    ("CONTINUATION frames", size(1_000, 50)),
    // Beside two for each byte that this side sends: on the stream, and on the connection.
    ("WINDOW_UPDATE frames", size(20_000, 2_000)),
    // Beside a server's answers, which are due, with two interim ones each (RFC 9110 §15.2).
    ("HEADERS frames", size(1_000, 100)),
    // Some libraries flush an empty frame now and then.
    ("DATA frames without content", size(1_000, 100)),
    ("acknowledgements that nobody asked for", size(1_000, 100)),
    ("GOAWAY frames", size(100, 10)),
    ("ALTSVC and ORIGIN frames", size(1_000, 100)),
    ("frames of unknown types", size(20_000, 2_000)),
    // A peer can have this side do all the work of a stream and reset it by breaking the rules on
    // each (CVE-2025-8671). An honest one breaks them where it cannot know better, in bursts: it
    // opens more streams than it may before it has seen the SETTINGS.
    ("stream errors, each of which calls for a reset", size(20_000, 200)),
    // In bytes with the heads of frames, beside what the windows allowed when the streams were reset.
    ("bytes for streams that are over", size(64 << 20, 16 << 20)),
];

/// The most WINDOW_UPDATEs that can be due: two for each byte of 2 MiB that are on their way. A peer
/// that reads late, and then gives credit for each small frame by itself, sends them all at once.
const MOST_UPDATES_DUE: u64 = 4 << 20;

const fn size(most: u32, per_second: u32) -> Size {
    Size { most, per_second }
}

/// The cost of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// So many of this row.
    Of(Row, u32),
    /// Its bytes, of a window (RFC 9113 §5.2).
    Window,
    /// A place among the streams that may be open (RFC 9113 §5.1.2), which comes back by what costs
    /// [`Row::Resets`] or [`Row::StreamErrors`], or by this side's own end.
    Place,
    /// One of what this side has called for, otherwise of [`Row::Unasked`].
    Answer,
    /// Nothing: it is an error at once.
    Error,
}

/// More of a row than an honest peer sends: the name of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) &'static str);

/// A frame, as far as its cost depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// Of the payload, in bytes.
    pub(crate) len: u32,
    /// The receiver is a server.
    pub(crate) at_server: bool,
}

impl Weight {
    /// The frame's row in the table.
    #[inline]
    pub(crate) fn cost(self) -> Cost {
        const ACK: u8 = 0x1;
        const END_STREAM: u8 = 0x1;
        match self.kind {
            // Without content and without an end it takes no window, and means nothing. Padding
            // alone is given back at once (`connection/data.rs` asks again when it knows).
            0x0 if self.len == 0 && self.flags & END_STREAM == 0 => Cost::Of(Row::EmptyData, 1),
            0x0 => Cost::Window,
            0x1 if self.at_server => Cost::Place,
            0x1 => Cost::Of(Row::Heads, 1),
            0x2 => Cost::Of(Row::Priorities, 1),
            0x3 => Cost::Of(Row::Resets, 1),
            0x4 if self.flags & ACK != 0 => Cost::Answer,
            // A frame has room for thousands of settings; honest ones have ten.
            0x4 => Cost::Of(Row::Settings, 1 + self.len / 192),
            // Push is off at both ends (RFC 9113 §8.4).
            0x5 => Cost::Error,
            0x6 if self.flags & ACK != 0 => Cost::Answer,
            0x6 => Cost::Of(Row::Pings, 1),
            0x7 => Cost::Of(Row::Goaways, 1),
            0x8 => Cost::Of(Row::WindowUpdates, 1),
            0x9 => Cost::Of(Row::Continuations, 1),
            // ALTSVC (RFC 7838 §4) and ORIGIN (RFC 8336 §2).
            0xa | 0xc => Cost::Of(Row::Announcements, 1),
            // RFC 9218 §7.1.
            0x10 => Cost::Of(Row::PriorityUpdates, 1),
            0xb | 0xd..=0xf | 0x11..=0xff => Cost::Of(Row::Unknown, 1),
        }
    }
}

/// The stock that a peer has left of each row.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: [Bucket; ROWS.len()],
}

impl Limits {
    pub(crate) fn new() -> Limits {
        Limits { buckets: ROWS.map(|(_, size)| Bucket::new(size)) }
    }

    /// Takes so much of a row.
    ///
    /// # Errors
    ///
    /// The row has not as much left, which ends the connection.
    #[inline]
    pub(crate) fn spend(&mut self, row: Row, cost: u32, now: Instant) -> Result<(), TooMany> {
        let (name, size) = ROWS[row as usize];
        match self.buckets[row as usize].spend(size, cost, now) {
            true => Ok(()),
            false => Err(TooMany(name)),
        }
    }

    /// This side has called for so many more of a row.
    #[inline]
    pub(crate) fn expect(&mut self, row: Row, count: u64) {
        self.buckets[row as usize].expect(count);
    }

    /// This side has sent so many bytes of content, in one frame.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize) {
        let updates = (bytes as u64).saturating_mul(2);
        self.buckets[Row::WindowUpdates as usize].expect_up_to(MOST_UPDATES_DUE, updates);
        self.add_one(Row::Pings);
    }

    /// A stream was opened, by either side: a PING may come behind its end, and a WINDOW_UPDATE that
    /// makes its window larger.
    #[inline]
    pub(crate) fn opened(&mut self) {
        for row in [Row::Pings, Row::PriorityUpdates, Row::WindowUpdates] {
            self.add_one(row);
        }
    }

    /// A server has answered a request before all of it was there. Resets that do not come cannot be
    /// saved up for later.
    #[inline]
    pub(crate) fn answered(&mut self) {
        let most = ROWS[Row::Resets as usize].1.most.into();
        self.buckets[Row::Resets as usize].expect_up_to(most, 1);
    }

    /// A frame of a field block came that was full.
    #[inline]
    pub(crate) fn expect_continuation(&mut self) {
        self.buckets[Row::Continuations as usize].expect_up_to(1, 1);
    }

    #[inline]
    fn add_one(&mut self, row: Row) {
        self.buckets[row as usize].add(ROWS[row as usize].1, 1);
    }
}

#[cfg(test)]
mod tests;
