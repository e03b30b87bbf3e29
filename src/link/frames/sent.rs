//! Reads along what this side sends, for the RST_STREAM frames that a peer provokes.
//!
//! A peer can have this side do all the work of a stream and reset it, without a RST_STREAM of its
//! own, by breaking the rules on each (CVE-2025-8671, "made you reset"). HTTP/2 libraries answer
//! such a stream by themselves; that they have is seen only here.

use std::collections::HashSet;

use super::cutter::{Cutter, Head};
use super::limit::Limit;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;

/// What a stream is reset with that is dropped on purpose; no broken rule is answered so.
const NO_ERROR: u32 = 0x0;
const CANCEL: u32 = 0x8;

/// The worth of some bytes to the users of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carried {
    /// They are about the link.
    #[default]
    Nothing,
    /// The ends of streams, and nothing else.
    Ends,
    /// Heads or bytes of users.
    Bytes,
}

/// Follows what this side sends.
#[derive(Debug)]
pub(crate) struct SentLog {
    cutter: Cutter,
    /// What is known of the error code of a RST_STREAM, and how many of its bytes are missing.
    code: (u32, u8),
    stream: u32,
    /// The streams that were reset with an error, since they were last looked at, and the codes.
    resets: Vec<(u32, u32)>,
    headers: u64,
    /// The worth of the frame that is being sent.
    carries: Carried,
    limit: Limit,
    abuse: Option<&'static str>,
}

impl SentLog {
    /// For bytes that begin with `preface` bytes that are no frame.
    pub(crate) fn new(preface: usize) -> SentLog {
        SentLog {
            cutter: Cutter::new(preface),
            code: (0, 0),
            stream: 0,
            resets: Vec::new(),
            headers: 0,
            carries: Carried::Nothing,
            // An honest peer breaks rules where it cannot know better: it sends for streams that
            // were reset here and are forgotten by now (h2 remembers 4096; 10,000 Conns that are
            // aborted at once with messages on their way call for 6,000 of these and more), or
            // opens more streams than it may before it has seen the SETTINGS. Both come in bursts,
            // once; over time there is nearly none.
            limit: Limit::new(
                "stream errors, each of which calls for a reset",
                20_000.0,
                200.0,
                0.0,
            ),
            abuse: None,
        }
    }

    /// Looks at the next bytes, wherever they are cut. Gives what they carry of streams (DATA, HEADERS),
    /// whose loss would concern the users.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Carried {
        let mut carries = match self.cutter.is_between_frames() || bytes.is_empty() {
            true => Carried::Nothing,
            false => self.carries,
        };
        while !bytes.is_empty() {
            while self.code.1 > 0 {
                let Some(byte) = self.cutter.payload_byte(&mut bytes) else { break };
                self.code = (self.code.0 << 8 | u32::from(byte), self.code.1 - 1);
                if self.code.1 == 0 && !matches!(self.code.0, NO_ERROR | CANCEL) {
                    self.resets.push((self.stream, self.code.0));
                }
            }
            if let Some(head) = self.cutter.next(&mut bytes) {
                self.frame(head);
            }
            carries = carries.max(self.carries);
        }
        carries
    }

    fn frame(&mut self, head: Head) {
        self.carries = match head.kind {
            DATA if head.len == 0 => Carried::Ends,
            DATA | HEADERS | CONTINUATION => Carried::Bytes,
            _ => Carried::Nothing,
        };
        match head.kind {
            RST_STREAM => (self.code, self.stream) = ((0, 4), head.stream),
            HEADERS => self.headers += 1,
            _ => {}
        }
    }

    /// Takes account of the resets since the last call, but for those of this side's own.
    pub(crate) fn settle(&mut self, wanted: &HashSet<(u32, u32)>) {
        for reset in self.resets.drain(..) {
            if !wanted.contains(&reset)
                && let Err(name) = self.limit.spend()
            {
                self.abuse.get_or_insert(name);
            }
        }
    }

    /// HEADERS since the last call: requests, as far as a client is concerned.
    pub(crate) fn take_headers(&mut self) -> u64 {
        std::mem::take(&mut self.headers)
    }

    /// Of what the peer has done too much, if it has.
    pub(crate) fn abuse(&self) -> Option<&'static str> {
        self.abuse
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    fn reset(code: u32) -> Vec<u8> {
        frame(3, 0, &code.to_be_bytes())
    }

    #[test]
    fn resets_are_told_from_cancellations_wherever_the_bytes_are_cut() {
        let mut bytes = b"preface".to_vec();
        for code in [0, 8, 1, 0x0800_0000, 3, 8] {
            bytes.extend(reset(code));
            // Nothing in a payload is taken for a frame.
            bytes.extend(frame(0, 0, &reset(1).repeat(100)));
        }
        bytes.extend(frame(1, 4, &[0x88]));
        for cut in 1..40 {
            let mut log = SentLog::new(7);
            for piece in bytes.chunks(cut) {
                log.feed(piece);
            }
            assert_eq!(log.resets, [(1, 1), (1, 0x0800_0000), (1, 3)], "cut at {cut}");
            assert_eq!(log.headers, 1);
        }
    }

    #[test]
    fn what_carries_something_of_a_stream_is_told_from_the_rest() {
        let mut log = SentLog::new(0);
        let data = frame(0, 0, &[7; 100]);
        assert_eq!(log.feed(&data[..50]), Carried::Bytes, "DATA begins");
        assert_eq!(log.feed(&data[50..]), Carried::Bytes, "DATA goes on");
        assert_eq!(log.feed(&frame(8, 0, &[0; 4])), Carried::Nothing);
        assert_eq!(log.feed(&frame(7, 0, &[0; 8])), Carried::Nothing);
        let head = [frame(4, 1, &[]), frame(1, 4, &[0x88])].concat();
        assert_eq!(log.feed(&head), Carried::Bytes);
        let end = frame(0, 1, &[]);
        assert_eq!(log.feed(&end), Carried::Ends);
        assert_eq!(log.feed(&[end, data].concat()), Carried::Bytes);
        assert_eq!(log.feed(&reset(8)), Carried::Nothing);
        assert_eq!(log.feed(&[]), Carried::Nothing);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_nobody_here_has_asked_for_counts() {
        let flood = reset(1).repeat(30_000);
        let mut log = SentLog::new(0);
        log.feed(&flood);
        log.settle(&HashSet::from([(1, 1)]));
        assert_eq!(log.abuse(), None);
        log.feed(&flood);
        // Asked for on another stream, and for another reason.
        log.settle(&HashSet::from([(3, 1), (1, 2)]));
        assert!(log.abuse().is_some_and(|what| what.contains("stream errors")));
    }
}
