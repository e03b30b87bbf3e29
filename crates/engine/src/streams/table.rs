//! From a stream's identifier to its slot: a small table with open addressing.
//!
//! Identifiers are consecutive, so their own low bits spread them better than a hash would. Entries
//! that compete for a place are kept in the order of their homes (Robin Hood hashing), so a removal
//! moves only entries that are not at home, and consecutive ones all are. A peer can cause
//! collisions, but the number of streams that it may open bounds their cost.

const EMPTY: u32 = 0;

const FIRST: usize = 8;

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: u32,
    slot: u32,
}

/// The slots of the open streams.
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    len: usize,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table { entries: vec![Entry { id: EMPTY, slot: 0 }; FIRST], len: 0 }
    }

    fn mask(&self) -> usize {
        self.entries.len() - 1
    }

    fn home(&self, id: u32) -> usize {
        (id >> 1) as usize & self.mask()
    }

    /// Adds a stream that is not in the table.
    pub(crate) fn insert(&mut self, id: u32, slot: u32) {
        // A quarter stays free, so that a search ends soon.
        if (self.len + 1) * 4 > self.entries.len() * 3 {
            let larger = vec![Entry { id: EMPTY, slot: 0 }; self.entries.len() * 2];
            for entry in std::mem::replace(&mut self.entries, larger) {
                if entry.id != EMPTY {
                    self.place(entry);
                }
            }
        }
        self.len += 1;
        self.place(Entry { id, slot });
    }

    /// How far an entry at this index is from its home.
    fn distance(&self, index: usize, id: u32) -> usize {
        index.wrapping_sub(self.home(id)) & self.mask()
    }

    fn place(&mut self, mut entry: Entry) {
        let mut index = self.home(entry.id);
        let mut distance = 0;
        while self.entries[index].id != EMPTY {
            let there = self.distance(index, self.entries[index].id);
            if there < distance {
                std::mem::swap(&mut self.entries[index], &mut entry);
                distance = there;
            }
            index = (index + 1) & self.mask();
            distance += 1;
        }
        self.entries[index] = entry;
    }

    /// The slot of a stream.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<u32> {
        self.find(id).map(|index| self.entries[index].slot)
    }

    #[inline]
    fn find(&self, id: u32) -> Option<usize> {
        let mut index = self.home(id);
        loop {
            match self.entries[index].id {
                found if found == id => return Some(index),
                EMPTY => return None,
                _ => index = (index + 1) & self.mask(),
            }
        }
    }

    /// Removes a stream, and returns its slot.
    pub(crate) fn remove(&mut self, id: u32) -> Option<u32> {
        let mut hole = self.find(id)?;
        let slot = self.entries[hole].slot;
        self.len -= 1;
        // Entries after it move nearer to their homes, up to the first that is at home.
        loop {
            let next = (hole + 1) & self.mask();
            let entry = self.entries[next];
            if entry.id == EMPTY || self.distance(next, entry.id) == 0 {
                break;
            }
            self.entries[hole] = entry;
            hole = next;
        }
        self.entries[hole].id = EMPTY;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_does_as_a_map_does(steps in proptest::collection::vec((0..64_u32, any::<bool>()), 0..400)) {
            let (mut table, mut map) = (Table::new(), HashMap::new());
            for (slot, (number, insert)) in (0..).zip(steps) {
                // Many of them have the same home.
                let id = (number % 8) * 1024 + (number / 8) * 2 + 1;
                if insert && !map.contains_key(&id) {
                    table.insert(id, slot);
                    map.insert(id, slot);
                } else if !insert {
                    prop_assert_eq!(table.remove(id), map.remove(&id));
                }
                for number in 0..64 {
                    let id = (number % 8) * 1024 + (number / 8) * 2 + 1;
                    prop_assert_eq!(table.get(id), map.get(&id).copied());
                }
                prop_assert_eq!(table.len, map.len());
            }
        }
    }
}
