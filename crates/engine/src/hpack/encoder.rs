//! Encoding fields into blocks.

use super::dynamic::Table;
use super::search::{Search, hash};
use super::statics::{self, Name};
use super::{DEFAULT_TABLE_SIZE, integer, size, string};

/// The largest dynamic table that an encoder uses, in bytes, however much the peer allows.
const MOST_TABLE_SIZE: u32 = DEFAULT_TABLE_SIZE;

/// The bit patterns before an integer, and the bits of its prefix (RFC 7541 §6).
const INDEXED: (u8, u32) = (0x80, 7);
const LITERAL: (u8, u32) = (0x40, 6);
const SIZE_UPDATE: (u8, u32) = (0x20, 5);
const NEVER_INDEXED: (u8, u32) = (0x10, 4);
const PASSING: (u8, u32) = (0x00, 4);

/// Whether the tables on the path may keep a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexing {
    /// Keep it. The next equal field takes a byte or two.
    Index,
    /// Do not keep it, because the next value will differ. It evicts nothing.
    Without,
    /// Never keep it anywhere, because it is a secret. An attacker who can add fields to the same
    /// connection could otherwise guess it, and see from the lengths of blocks which guess was
    /// right (RFC 7541 §7.1).
    Never,
}

/// Encodes the blocks of one direction of a connection.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    search: Search,
    /// The sizes that the next block must announce: the lowest size since the last block.
    lowest: Option<u32>,
}

impl Encoder {
    /// Makes an encoder for the beginning of a connection, with a table of 4,096 bytes.
    pub fn new() -> Encoder {
        Encoder { table: Table::new(DEFAULT_TABLE_SIZE), search: Search::new(), lowest: None }
    }

    /// Sets the peer's SETTINGS_HEADER_TABLE_SIZE to `limit` bytes, of which at most 4,096 are
    /// used. The next block announces a change.
    pub fn set_limit(&mut self, limit: u32) {
        let size = limit.min(MOST_TABLE_SIZE);
        if size != self.table.limit() {
            self.lowest = Some(self.lowest.map_or(size, |lowest| lowest.min(size)));
            self.table.set_limit(size);
        }
    }

    /// Begins a block, with updates of the table's size if it has changed (RFC 7541 §4.2).
    pub fn begin(&mut self, into: &mut Vec<u8>) {
        let Some(lowest) = self.lowest.take() else { return };
        let size = self.table.limit();
        if lowest < size {
            write(lowest, SIZE_UPDATE, into);
        }
        write(size, SIZE_UPDATE, into);
    }

    /// Appends a field to the block that was begun.
    pub fn field(&mut self, name: &[u8], value: &[u8], how: Indexing, into: &mut Vec<u8>) {
        let known = Name::find(name);
        if how == Indexing::Never {
            return self.literal(NEVER_INDEXED, known, name, value, into);
        }
        if let Some(index) = known.and_then(|known| known.with(value)) {
            return write(index, INDEXED, into);
        }
        if how == Indexing::Without {
            return self.literal(PASSING, known, name, value, into);
        }
        let name_hash = match known {
            Some(known) => known.index,
            None => hash(name, 0),
        };
        let field_hash = hash(value, name_hash);
        if let Some(age) = self.search.field(&self.table, field_hash, name, value) {
            return write(dynamic(age), INDEXED, into);
        }
        if !self.is_worth_an_entry(name, value) {
            return self.literal(PASSING, known, name, value, into);
        }
        self.literal(LITERAL, known, name, value, into);
        self.table.insert(name, value);
        self.search.inserted(field_hash, known.is_none().then_some(name_hash));
    }

    /// Names and values of the table's entries, the newest first.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<(&[u8], &[u8])> {
        self.table.entries()
    }

    /// A field above half of the table would evict most entries that make other fields short.
    fn is_worth_an_entry(&self, name: &[u8], value: &[u8]) -> bool {
        size(name, value) <= self.table.limit() as usize / 2
    }

    fn literal(
        &self,
        pattern: (u8, u32),
        known: Option<Name>,
        name: &[u8],
        value: &[u8],
        into: &mut Vec<u8>,
    ) {
        let index = match known {
            Some(known) => Some(known.index),
            None => self.search.name(&self.table, hash(name, 0), name).map(dynamic),
        };
        match index {
            Some(index) => write(index, pattern, into),
            None => {
                write(0, pattern, into);
                string::write(name, into);
            }
        }
        string::write(value, into);
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

fn write(value: u32, (pattern, bits): (u8, u32), into: &mut Vec<u8>) {
    integer::write(value as usize, bits, pattern, into);
}

/// The index of an entry in the dynamic table. An encoder's table has at most 128 entries.
fn dynamic(age: usize) -> u32 {
    statics::LEN + 1 + age as u32
}
