//! Reads along the headers of incoming frames (RFC 9113 §4.1), which HTTP/2 libraries keep to
//! themselves: how many of each kind came, and whether a peer sends more of them than any honest
//! one would.

use tokio::time::Instant;

/// The length of a frame header.
const HEADER: usize = 9;

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A DATA frame below this size is tiny: h2 charges it more than it carries (T1).
const TINY: usize = 256;

/// How much of a GOAWAY is kept: the last stream, the reason, and some text.
const GOAWAY: usize = 8 + 256;

/// Follows one direction of a connection.
#[derive(Debug)]
pub(crate) struct FrameLog {
    /// Bytes to pass over: the preface, or the rest of a payload.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    limits: [Limit; KINDS],
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
}

/// The frame types that cost this side work and carry nothing for the user.
const KINDS: usize = 6;

/// How many frames of a kind may come: a stock, refilled with time and with what this side sends.
#[derive(Debug)]
struct Limit {
    name: &'static str,
    stock: f64,
    most: f64,
    per_second: f64,
    /// Frames that one byte of ours can call for.
    per_byte: f64,
    filled: Option<Instant>,
}

impl Limit {
    const fn new(name: &'static str, most: f64, per_second: f64, per_byte: f64) -> Limit {
        Limit { name, stock: most, most, per_second, per_byte, filled: None }
    }

    /// Takes one frame out of the stock, or says that there is none left. Time is only looked at
    /// when the stock runs low, because that is rare and a clock is not free.
    fn spend(&mut self) -> Result<(), &'static str> {
        if self.stock < self.most / 2.0 {
            let now = Instant::now();
            let passed = self.filled.map_or(0.0, |at| (now - at).as_secs_f64());
            self.stock = (self.stock + passed * self.per_second).min(self.most);
            self.filled = Some(now);
        }
        if self.stock < 1.0 {
            return Err(self.name);
        }
        self.stock -= 1.0;
        Ok(())
    }
}

impl FrameLog {
    /// For the bytes of a peer that begins with `preface` bytes that are no frame.
    pub(crate) fn new(preface: usize) -> FrameLog {
        FrameLog {
            skip: preface,
            header: [0; HEADER],
            have: 0,
            // Generous: a client that drops 10,000 connections at once is honest. What a hostile
            // peer can make of it is bounded CPU, since each answer is bounded by the spill.
            limits: [
                Limit::new("RST_STREAM", 20_000.0, 2_000.0, 0.0),
                Limit::new("PRIORITY", 10_000.0, 100.0, 0.0),
                Limit::new("SETTINGS", 1_000.0, 100.0, 0.0),
                Limit::new("PING", 10_000.0, 2_000.0, 0.0),
                Limit::new("CONTINUATION", 1_000.0, 50.0, 0.0),
                // A peer may acknowledge every byte of ours, on the stream and on the link.
                Limit::new("WINDOW_UPDATE", 20_000.0, 2_000.0, 2.0),
            ],
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
        }
    }

    /// Looks at the next bytes, wherever they are cut.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                if self.in_goaway {
                    let room = GOAWAY.saturating_sub(self.goaway.len());
                    self.goaway.extend_from_slice(&bytes[..n.min(room)]);
                }
                self.skip -= n;
                bytes = &bytes[n..];
                self.has_settings |= self.in_settings && self.skip == 0;
                continue;
            }
            let n = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == HEADER {
                self.have = 0;
                self.in_settings = false;
                self.in_goaway = false;
                self.frame();
                self.has_settings |= self.in_settings && self.skip == 0;
            }
        }
    }

    fn frame(&mut self) {
        const ACK: u8 = 0x1;
        const END_STREAM: u8 = 0x1;
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.frames += 1;
        let limit = match kind {
            0x0 if self.skip < TINY && flags & END_STREAM == 0 => {
                self.tiny += 1;
                return;
            }
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
            limit.stock = (limit.stock + limit.per_byte * bytes as f64).min(limit.most);
        }
    }

    /// The kind of frame of which the peer has sent too many, if it has.
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

    /// The text in the last GOAWAY (RFC 9113 §6.8), which h2 shows only with an error's.
    pub(crate) fn goaway_text(&self) -> String {
        String::from_utf8_lossy(self.goaway.get(8..).unwrap_or(&[])).into_owned()
    }

    /// Tiny DATA frames so far.
    pub(crate) fn tiny(&self) -> u64 {
        self.tiny
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
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
            let mut log = FrameLog::new(PREFACE.len());
            for piece in bytes.chunks(cut) {
                log.feed(piece);
            }
            assert_eq!((log.frames, log.tiny()), (5, 1), "cut at {cut}");
            assert!(log.seen_settings() && log.seen_goaway() && log.abuse().is_none());
            assert_eq!(log.goaway_text(), "too many");
            log.feed(&frame(7, 0, &[b'x'; 1000]));
            assert_eq!(log.goaway_text(), "x".repeat(256));
            log.feed(&frame(7, 0, &[0; 8]));
            assert_eq!(log.goaway_text(), "");
        }
    }

    #[test]
    fn settings_are_there_with_their_last_byte() {
        for payload in [&[][..], &[0; 6], &[0; 18]] {
            let mut log = FrameLog::new(0);
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
        let mut flood = FrameLog::new(0);
        for _ in 0..10_001 {
            flood.feed(&ping);
        }
        assert_eq!(flood.abuse(), Some("PING"));
        let mut slow = FrameLog::new(0);
        for _ in 0..100_000 {
            slow.feed(&ping);
            tokio::time::advance(std::time::Duration::from_millis(1)).await;
        }
        assert_eq!(slow.abuse(), None);
    }

    #[test]
    fn acknowledgements_are_not_counted_and_window_updates_go_with_what_was_sent() {
        let mut log = FrameLog::new(0);
        for _ in 0..100_000 {
            log.feed(&frame(6, 1, &[0; 8]));
            log.sent(1);
            log.feed(&frame(8, 0, &[0; 4]));
            log.feed(&frame(8, 0, &[0; 4]));
        }
        assert_eq!(log.abuse(), None);
    }
}
