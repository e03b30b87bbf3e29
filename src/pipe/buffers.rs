//! Send buffers: recycled storage, and the batches of bytes that are handed to HTTP/2.

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::SendMemory;
use crate::alive::{Counted, Kind};
use crate::sync::{Mutex, lock};

/// The size of a recycled buffer. Whole DATA frames of our own links fit in one.
pub(crate) const BUFFER: usize = 64 * 1024;

/// Up to this size a buffer of its own is cheaper than a recycled one. A connection that sends a
/// little now and then also does not hold [`BUFFER`] bytes.
pub(crate) const SMALL: usize = 4 * 1024;

/// The number of buffers that one link keeps for reuse: 1 MiB. Without them every write allocates,
/// and an allocator that returns memory to the system then spends the time in page faults.
const KEPT: usize = 16;

/// The buffers of a link, and the memory that its bytes to be sent may take.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    pub(super) memory: SendMemory,
}

impl Buffers {
    pub(crate) fn new(memory: SendMemory) -> Arc<Buffers> {
        Arc::new(Buffers { free: Mutex::default(), memory })
    }

    /// An empty buffer of [`BUFFER`] bytes.
    pub(crate) fn get(&self) -> Vec<u8> {
        let recycled = lock(&self.free).pop();
        recycled.unwrap_or_else(|| Vec::with_capacity(BUFFER))
    }

    /// Takes back a buffer. Buffers of other sizes, and more than are worth keeping, are freed.
    fn put(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() != BUFFER {
            return;
        }
        buffer.clear();
        let mut free = lock(&self.free);
        if free.len() < KEPT {
            free.push(buffer);
        }
    }
}

/// A run of bytes, ours (recyclable) or the user's (not copied).
#[derive(Debug)]
pub(super) enum Chunk {
    Own { buffer: Vec<u8>, start: usize },
    Shared(Bytes),
}

impl Chunk {
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Own { buffer, start } => &buffer[*start..],
            Chunk::Shared(bytes) => bytes,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// The memory that it takes. A little takes a small buffer, which is no more than a connection
    /// takes in any case.
    pub(super) fn memory(&self) -> usize {
        match self {
            Chunk::Own { buffer, .. } if buffer.capacity() == BUFFER => BUFFER,
            Chunk::Shared(bytes) if bytes.len() > SMALL => bytes.len(),
            Chunk::Own { .. } | Chunk::Shared(_) => 0,
        }
    }

    pub(super) fn advance(&mut self, n: usize) {
        match self {
            Chunk::Own { start, .. } => *start += n,
            Chunk::Shared(bytes) => bytes.advance(n),
        }
    }

    /// Takes the first `n` bytes, and leaves the rest. Only a few bytes are copied.
    pub(super) fn split_to(&mut self, n: usize, buffers: &Arc<Buffers>) -> Chunk {
        if n > SMALL && matches!(self, Chunk::Own { .. }) {
            let all = std::mem::replace(self, Chunk::Shared(Bytes::new()));
            *self = Chunk::Shared(all.into_bytes(buffers));
        }
        match self {
            Chunk::Own { buffer, start } => {
                let head = buffer[*start..*start + n].to_vec();
                *start += n;
                Chunk::Own { buffer: head, start: 0 }
            }
            Chunk::Shared(bytes) => Chunk::Shared(bytes.split_to(n)),
        }
    }
}

impl Chunk {
    /// Recycles the chunk when it is not needed any more.
    pub(super) fn recycle(self, buffers: &Buffers) {
        if let Chunk::Own { buffer, .. } = self {
            buffers.put(buffer);
        }
    }

    /// The same bytes without a copy. The buffer returns to `buffers` when they are dropped.
    pub(super) fn into_bytes(self, buffers: &Arc<Buffers>) -> Bytes {
        match self {
            Chunk::Shared(bytes) => bytes,
            Chunk::Own { buffer, start } if buffer.capacity() == BUFFER => {
                Bytes::from_owner(Lent { buffer, start, buffers: Arc::clone(buffers) })
            }
            Chunk::Own { buffer, start } => Bytes::from(buffer).slice(start..),
        }
    }
}

/// Chunks in order. Mostly there is one, which needs no allocation.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// `None` only if there are none.
    first: Option<Chunk>,
    more: VecDeque<Chunk>,
}

