//! The payload of one frame: borrowed from the input, or collected from its pieces.

/// A larger buffer is given back as soon as it is not needed.
const KEPT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// Takes all `len` bytes out of the input, if they are all there and no part came before.
    #[inline]
    pub(super) fn borrow<'a>(&self, len: usize, input: &mut &'a [u8]) -> Option<&'a [u8]> {
        if !self.bytes.is_empty() {
            return None;
        }
        let (payload, rest) = input.split_at_checked(len)?;
        *input = rest;
        Some(payload)
    }

    /// Takes the available part of `len` bytes, and returns whether all are there now.
    pub(super) fn collect(&mut self, len: usize, input: &mut &[u8]) -> bool {
        let (piece, rest) = input.split_at(input.len().min(len - self.bytes.len()));
        *input = rest;
        append(&mut self.bytes, piece, len);
        self.bytes.len() == len
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(super) fn release(&mut self) {
        if !self.bytes.is_empty() {
            release(&mut self.bytes);
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Appends, but never allocates more than `max` bytes, or more than twice the bytes that have come.
pub(super) fn append(bytes: &mut Vec<u8>, piece: &[u8], max: usize) {
    let needed = bytes.len() + piece.len();
    if needed > bytes.capacity() {
        let capacity = needed.max(bytes.capacity() * 2).min(max).max(needed);
        bytes.reserve_exact(capacity - bytes.len());
    }
    bytes.extend_from_slice(piece);
}

/// Empties the buffer, and keeps it only if it is small.
pub(super) fn release(bytes: &mut Vec<u8>) {
    if bytes.capacity() > KEPT {
        *bytes = Vec::new();
    } else {
        bytes.clear();
    }
}
