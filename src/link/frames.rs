//! Reads along the headers of incoming frames (RFC 9113 §4.1), which HTTP/2 libraries keep to
//! themselves: how many of each kind came, and whether a peer sends more of them than any honest
//! one would.

mod cutter;
mod limit;
mod sent;

use cutter::{Cutter, Head};
use limit::Limit;

pub(crate) use sent::SentLog;

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A DATA frame below this size is tiny: h2 charges it more than it carries (T1).
const TINY: usize = 256;

/// How much of a GOAWAY is kept: the last stream, the reason, and some text.
const GOAWAY: usize = 8 + 256;

/// Follows one direction of a connection.
#[derive(Debug)]
pub(crate) struct FrameLog {
    cutter: Cutter,
    limits: [Limit; KINDS],
    /// The peer is a client, and the highest stream that it has opened.
    from_client: bool,
    last_stream: u32,
    seen_settings: bool,
    in_settings: bool,
    has_settings: bool,
    seen_goaway: bool,
    in_goaway: bool,
    /// The beginning of the last GOAWAY's payload.
    goaway: Vec<u8>,
    settings_acks: u64,
    abuse: Option<&'static str>,
    frames: u64,
    tiny: u64,
    small: u64,
}

/// The frame types that cost this side work and carry nothing for the user.
const KINDS: usize = 7;

impl FrameLog {
    /// For the bytes of a client, which begin with its preface, or those of a server.
    pub(crate) fn new(from_client: bool) -> FrameLog {
        FrameLog {
            cutter: Cutter::new(if from_client { PREFACE.len() } else { 0 }),
            // Generous: a client that drops 10,000 connections at once is honest. What a hostile
            // peer can make of it is bounded CPU, since each answer is bounded by the spill.
            limits: [
                Limit::new("RST_STREAM frames", 20_000.0, 2_000.0, 0.0),
                Limit::new("PRIORITY frames", 10_000.0, 100.0, 0.0),
                Limit::new("SETTINGS frames", 1_000.0, 100.0, 0.0),
                Limit::new("PING frames", 10_000.0, 2_000.0, 0.0),
                Limit::new("CONTINUATION frames", 1_000.0, 50.0, 0.0),
                // A peer may acknowledge every byte of ours, on the stream and on the link.
                Limit::new("WINDOW_UPDATE frames", 20_000.0, 2_000.0, 2.0),
                // Beside a server's answers, which are due: interim ones (RFC 9110 §15.2), of
                // which honest servers send one or two.
                Limit::new("HEADERS frames", 1_000.0, 100.0, 0.0),
            ],
            from_client,
            last_stream: 0,
            seen_settings: false,
            in_settings: false,
            has_settings: false,
            seen_goaway: false,
            in_goaway: false,
            goaway: Vec::new(),
            settings_acks: 0,
            abuse: None,
            frames: 0,
            tiny: 0,
            small: 0,
        }
    }

