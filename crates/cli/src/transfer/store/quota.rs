//! Limits the bytes of all partial files together.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytesize::ByteSize;

use crate::transfer::partial::{Found, Key, key_of};

/// A file takes at least this much on most disks. Without this, files of one byte could use up all
/// names.
const BLOCK: u64 = 4096;

/// All partial files, and the limit of their bytes.
#[derive(Clone, Debug)]
pub(crate) struct Quota(Arc<Mutex<Ledger>>);

#[derive(Debug)]
struct Ledger {
    limit: u64,
    total: u64,
    files: HashMap<Key, Entry>,
}

#[derive(Debug)]
struct Entry {
    len: u64,
    /// A transfer is writing to it, and knows its length better than a look at the directory.
    is_written: bool,
    touched: Instant,
}

/// The share of one transfer, which grows with its file.
#[derive(Debug)]
pub(crate) struct Share {
    quota: Quota,
    key: Key,
}

/// There is no room for more bytes.
#[derive(Debug)]
pub(crate) struct Full {
    limit: u64,
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Quota {
        Quota(Arc::new(Mutex::new(Ledger { limit, total: 0, files: HashMap::new() })))
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.lock().limit = limit;
    }

    /// The bytes that partial files take now.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// The share of a transfer to this partial file, which will have `size` bytes. Those bytes are
    /// not reserved: a client that names a size and sends nothing takes nothing from others.
    ///
    /// # Errors
    ///
    /// [`Full`], in the inner result, if there is no room for these bytes now; and errors of the
    /// system.
    pub(crate) fn begin(&self, file: &File, size: u64) -> io::Result<Result<Share, Full>> {
        let (key, len) = (key_of(file)?, file.metadata()?.len());
        let mut ledger = self.lock();
        ledger.set(key, len, true);
        let share = Share { quota: self.clone(), key };
        let more = cost(size).saturating_sub(cost(len));
        let is_room = more == 0 || ledger.total.saturating_add(more) <= ledger.limit;
        let limit = ledger.limit;
        drop(ledger);
        Ok(if is_room { Ok(share) } else { Err(Full { limit }) })
    }

    /// Applies the files that were `left` by a look at the directory, which began at `began`.
    pub(crate) fn found(&self, began: Instant, left: &[Found]) {
        let mut ledger = self.lock();
        let is_known = |entry: &Entry| entry.is_written || entry.touched >= began;
        let gone: Vec<Key> = ledger
            .files
            .iter()
            .filter(|(_, entry)| !is_known(entry))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            ledger.remove(key);
        }
        for Found { key, len } in left {
            if !ledger.files.contains_key(key) {
                ledger.set(*key, *len, false);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Makes room for this many more bytes.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), Full> {
        let mut ledger = self.quota.lock();
        let len = ledger.len(self.key);
        let more = cost(len + bytes) - cost(len);
        if more > 0 && ledger.total.saturating_add(more) > ledger.limit {
            return Err(Full { limit: ledger.limit });
        }
        ledger.set(self.key, len + bytes, true);
        Ok(())
    }

    /// Gives back the whole share: the bytes were dropped, or are a complete file now.
    pub(crate) fn clear(&self) {
        self.quota.lock().set(self.key, 0, true);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut ledger = self.quota.lock();
        match ledger.len(self.key) {
            // Empty partial files are removed.
            0 => ledger.remove(self.key),
            len => ledger.set(self.key, len, false),
        }
    }
}

impl Ledger {
    fn len(&self, key: Key) -> u64 {
        self.files.get(&key).map_or(0, |entry| entry.len)
    }

    fn set(&mut self, key: Key, len: u64, is_written: bool) {
        self.remove(key);
        self.total += cost(len);
        self.files.insert(key, Entry { len, is_written, touched: Instant::now() });
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.files.remove(&key) {
            self.total -= cost(entry.len);
        }
    }
}

fn cost(len: u64) -> u64 {
    if len == 0 { 0 } else { len.max(BLOCK) }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no room for the file now: files that are not whole may take {} together at this \
             server (--files-quota)",
            ByteSize(self.limit)
        )
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    fn file(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn shares_grow_until_all_is_taken_and_give_back_what_becomes_a_file() {
        let quota = Quota::new(100_000);
        let (one, other) = (file(0), file(30_000));
        let one = quota.begin(&one, 60_000).unwrap().unwrap();
        let other = quota.begin(&other, 60_000).unwrap().unwrap();
        assert_eq!(quota.total(), 30_000);
        one.grow(50_000).unwrap();
        one.grow(10_000).unwrap();
        other.grow(10_000).unwrap();
        let full = other.grow(1).unwrap_err().to_string();
        assert!(full.contains("--files-quota"), "{full}");
        one.clear();
        assert_eq!(quota.total(), 40_000);
        other.grow(20_000).unwrap();
        drop((one, other));
        assert_eq!((quota.total(), quota.lock().files.len()), (60_000, 1));
    }

    #[test]
    fn a_file_for_which_there_is_no_room_is_not_begun_and_a_size_takes_nothing() {
        let quota = Quota::new(100_000);
        let (empty, other, whole) = (file(0), file(0), file(200_000));
        let _share = quota.begin(&empty, 50_000).unwrap().unwrap();
        quota.begin(&other, 100_000).unwrap().unwrap();
        quota.begin(&other, 100_001).unwrap().unwrap_err();
        // All bytes of this file are there, and only its name is missing, so it takes no more.
        quota.begin(&whole, 200_000).unwrap().unwrap();
        quota.begin(&other, 1).unwrap().unwrap_err();
    }

    #[test]
    fn a_byte_takes_a_block() {
        let quota = Quota::new(BLOCK * 2);
        let files: Vec<File> = (0..3).map(|_| file(0)).collect();
        let begun = files.iter().map(|file| {
            let share = quota.begin(file, 1).unwrap();
            share.and_then(|share| share.grow(1))
        });
        assert_eq!(begun.map(|begun| begun.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    }

    #[test]
    fn a_look_at_the_directory_counts_what_it_finds_but_not_what_a_transfer_knows_better() {
        let quota = Quota::new(100_000);
        let (active, rests) = (file(10_000), file(20_000));
        let (active_key, rests_key) = (key_of(&active).unwrap(), key_of(&rests).unwrap());
        let found = |key, len| Found { key, len };
        quota.found(Instant::now(), &[found(active_key, 5), found(rests_key, 20_000)]);
        assert_eq!(quota.total(), 20_000 + BLOCK);
        let began = Instant::now();
        let share = quota.begin(&active, 20_000).unwrap().unwrap();
        quota.found(began, &[found(active_key, 5), found(rests_key, 20_000)]);
        assert_eq!(quota.total(), 30_000);
        drop(share);
        // The transfer ended while the directory was being read.
        quota.found(began, &[found(active_key, 5), found(rests_key, 20_000)]);
        assert_eq!(quota.total(), 30_000);
        quota.found(Instant::now(), &[found(active_key, 10_000)]);
        assert_eq!(quota.total(), 10_000);
    }
}
