//! The store of streams: the open ones by slot, and the knowledge of the others.
//!
//! Only clients open streams, because neither side pushes. So all identifiers are odd.

mod closed;
mod table;

pub(crate) use closed::{Closed, Known};

use crate::stream::Stream;
use closed::ClosedStreams;
use table::Table;

/// The highest identifier (RFC 9113 §5.1.1).
pub(crate) const LAST_ID: u32 = (1 << 31) - 1;

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Open or half-closed, in this slot.
    Live(u32),
    /// It was never opened.
    Idle,
    /// It is over, or was skipped.
    Gone(Known),
}

/// All streams of a connection.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Vec<Option<Stream>>,
    free: Vec<u32>,
    table: Table,
    closed: ClosedStreams,
    /// The highest identifier that was opened. 0 if none was.
    highest: u32,
    open: usize,
    /// The last stream that was looked up, because most frames are for the same stream as the frame
    /// before.
    last: (u32, u32),
}

impl Streams {
    pub(crate) fn new() -> Streams {
        Streams {
            slots: Vec::new(),
            free: Vec::new(),
            table: Table::new(),
            closed: ClosedStreams::default(),
            highest: 0,
            open: 0,
            last: (0, 0),
        }
    }

    /// Opens a stream, whose identifier is above all others. Returns its slot.
    pub(crate) fn insert(&mut self, stream: Stream) -> u32 {
        let id = stream.id;
        debug_assert!(id > self.highest && id % 2 == 1);
        self.highest = id;
        self.open += 1;
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(stream);
                slot
            }
            None => {
                self.slots.push(Some(stream));
                self.slots.len() as u32 - 1
            }
        };
        self.table.insert(id, slot);
        self.last = (id, slot);
        slot
    }

    /// Takes the identifier for a stream that is over at once.
    pub(crate) fn pass(&mut self, id: u32, how: Closed) {
        debug_assert!(id > self.highest);
        self.highest = id;
        self.closed.insert(id, how);
    }

    /// The slot of a stream that is open.
    #[inline]
    pub(crate) fn slot(&mut self, id: u32) -> Option<u32> {
        if self.last.0 == id && id != 0 {
            return Some(self.last.1);
        }
        if id.is_multiple_of(2) {
            return None;
        }
        let slot = self.table.get(id)?;
        self.last = (id, slot);
        Some(slot)
    }

    /// An open stream, for reading.
    pub(crate) fn get(&self, id: u32) -> Option<&Stream> {
        match id % 2 {
            0 => None,
            _ => self.peek(self.table.get(id)?),
        }
    }

    /// The state of the stream with this identifier. Servers open no streams, so even identifiers
    /// are idle.
    #[inline]
    pub(crate) fn find(&mut self, id: u32) -> Found {
        match self.slot(id) {
            Some(slot) => Found::Live(slot),
            None if id > self.highest || id.is_multiple_of(2) => Found::Idle,
            None => Found::Gone(self.closed.get(id)),
        }
    }

    /// The stream in a slot that is taken.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// The stream in a slot, for reading.
    #[inline]
    pub(crate) fn peek(&self, slot: u32) -> Option<&Stream> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// Removes a stream that is over.
    pub(crate) fn remove(&mut self, slot: u32, how: Closed) -> Option<Stream> {
        let stream = self.slots.get_mut(slot as usize)?.take()?;
        self.table.remove(stream.id);
        self.closed.insert(stream.id, how);
        self.free.push(slot);
        self.open -= 1;
        self.last = (0, 0);
        Some(stream)
    }

    /// Records that a stream that was over has ended differently from what was known.
    pub(crate) fn note(&mut self, id: u32, how: Closed) {
        self.closed.insert(id, how);
    }

    /// All open streams, with their slots.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        let slots = (0..).zip(&mut self.slots);
        slots.filter_map(|(slot, stream)| Some((slot, stream.as_mut()?)))
    }

    /// All open streams.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.slots.iter().flatten()
    }

    /// The number of open streams.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// The highest identifier that was opened. 0 if none was.
    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }
}
