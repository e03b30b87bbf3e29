//! The heads of frames (RFC 9113 §4.1) in both directions, for the log.

use crate::observe::{Link, Way};

/// The length of a frame's head.
const HEAD: usize = 9;

/// Follows the bytes that a link sends and receives.
#[derive(Debug)]
pub(super) struct Trace {
    received: Cutter,
    sent: Cutter,
}

impl Trace {
    /// `None` if the log does not want frames. The two numbers are the bytes before the first
    /// received and the first sent frame.
    pub(super) fn new(received: usize, sent: usize) -> Option<Box<Trace>> {
        let cutter = |preface| Cutter { skip: preface, head: [0; HEAD], have: 0 };
        Link::traces_frames()
            .then(|| Box::new(Trace { received: cutter(received), sent: cutter(sent) }))
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.received.tell(Way::Received, bytes);
    }

    /// Reports sent bytes, cut at any place. Of content only the head is needed.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        self.sent.tell(Way::Sent, bytes);
    }

    /// This many bytes of content follow the reported head.
    pub(super) fn sent_content(&mut self, len: usize) {
        self.sent.skip -= len.min(self.sent.skip);
    }
}

/// Finds the heads in one direction.
#[derive(Debug)]
struct Cutter {
    /// Bytes to skip: the preface, or the rest of a payload.
    skip: usize,
    head: [u8; HEAD],
    have: usize,
}

impl Cutter {
    fn tell(&mut self, way: Way, mut bytes: &[u8]) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let taken = (HEAD - self.have).min(bytes.len() - skipped);
            self.head[self.have..self.have + taken]
                .copy_from_slice(&bytes[skipped..skipped + taken]);
            self.have += taken;
            bytes = &bytes[skipped + taken..];
            if self.have < HEAD {
                return;
            }
            self.have = 0;
            let [a, b, c, kind, flags, s, t, u, v] = self.head;
            self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
            let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
            Link::frame(way, name(kind), flags, self.skip, stream);
        }
    }
}

/// The name of a frame type (RFC 9113 §6, RFC 9218 §7.1).
fn name(kind: u8) -> &'static str {
    match kind {
        0x0 => "DATA",
        0x1 => "HEADERS",
        0x2 => "PRIORITY",
        0x3 => "RST_STREAM",
        0x4 => "SETTINGS",
        0x5 => "PUSH_PROMISE",
        0x6 => "PING",
        0x7 => "GOAWAY",
        0x8 => "WINDOW_UPDATE",
        0x9 => "CONTINUATION",
        0x10 => "PRIORITY_UPDATE",
        _ => "unknown",
    }
}