impl Chunks {
    pub(super) fn front_mut(&mut self) -> Option<&mut Chunk> {
        self.first.as_mut()
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut Chunk> {
        match self.more.back_mut() {
            Some(last) => Some(last),
            None => self.first.as_mut(),
        }
    }

    pub(super) fn push(&mut self, chunk: Chunk) {
        match self.first {
            None => self.first = Some(chunk),
            Some(_) => self.more.push_back(chunk),
        }
    }

    pub(super) fn pop(&mut self) -> Option<Chunk> {
        let next = self.more.pop_front();
        std::mem::replace(&mut self.first, next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Chunk> {
        self.first.iter().chain(&self.more)
    }
}

/// A recyclable buffer that is held outside of this module.
struct Lent {
    buffer: Vec<u8>,
    start: usize,
    buffers: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.start..]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.buffers.put(std::mem::take(&mut self.buffer));
    }
}

/// The content of one DATA frame, on its way from an outbox to the transport. It borrows the outbox,
/// so it is written or copied before the outbox is asked anything else about it.
pub(crate) struct Batch<'a> {
    chunks: Chunks,
    left: usize,
    end: bool,
    buffers: &'a Buffers,
    _counted: Counted,
}

impl Batch<'_> {
    pub(super) fn new(chunks: Chunks, end: bool, buffers: &Buffers) -> Batch<'_> {
        let left = chunks.iter().map(Chunk::len).sum();
        Batch { chunks, left, end, buffers, _counted: Counted::new(Kind::Batch) }
    }

    /// Whether END_STREAM goes with these bytes.
    #[cfg(test)]
    pub(super) fn is_end(&self) -> bool {
        self.end
    }
}

impl Buf for Batch<'_> {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.first.as_ref().map_or(&[], Chunk::as_slice)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(self.chunks.iter()) {
            *slice = IoSlice::new(chunk.as_slice());
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.left, "advanced past the end of a batch");
        self.left -= n;
        while n > 0 {
            let Some(front) = &mut self.chunks.first else { return };
            let step = n.min(front.len());
            front.advance(step);
            n -= step;
            if front.len() == 0
                && let Some(empty) = self.chunks.pop()
            {
                empty.recycle(self.buffers);
            }
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        while let Some(chunk) = self.chunks.pop() {
            chunk.recycle(self.buffers);
        }
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("left", &self.left).field("end", &self.end).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(buffers: &Buffers) -> Batch<'_> {
        let mut own = buffers.get();
        own.extend_from_slice(b"abcdef");
        let mut chunks = Chunks::default();
        chunks.push(Chunk::Own { buffer: own, start: 0 });
        chunks.push(Chunk::Shared(Bytes::from_static(b"ghi")));
        Batch::new(chunks, true, buffers)
    }

    #[test]
    fn a_batch_gives_its_bytes_in_order_and_its_buffers_back() {
        let buffers = Buffers::default();
        let mut batch = batch(&buffers);
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(batch.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&b"abcdef"[..], &b"ghi"[..]));
        batch.advance(4);
        assert_eq!(batch.chunk(), b"ef");
        batch.advance(3);
        assert_eq!(batch.chunk(), b"hi");
        assert_eq!(lock(&buffers.free).len(), 1, "the first buffer is not needed any more");
        batch.advance(2);
        assert!(!batch.has_remaining() && batch.is_end());
    }

    #[test]
    fn a_dropped_batch_gives_its_buffers_back() {
        let buffers = Buffers::default();
        drop(batch(&buffers));
        assert_eq!(lock(&buffers.free).len(), 1);
    }

    #[test]
    fn a_buffer_comes_back_when_the_bytes_made_of_it_are_dropped() {
        let buffers: Arc<Buffers> = Arc::default();
        let mut buffer = buffers.get();
        buffer.extend_from_slice(b"-kept");
        let bytes = Chunk::Own { buffer, start: 1 }.into_bytes(&buffers);
        assert_eq!(bytes, &b"kept"[..]);
        assert_eq!(lock(&buffers.free).len(), 0);
        drop(bytes);
        assert_eq!(lock(&buffers.free).len(), 1);

        let small = Chunk::Own { buffer: b"-small".to_vec(), start: 1 };
        let bytes = small.into_bytes(&buffers);
        assert_eq!(bytes, &b"small"[..]);
        let unshared = bytes.try_into_mut();
        assert!(unshared.is_ok(), "a small one is not worth coming back for");
    }

    #[test]
    fn buffers_are_reused_and_only_so_many_are_kept() {
        let buffers = Buffers::default();
        let first = buffers.get();
        let address = first.as_ptr();
        buffers.put(first);
        let again = buffers.get();
        assert_eq!((again.as_ptr(), again.capacity()), (address, BUFFER));
        buffers.put(Vec::with_capacity(BUFFER / 2));
        assert!(lock(&buffers.free).is_empty());
        for _ in 0..2 * KEPT {
            buffers.put(Vec::with_capacity(BUFFER));
        }
        assert_eq!(lock(&buffers.free).len(), KEPT);
    }
}
