//! Finds fields in an encoder's dynamic table.

use super::dynamic::Table;
use super::equal;

/// The most entries that a table of 4,096 bytes has.
const ENTRIES: usize = 4096 / super::OVERHEAD;
const BUCKETS: usize = 64;
/// The most entries of a bucket that are examined. So fields whose hashes collide on purpose cost
/// no more, and an entry that is not found costs only a few bytes.
const PROBES: usize = 8;

/// Entries have numbers in the order of their insertion. Each bucket is a chain of them from the
/// newest to the oldest. Evicted entries stay in the chain: their number shows their age, and the
/// chain ends at the first of them.
#[derive(Debug)]
pub(super) struct Search {
    /// The number of the next entry, modulo 2¹⁶. If a number is used again while a bucket still has
    /// it, it leads to another entry, which does not match.
    next: u16,
    fields: [u16; BUCKETS],
    names: [u16; BUCKETS],
    links: [Link; ENTRIES],
}

/// Facts about the entry with a number, at the index of that number modulo the length of `links`.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    hash: u32,
    /// The next older entry in its bucket of `fields`.
    field: u16,
    /// The next older entry in its bucket of `names`.
    name: u16,
}

impl Search {
    pub(super) fn new() -> Search {
        Search {
            // Far from the zeros in the buckets, so that zeros count as too old.
            next: 1 << 15,
            fields: [0; BUCKETS],
            names: [0; BUCKETS],
            links: [Link::default(); ENTRIES],
        }
    }

    /// The age of an entry with this name and value. `hash` is the hash of both.
    pub(super) fn field(
        &self,
        table: &Table,
        hash: u32,
        name: &[u8],
        value: &[u8],
    ) -> Option<usize> {
        let mut number = self.fields[bucket(hash)];
        for _ in 0..PROBES {
            let age = self.age(number);
            if age >= table.len() {
                return None;
            }
            let link = self.link(number);
            if link.hash == hash
                && table.get(age).is_some_and(|found| equal(found.1, value) && equal(found.0, name))
            {
                return Some(age);
            }
            number = link.field;
        }
        None
    }

    /// The age of the newest entry with this name, which must not be in the static table. `hash` is
    /// the hash of the name.
    pub(super) fn name(&self, table: &Table, hash: u32, name: &[u8]) -> Option<usize> {
        let mut number = self.names[bucket(hash)];
        for _ in 0..PROBES {
            let age = self.age(number);
            if age >= table.len() {
                return None;
            }
            if table.get(age).is_some_and(|(found, _)| equal(found, name)) {
                return Some(age);
            }
            number = self.link(number).name;
        }
        None
    }

    /// Records an entry that was put into the table. `name` is the hash of its name if that is not
    /// in the static table.
    pub(super) fn inserted(&mut self, hash: u32, name: Option<u32>) {
        let number = self.next;
        self.next = number.wrapping_add(1);
        let older = std::mem::replace(&mut self.fields[bucket(hash)], number);
        let mut link = Link { hash, field: older, name: 0 };
        if let Some(hash) = name {
            link.name = std::mem::replace(&mut self.names[bucket(hash)], number);
        }
        self.links[usize::from(number) % ENTRIES] = link;
    }

    fn age(&self, number: u16) -> usize {
        usize::from(self.next.wrapping_sub(number).wrapping_sub(1))
    }

    fn link(&self, number: u16) -> &Link {
        &self.links[usize::from(number) % ENTRIES]
    }
}

fn bucket(hash: u32) -> usize {
    hash as usize % BUCKETS
}

/// A hash of a string's length and of at most 24 of its bytes, at both ends and in the middle. So
/// long strings cost no more than short ones.
pub(super) fn hash(text: &[u8], seed: u32) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let len = text.len();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u64::from(u32::from_le_bytes(*bytes));
    let bits = if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let middle = text[len / 2 - 4..].first_chunk().map_or(0, word);
        (word(first) ^ word(last).rotate_left(23)).wrapping_mul(FACTOR) ^ middle
    } else if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        half(first) ^ half(last) << 32
    } else {
        text.iter().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
    };
    let bits = bits ^ (len as u64) << 56 ^ u64::from(seed);
    let bits = bits.wrapping_mul(FACTOR);
    (bits >> 32) as u32 ^ (bits >> 57) as u32
}
