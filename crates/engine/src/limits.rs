//! The table of limits: every type of frame, with every flag, is bounded.
//!
//! Windows bound DATA, the limit of streams bounds those that open, and answers are due only once.
//! All else has a row here. Of each kind a peer may send as many as an honest one would at its worst.
//! Beyond that the connection ends (ENHANCE_YOUR_CALM, RFC 9113 §10.5). The figures are generous: a
//! client that drops 10,000 connections at once is honest.

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

/// The name of each row for errors, its stock, and the addition each second.
const ROWS: [(&str, Size); 15] = [
    // In addition to one for each stream that a client opens, and one for each that a server has
    // answered before the whole request had come.
    ("RST_STREAM frames", size(20_000, 2_000)),
    ("PRIORITY frames", size(10_000, 100)),
    // A browser sends one for each request, which is due, and more when the user chooses a tab.
    ("PRIORITY_UPDATE frames", size(10_000, 1_000)),
    ("SETTINGS frames", size(1_000, 100)),
    // In addition to one for each DATA frame that this side sends. gRPC measures the line with a
    // PING after the bytes that it reads, as soon as the last PING is answered.
    ("PING frames", size(10_000, 2_000)),
    // In addition to one after each full frame of a field block.
    ("CONTINUATION frames", size(1_000, 50)),
    // In addition to two for each byte that this side sends: for the stream, and for the
    // connection.
    ("WINDOW_UPDATE frames", size(20_000, 2_000)),
    // In addition to a server's answers, which are due, with two interim ones each
    // (RFC 9110 §15.2).
    ("HEADERS frames", size(1_000, 100)),
    // Some libraries flush an empty frame now and then.
    ("DATA frames without content", size(1_000, 100)),
    ("acknowledgements that nobody asked for", size(1_000, 100)),
    ("GOAWAY frames", size(100, 10)),
    ("ALTSVC and ORIGIN frames", size(1_000, 100)),
    ("frames of unknown types", size(20_000, 2_000)),
    // A peer can make this side do all the work of a stream, and then reset the stream by breaking
    // the rules on it (CVE-2025-8671). An honest peer breaks them in bursts where it cannot know
    // better: it opens more streams than it may before it has seen the SETTINGS.
    ("stream errors, each of which calls for a reset", size(20_000, 200)),
    // In bytes, including the heads of frames, and in addition to the bytes that the windows
    // allowed when the streams were reset.
    ("bytes for streams that are over", size(64 << 20, 16 << 20)),
];

/// The most WINDOW_UPDATEs that can be due: two for each byte of 2 MiB in transit. A peer that
/// reads late, and then gives credit for each small frame separately, sends them all at once.
const MOST_UPDATES_DUE: u64 = 4 << 20;

/// The length of a PRIORITY_UPDATE that costs one; a longer one costs another for each such length.
/// `u=7, i` and the stream's number take 10 bytes. RFC 9218 §4.3 allows further parameters and has no
/// limit of length, so a long frame is no error.
const PRIORITY_LEN: u32 = 64;

const fn size(most: u32, per_second: u32) -> Size {
    Size { most, per_second }
}

/// The cost of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// This many of the row.
    Of(Row, u32),
    /// Its bytes, of a window (RFC 9113 §5.2).
    Window,
    /// A place among the streams that may be open (RFC 9113 §5.1.2). It comes back through a frame
    /// that costs [`Row::Resets`] or [`Row::StreamErrors`], or through this side's own end.
    Place,
    /// One of the answers that this side has requested, or else one of [`Row::Unasked`].
    Answer,
    /// Nothing, because it is an error at once.
    Error,
}

/// The peer has sent more of a row than an honest one would. Contains the row's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany(pub(crate) &'static str);

/// The facts about a frame that determine its cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The payload's length, in bytes.
    pub(crate) len: u32,
    /// Whether the receiver is a server.
    pub(crate) at_server: bool,
}

impl Weight {
    /// The frame's row in the table.
    #[inline]
    pub(crate) fn cost(self) -> Cost {
        const ACK: u8 = 0x1;
        const END_STREAM: u8 = 0x1;
        match self.kind {
            // Without content and without an end it takes no window, and has no effect. Padding
            // alone is given back at once (`connection/data.rs` checks again when it knows).
            0x0 if self.len == 0 && self.flags & END_STREAM == 0 => Cost::Of(Row::EmptyData, 1),
            0x0 => Cost::Window,
            0x1 if self.at_server => Cost::Place,
            0x1 => Cost::Of(Row::Heads, 1),
            0x2 => Cost::Of(Row::Priorities, 1),
            0x3 => Cost::Of(Row::Resets, 1),
            0x4 if self.flags & ACK != 0 => Cost::Answer,
            // A frame has room for thousands of settings, and honest frames have ten.
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
            0x10 => Cost::Of(Row::PriorityUpdates, 1 + self.len / PRIORITY_LEN),
            0xb | 0xd..=0xf | 0x11..=0xff => Cost::Of(Row::Unknown, 1),
        }
    }
}

/// The stock that a peer has left in each row.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: [Bucket; ROWS.len()],
}

impl Limits {
    pub(crate) fn new() -> Limits {
        Limits { buckets: ROWS.map(|(_, size)| Bucket::new(size)) }
    }

    /// Takes this much from a row.
    ///
    /// # Errors
    ///
    /// The row does not have as much left, which ends the connection.
    #[inline]
    pub(crate) fn spend(&mut self, row: Row, cost: u32, now: Instant) -> Result<(), TooMany> {
        let (name, size) = ROWS[row as usize];
        match self.buckets[row as usize].spend(size, cost, now) {
            true => Ok(()),
            false => Err(TooMany(name)),
        }
    }

    /// This side has requested this many more of a row.
    #[inline]
    pub(crate) fn expect(&mut self, row: Row, count: u64) {
        self.buckets[row as usize].expect(count);
    }

    /// This side has sent this many bytes of content, in one frame.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: usize) {
        let updates = (bytes as u64).saturating_mul(2);
        self.buckets[Row::WindowUpdates as usize].expect_up_to(MOST_UPDATES_DUE, updates);
        self.add_one(Row::Pings);
    }

    /// A stream was opened, by either side. A PING may follow its end, and a WINDOW_UPDATE may make
    /// its window larger.
    #[inline]
    pub(crate) fn opened(&mut self) {
        for row in [Row::Pings, Row::PriorityUpdates, Row::WindowUpdates] {
            self.add_one(row);
        }
    }

    /// A server has answered a request before the whole request had come. Resets that do not come
    /// cannot be saved for later.
    #[inline]
    pub(crate) fn answered(&mut self) {
        let most = ROWS[Row::Resets as usize].1.most.into();
        self.buckets[Row::Resets as usize].expect_up_to(most, 1);
    }

    /// A full frame of a field block came.
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
