//! The dynamic table (RFC 7541 §2.3.2, §4).

use std::collections::VecDeque;

use super::size;

/// The initial room for entries, in bytes.
const FIRST_ROOM: usize = 256;

/// Entries in first-in, first-out order, within a limit of bytes. Their names and values follow
/// each other in one buffer, which never has more room than the largest limit so far. When it is
/// full, bytes of evicted entries are dropped from its front.
#[derive(Debug)]
pub(super) struct Table {
    /// The oldest entry is at the front.
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// The position where `bytes` begins, counted like `Entry::start`.
    base: u32,
    size: usize,
    limit: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The number of bytes that were inserted before this entry's own, modulo 2³².
    start: u32,
    name: u32,
    value: u32,
}

impl Table {
    pub(super) fn new(limit: u32) -> Table {
        Table { entries: VecDeque::new(), bytes: Vec::new(), base: 0, size: 0, limit }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The size of all entries (RFC 7541 §4.1), in bytes.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Names and values, the newest first.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<(&[u8], &[u8])> {
        (0..self.len()).filter_map(|age| self.get(age)).collect()
    }

    /// The largest size of all entries, in bytes.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The name and value of an entry. The newest entry has the age 0.
    #[inline]
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let at = self.entries.len().checked_sub(age + 1)?;
        let entry = self.entries.get(at)?;
        let bytes = self.bytes.get(self.offset(entry)..)?;
        let (name, rest) = bytes.split_at_checked(entry.name as usize)?;
        Some((name, rest.get(..entry.value as usize)?))
    }

    /// Sets a new limit, and evicts the entries that exceed it (RFC 7541 §4.3).
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
        self.evict_above(limit as usize);
    }

    /// Inserts a new entry, and evicts the oldest ones for it. An entry that is larger than the
    /// table leaves the table empty (RFC 7541 §4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = size(name, value);
        let Some(most) = (self.limit as usize).checked_sub(size) else {
            self.evict_above(0);
            return;
        };
        self.evict_above(most);
        self.make_room(name.len() + value.len());
        // All lengths are below the limit, which has 32 bits.
        self.entries.push_back(Entry {
            start: self.base.wrapping_add(self.bytes.len() as u32),
            name: name.len() as u32,
            value: value.len() as u32,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += size;
    }

    fn evict_above(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.size -= oldest.name as usize + oldest.value as usize + super::OVERHEAD;
        }
    }

    /// Moves the remaining bytes only after as many bytes were evicted as the entries' overhead
    /// amounts to. So this happens seldom, and copies at most the limit at once.
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() + len <= self.bytes.capacity() {
            return;
        }
        let evicted = self.entries.front().map_or(self.bytes.len(), |entry| self.offset(entry));
        self.bytes.drain(..evicted);
        self.base = self.base.wrapping_add(evicted as u32);
        let needed = self.bytes.len() + len;
        let limit = self.limit as usize;
        // Little was freed. Use a larger buffer, or the next entry would move all bytes again.
        if evicted < needed / 2 && self.bytes.capacity() < limit || needed > self.bytes.capacity() {
            let room = (needed * 2).clamp(FIRST_ROOM.min(limit), limit);
            self.bytes.reserve_exact(room - self.bytes.len());
        }
    }

    fn offset(&self, entry: &Entry) -> usize {
        entry.start.wrapping_sub(self.base) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>, Vec<u8>),
        Limit(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0..1000_u32).prop_map(Step::Limit),
            20 => (collection::vec(any::<u8>(), 0..50), collection::vec(any::<u8>(), 0..300))
                .prop_map(|(name, value)| Step::Insert(name, value)),
        ]
    }

    proptest! {
        #[test]
        fn a_table_is_as_the_rfc_says(steps in collection::vec(step(), 0..100)) {
            let mut table = Table::new(1000);
            // A plain model of §4.3 and §4.4. The newest entry is at the front.
            let (mut plain, mut limit) = (Vec::new(), 1000);
            for step in steps {
                match step {
                    Step::Insert(name, value) => {
                        table.insert(&name, &value);
                        plain.insert(0, (name, value));
                    }
                    Step::Limit(new) => {
                        table.set_limit(new);
                        limit = new as usize;
                    }
                }
                let sizes = |plain: &[(Vec<u8>, Vec<u8>)]| -> usize {
                    plain.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
                };
                while sizes(&plain) > limit {
                    plain.pop();
                }
                let plain_entries: Vec<(&[u8], &[u8])> =
                    plain.iter().map(|(name, value)| (&**name, &**value)).collect();
                prop_assert_eq!(table.entries(), plain_entries);
                prop_assert_eq!(table.size(), sizes(&plain));
                prop_assert_eq!(table.get(table.len()), None);
                prop_assert!(table.bytes.capacity() <= 1000);
            }
        }
    }
}
