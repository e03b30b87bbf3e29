//! Finds the headers of frames in a stream of bytes, wherever it is cut.

/// The length of a frame header.
const HEADER: usize = 9;

/// What a frame header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) len: usize,
    pub(super) stream: u32,
}

/// Goes along the frames of one direction of a connection.
#[derive(Debug)]
pub(super) struct Cutter {
    /// Bytes to pass over: the preface, or the rest of a payload.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
}

impl Cutter {
    /// For bytes that begin with `preface` bytes that are no frame.
    pub(super) fn new(preface: usize) -> Cutter {
        Cutter { skip: preface, header: [0; HEADER], have: 0 }
    }

    /// The next header that `bytes` complete; they are taken up to its end. `None` takes them all.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let taken = (HEADER - self.have).min(bytes.len() - skipped);
        self.header[self.have..self.have + taken].copy_from_slice(&bytes[skipped..skipped + taken]);
        self.have += taken;
        *bytes = &bytes[skipped + taken..];
        if self.have < HEADER {
            return None;
        }
        self.have = 0;
        let [a, b, c, kind, flags, s, t, u, v] = self.header;
        self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
        Some(Head { kind, flags, len: self.skip, stream })
    }

    /// Takes the next byte of the payload that the last header announced.
    pub(super) fn payload_byte(&mut self, bytes: &mut &[u8]) -> Option<u8> {
        let (first, rest) = bytes.split_first().filter(|_| self.skip > 0)?;
        self.skip -= 1;
        *bytes = rest;
        Some(*first)
    }

    /// Whether the last frame is complete, and no other has begun.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}
