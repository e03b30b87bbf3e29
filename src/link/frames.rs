//! Reads along the headers of incoming frames (RFC 9113 §4.1), which HTTP/2 libraries keep to
//! themselves: how many of each kind came, and whether a peer sends more of them than any honest
//! one would.

mod cutter;
mod limit;
mod sent;

use std::collections::VecDeque;

use cutter::{Cutter, Head};
use limit::Limit;

pub(crate) use sent::{Carried, SentLog};

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A DATA frame below this size is tiny: h2 charges it more than it carries (T1).
const TINY: usize = 256;

/// How much of a GOAWAY is kept: the last stream, the reason, and some text.
const GOAWAY: usize = 8 + 256;

/// The length of a PING's payload (RFC 9113 §6.7).
const PING: usize = 8;

/// How many of the peer's last resets are remembered: more than can come between a
/// stream's end and the PING that is sent behind it.
const RESETS: usize = 1024;

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
    /// The part of the payload of the incoming frame that is kept.
    keeping: Keep,
    /// As much of it as has come; a GOAWAY's has a place of its own.
    kept: Vec<u8>,
    /// The beginning of the last GOAWAY's payload.
    goaway: Vec<u8>,
    /// The payloads of PINGs that were acknowledged since they were last looked at.
    pongs: Vec<[u8; PING]>,
    /// PINGs are answered here, because HTTP/2 is over and does not answer them any more.
    answers_pings: bool,
    /// The payloads of those that wait for their answer.
    pings: Vec<[u8; PING]>,
    /// The last streams that the peer has reset, and the codes.
    resets: VecDeque<(u32, u32)>,
    settings_acks: u64,
    abuse: Option<&'static str>,
    frames: u64,
    tiny: u64,
    small: u64,
}

/// Which payloads are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    Reset { stream: u32 },
    Ping,
    Pong,
    Goaway,
}

impl Keep {
    /// How many bytes of the payload are kept.
    fn most(self) -> usize {
        match self {
            Keep::Nothing => 0,
            Keep::Reset { .. } => 4,
            Keep::Ping | Keep::Pong => PING,
            Keep::Goaway => GOAWAY,
        }
    }
}

/// The frame types that cost this side work and carry nothing for the user.
const KINDS: usize = 7;
const PINGS: usize = 3;

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
            keeping: Keep::Nothing,
            kept: Vec::new(),
            goaway: Vec::new(),
            pongs: Vec::new(),
            answers_pings: false,
            pings: Vec::new(),
            resets: VecDeque::new(),
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
            self.keep_payload(&mut bytes);
            let Some(head) = self.cutter.next(&mut bytes) else { break };
            self.has_settings |= self.in_settings;
            (self.in_settings, self.keeping) = (false, Keep::Nothing);
            self.frame(head);
        }
        self.has_settings |= self.in_settings && self.cutter.is_between_frames();
    }

    /// Keeps what is wanted of a payload, and looks at it once it is whole.
    fn keep_payload(&mut self, bytes: &mut &[u8]) {
        let most = self.keeping.most();
        if self.keeping == Keep::Goaway {
            while self.goaway.len() < most
                && let Some(byte) = self.cutter.payload_byte(bytes)
            {
                self.goaway.push(byte);
            }
            return;
        }
        while self.kept.len() < most
            && let Some(byte) = self.cutter.payload_byte(bytes)
        {
            self.kept.push(byte);
        }
        if most == 0 || self.kept.len() < most {
            return;
        }
        match (self.keeping, &self.kept[..]) {
            (Keep::Ping, payload) => self.pings.extend(<[u8; PING]>::try_from(payload)),
            (Keep::Pong, payload) => self.pongs.extend(<[u8; PING]>::try_from(payload)),
            (Keep::Reset { stream }, &[a, b, c, d]) => {
                let code = u32::from_be_bytes([a, b, c, d]);
                if self.resets.len() == RESETS {
                    self.resets.pop_front();
                }
                self.resets.push_back((stream, code));
            }
            _ => {}
        }
        self.keeping = Keep::Nothing;
    }

    fn keep(&mut self, keep: Keep) {
        self.kept.clear();
        self.keeping = keep;
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
                self.limits[PINGS].refill(1);
                return;
            }
            0x1 => 6,
            0x2 => 1,
            0x3 => {
                self.keep(Keep::Reset { stream });
                0
            }
            0x4 => {
                self.seen_settings = true;
                if flags & ACK != 0 {
                    self.settings_acks += 1;
                    return;
                }
                self.in_settings = true;
                2
            }
            0x6 if flags & ACK == 0 => {
                if self.answers_pings {
                    self.keep(Keep::Ping);
                }
                PINGS
            }
            0x6 => return self.keep(Keep::Pong),
            0x7 => {
                self.seen_goaway = true;
                self.goaway.clear();
                return self.keep(Keep::Goaway);
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

    /// This side has sent so many requests: a head and trailers are due for each, and a PING may come
    /// behind the end of each.
    pub(crate) fn asked(&mut self, requests: u64) {
        self.limits[6].expect(2 * requests);
        self.limits[PINGS].refill(requests);
    }

    /// The payloads of PINGs that were acknowledged since the last call.
    pub(crate) fn pongs(&mut self) -> impl Iterator<Item = [u8; PING]> {
        self.pongs.drain(..)
    }

    /// From now on the payloads of PINGs are kept, to be answered.
    pub(crate) fn answer_pings(&mut self) {
        self.answers_pings = true;
    }

    /// The payloads of the PINGs since the last call.
    pub(crate) fn take_pings(&mut self) -> Vec<[u8; PING]> {
        std::mem::take(&mut self.pings)
    }

    /// The code that the peer has reset this stream with, if it was an error's and not long ago.
    pub(crate) fn reset_of(&self, stream: u32) -> Option<u32> {
        first_reset(&self.resets, stream)
    }

    /// All that [`FrameLog::reset_of`] knows.
    pub(crate) fn take_resets(&mut self) -> VecDeque<(u32, u32)> {
        std::mem::take(&mut self.resets)
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

/// The code of the first reset of a stream, if it was an error's. Go's servers send STREAM_CLOSED for what
/// comes after their NO_ERROR, and that means nothing more.
pub(crate) fn first_reset(resets: &VecDeque<(u32, u32)>, stream: u32) -> Option<u32> {
    let (_, code) = resets.iter().find(|(of, _)| *of == stream)?;
    (*code != 0).then_some(*code)
}

#[cfg(test)]
mod tests;