    /// Looks at the next bytes, wherever they are cut.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            while self.in_goaway
                && self.goaway.len() < GOAWAY
                && let Some(byte) = self.cutter.payload_byte(&mut bytes)
            {
                self.goaway.push(byte);
            }
            let Some(head) = self.cutter.next(&mut bytes) else { break };
            self.has_settings |= self.in_settings;
            (self.in_settings, self.in_goaway) = (false, false);
            self.frame(head);
        }
        self.has_settings |= self.in_settings && self.cutter.is_between_frames();
    }

    fn frame(&mut self, Head { kind, flags, len, stream }: Head) {
        const ACK: u8 = 0x1;
        const END_STREAM: u8 = 0x1;
        self.frames += 1;
        self.small += u64::from(kind != 0x0);
        let limit = match kind {
            0x0 if len < TINY && flags & END_STREAM == 0 => {
                self.tiny += 1;
                self.small += 1;
                return;
            }
            0x1 if self.from_client => {
                self.last_stream = self.last_stream.max(stream);
                return;
            }
            0x1 => 6,
            0x2 => 1,
            0x3 => 0,
            0x4 => {
                self.seen_settings = true;
                if flags & ACK != 0 {
                    self.settings_acks += 1;
                    return;
                }
                self.in_settings = true;
                2
            }
            0x6 if flags & ACK == 0 => 3,
            0x7 => {
                self.seen_goaway = true;
                self.in_goaway = true;
                self.goaway.clear();
                return;
            }
            0x8 => 5,
            0x9 => 4,
            _ => return,
        };
        if let Err(name) = self.limits[limit].spend() {
            self.abuse.get_or_insert(name);
        }
    }

    /// This side has sent so many bytes, which some answers can be due to.
    pub(crate) fn sent(&mut self, bytes: usize) {
        for limit in &mut self.limits {
            limit.sent(bytes);
        }
    }

    /// This side has sent so many requests: a head and trailers are due for each.
    pub(crate) fn asked(&mut self, requests: u64) {
        self.limits[6].expect(2 * requests);
    }

    /// The highest stream that a client has opened.
    pub(crate) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// What the peer has sent too many of, if it has.
    pub(crate) fn abuse(&self) -> Option<&'static str> {
        self.abuse
    }

    /// Whether the peer's SETTINGS have begun to arrive: it speaks HTTP/2.
    pub(crate) fn seen_settings(&self) -> bool {
        self.seen_settings
    }

    /// Whether the peer's SETTINGS have arrived as a whole: what it offers is known.
    pub(crate) fn has_settings(&self) -> bool {
        self.has_settings
    }

    /// How many of our SETTINGS the peer has acknowledged.
    pub(crate) fn settings_acks(&self) -> u64 {
        self.settings_acks
    }

    /// Whether the peer has sent GOAWAY.
    pub(crate) fn seen_goaway(&self) -> bool {
        self.seen_goaway
    }

    /// The code of the last GOAWAY, if it has come and is an error's.
    pub(crate) fn goaway_error(&self) -> Option<u32> {
        let code = self.goaway.get(4..8)?.try_into().map(u32::from_be_bytes).ok()?;
        (code != 0).then_some(code)
    }

    /// The text in the last GOAWAY (RFC 9113 §6.8), which h2 shows only with an error's.
    pub(crate) fn goaway_text(&self) -> String {
        String::from_utf8_lossy(self.goaway.get(8..).unwrap_or(&[])).into_owned()
    }

    /// Frames so far that cost more than their bytes: tiny DATA frames, and all that are not DATA.
    pub(crate) fn small(&self) -> u64 {
        self.small
    }

    /// Tiny DATA frames so far.
    pub(crate) fn tiny(&self) -> u64 {
        self.tiny
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = payload.len();
        let mut bytes = vec![(len >> 16) as u8, (len >> 8) as u8, len as u8, kind, flags];
        bytes.extend([0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_seen_wherever_the_bytes_are_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, &[0; 18]));
        bytes.extend(frame(0, 0, &[9; 3]));
        bytes.extend(frame(0, 0, &[9; 70_000]));
        bytes.extend(frame(0, 1, &[]));
        bytes.extend(frame(7, 0, b"12345678too many"));
        for cut in [1, 2, 7, 9, 1000, bytes.len()] {
            let mut log = FrameLog::new(true);
            for piece in bytes.chunks(cut) {
                log.feed(piece);
            }
            assert_eq!((log.frames, log.tiny()), (5, 1), "cut at {cut}");
            assert!(log.seen_settings() && log.seen_goaway() && log.abuse().is_none());
            assert_eq!(log.goaway_text(), "too many");
            assert_eq!(log.goaway_error(), Some(u32::from_be_bytes(*b"5678")));
            log.feed(&frame(7, 0, &[b'x'; 1000]));
            assert_eq!(log.goaway_text(), "x".repeat(256));
            log.feed(&frame(7, 0, &[0; 8]));
            assert_eq!((log.goaway_text(), log.goaway_error()), (String::new(), None));
        }
    }

    #[test]
    fn settings_are_there_with_their_last_byte() {
        for payload in [&[][..], &[0; 6], &[0; 18]] {
            let mut log = FrameLog::new(false);
            log.feed(&frame(4, 1, &[]));
            assert!(log.seen_settings() && !log.has_settings(), "an acknowledgement is none");
            let settings = frame(4, 0, payload);
            let (last, before) = settings.split_last().expect("a frame is not empty");
            for byte in before {
                log.feed(&[*byte]);
                assert!(!log.has_settings());
            }
            log.feed(&[*last]);
            assert!(log.has_settings());
            log.feed(&frame(0, 0, &[9; 3]));
            assert!(log.has_settings());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_noticed_and_the_same_number_over_time_is_not() {
        let ping = frame(6, 0, &[0; 8]);
        let mut flood = FrameLog::new(false);
        for _ in 0..10_001 {
            flood.feed(&ping);
        }
        assert_eq!(flood.abuse(), Some("PING frames"));
        let mut slow = FrameLog::new(false);
        for _ in 0..100_000 {
            slow.feed(&ping);
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(slow.abuse(), None);
    }

    #[test]
    fn acknowledgements_are_not_counted_and_window_updates_go_with_what_was_sent() {
        let mut log = FrameLog::new(false);
        for _ in 0..100_000 {
            log.feed(&frame(6, 1, &[0; 8]));
            log.sent(1);
            log.feed(&frame(8, 0, &[0; 4]));
            log.feed(&frame(8, 0, &[0; 4]));
        }
        assert_eq!(log.abuse(), None);
    }

    #[test]
    fn answers_that_are_due_are_no_flood_and_others_are() {
        let mut log = FrameLog::new(false);
        log.asked(10_000);
        let answer = frame(1, 4, &[0x88]);
        for _ in 0..20_000 {
            log.feed(&answer);
        }
        assert_eq!(log.abuse(), None);
        for _ in 0..1_001 {
            log.feed(&answer);
        }
        assert_eq!(log.abuse(), Some("HEADERS frames"));
        let mut log = FrameLog::new(true);
        log.feed(PREFACE);
        for _ in 0..100_000 {
            log.feed(&answer);
        }
        assert_eq!(log.abuse(), None, "a client may open streams");
        assert_eq!(log.last_stream(), 1);
    }
}
