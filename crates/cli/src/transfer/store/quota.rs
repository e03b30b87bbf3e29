//! Limits the bytes and the number of all partial files together, and those of one peer.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytesize::ByteSize;

use crate::places::Peer;
use crate::transfer::partial::{Found, Key, key_of};

/// A file takes at least this much on most disks. Without this, files of one byte could use up all
/// names.
const BLOCK: u64 = 4096;

/// How many partial files there may be. Each takes some 100 bytes of memory here, and a look at the
/// directory takes them all in: files of one byte would be hundreds of millions on a large disk.
const FILES: usize = 1 << 16;

/// All partial files, and the limit of their bytes. One file may take all that is free, as long as the
/// peer's others together take no more than is free then: a peer that leaves many behind gets little
/// more than half, and a peer that has none can send a file of any size for which there is room.
#[derive(Clone, Debug)]
pub(crate) struct Quota(Arc<Mutex<Ledger>>);

#[derive(Debug)]
struct Ledger {
    limit: u64,
    total: u64,
    most_files: usize,
    files: HashMap<Key, Entry>,
    /// Each peer's part of these.
    peers: HashMap<Peer, Part>,
}

/// The files of one peer.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    bytes: u64,
    files: usize,
}

#[derive(Debug)]
struct Entry {
    len: u64,
    /// The peer that was the last to write to it. `None` if that was before the server started.
    peer: Option<Peer>,
    /// A transfer is writing to it, and knows its length better than a look at the directory.
    is_written: bool,
    touched: Instant,
}

/// The share of one transfer, which grows with its file.
#[derive(Debug)]
pub(crate) struct Share {
    quota: Quota,
    key: Key,
    peer: Peer,
}

/// There is no room for more bytes, or for another file. The last values are what the peer's other
/// files take, if another peer could have more.
#[derive(Debug)]
pub(crate) enum Full {
    Bytes(u64, Option<u64>),
    Files(usize, Option<usize>),
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Quota {
        let (files, peers) = (HashMap::new(), HashMap::new());
        let ledger = Ledger { limit, total: 0, most_files: FILES, files, peers };
        Quota(Arc::new(Mutex::new(ledger)))
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.lock().limit = limit;
    }

    /// The bytes that partial files take now.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// The share of a transfer to this partial file, which will have `size` bytes. Those bytes are
    /// not reserved: a client that names a size and sends nothing takes nothing from others. The
    /// bytes that are there count for this peer from now on.
    ///
    /// # Errors
    ///
    /// [`Full`], in the inner result, if there is no room for these bytes now; and errors of the
    /// system.
    pub(crate) fn begin(
        &self,
        file: &File,
        size: u64,
        peer: Peer,
    ) -> io::Result<Result<Share, Full>> {
        let (key, len) = (key_of(file)?, file.metadata()?.len());
        let mut ledger = self.lock();
        let is_new = !ledger.files.contains_key(&key);
        let before = ledger.files.get(&key).and_then(|entry| entry.peer);
        ledger.set(key, len, Some(peer), true);
        let place = match before == Some(peer) {
            true => Ok(()),
            false => ledger.place_for(peer, is_new),
        };
        let more = cost(size).saturating_sub(cost(len));
        let room = place.and_then(|()| ledger.room_for(peer, key, more));
        match room {
            Ok(()) => Ok(Ok(Share { quota: self.clone(), key, peer })),
            Err(full) => {
                // It stays whose it was.
                ledger.rest(key, len, before);
                Ok(Err(full))
            }
        }
    }

    /// Applies the files that were `left` by a look at the directory, which began at `began`.
    pub(crate) fn found(&self, began: Instant, left: &[Found]) {
        let mut ledger = self.lock();
        let known: Vec<(Key, Entry)> = ledger.files.drain().collect();
        (ledger.total, ledger.peers) = (0, HashMap::new());
        let mut left: HashMap<Key, u64> = left.iter().map(|found| (found.key, found.len)).collect();
        for (key, entry) in known {
            let found = left.remove(&key);
            if entry.is_written || entry.touched >= began {
                ledger.add(key, entry);
            } else if let Some(len) = found {
                ledger.add(key, Entry { len, ..entry });
            }
        }
        for (key, len) in left {
            ledger.set(key, len, None, false);
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
        ledger.room_for(self.peer, self.key, cost(len + bytes) - cost(len))?;
        ledger.set(self.key, len + bytes, Some(self.peer), true);
        Ok(())
    }

    /// Gives back the whole share: the bytes were dropped, or are a complete file now.
    pub(crate) fn clear(&self) {
        self.quota.lock().set(self.key, 0, Some(self.peer), true);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut ledger = self.quota.lock();
        let len = ledger.len(self.key);
        ledger.rest(self.key, len, Some(self.peer));
    }
}

impl Ledger {
    fn len(&self, key: Key) -> u64 {
        self.files.get(&key).map_or(0, |entry| entry.len)
    }

    /// Whether a peer may have so many bytes more for this file of its own.
    fn room_for(&self, peer: Peer, key: Key, more: u64) -> Result<(), Full> {
        let limit = self.limit;
        if more == 0 {
            // All of the file has arrived, even if the limit has become lower since.
            return Ok(());
        }
        let Some(free) = limit.checked_sub(self.total.saturating_add(more)) else {
            return Err(Full::Bytes(limit, None));
        };
        let others = self.part(peer).bytes.saturating_sub(cost(self.len(key)));
        match peer.has_others() && others > free {
            true => Err(Full::Bytes(limit, Some(others))),
            false => Ok(()),
        }
    }

    /// Whether a peer may have a file that was another peer's or `is_new`, and is counted already.
    fn place_for(&self, peer: Peer, is_new: bool) -> Result<(), Full> {
        if is_new && self.files.len() > self.most_files {
            return Err(Full::Files(self.most_files, None));
        }
        let free = self.most_files.saturating_sub(self.files.len());
        let others = self.part(peer).files.saturating_sub(1);
        match peer.has_others() && others > free {
            true => Err(Full::Files(self.most_files, Some(others))),
            false => Ok(()),
        }
    }

    fn part(&self, peer: Peer) -> Part {
        self.peers.get(&peer).copied().unwrap_or_default()
    }

    /// No transfer writes to it any more. Empty files are removed.
    fn rest(&mut self, key: Key, len: u64, peer: Option<Peer>) {
        match len {
            0 => self.remove(key),
            len => self.set(key, len, peer, false),
        }
    }

    fn set(&mut self, key: Key, len: u64, peer: Option<Peer>, is_written: bool) {
        self.add(key, Entry { len, peer, is_written, touched: Instant::now() });
    }

    fn add(&mut self, key: Key, entry: Entry) {
        self.remove(key);
        let cost = cost(entry.len);
        self.total += cost;
        if let Some(peer) = entry.peer {
            let part = self.peers.entry(peer).or_default();
            (part.bytes, part.files) = (part.bytes + cost, part.files + 1);
        }
        self.files.insert(key, entry);
    }

    fn remove(&mut self, key: Key) {
        let Some(entry) = self.files.remove(&key) else { return };
        let cost = cost(entry.len);
        self.total -= cost;
        if let Some(peer) = entry.peer
            && let Some(part) = self.peers.get_mut(&peer)
        {
            (part.bytes, part.files) = (part.bytes - cost, part.files - 1);
            if part.files == 0 {
                self.peers.remove(&peer);
            }
        }
    }
}

fn cost(len: u64) -> u64 {
    if len == 0 { 0 } else { len.max(BLOCK) }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no room for the file now: files that are not whole ")?;
        let others = match self {
            Full::Bytes(limit, others) => {
                let limit = ByteSize(*limit);
                write!(f, "may take {limit} together at this server (--files-quota)")?;
                others.map(|bytes| format!("have {}", ByteSize(bytes)))
            }
            Full::Files(most, others) => {
                write!(f, "may be {most} at this server")?;
                others.map(|files| format!("are {files}"))
            }
        };
        match others {
            Some(others) => write!(
                f,
                "; other such files of this peer {others}, and must not be more than is free"
            ),
            None => Ok(()),
        }
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
        let one = quota.begin(&one, 60_000, Peer::LOCAL).unwrap().unwrap();
        let other = quota.begin(&other, 60_000, Peer::LOCAL).unwrap().unwrap();
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
        let _share = quota.begin(&empty, 50_000, Peer::LOCAL).unwrap().unwrap();
        quota.begin(&other, 100_000, Peer::LOCAL).unwrap().unwrap();
        quota.begin(&other, 100_001, Peer::LOCAL).unwrap().unwrap_err();
        // All bytes of this file are there, and only its name is missing, so it takes no more.
        quota.begin(&whole, 200_000, Peer::LOCAL).unwrap().unwrap();
        quota.begin(&other, 1, Peer::LOCAL).unwrap().unwrap_err();
    }

    #[test]
    fn a_byte_takes_a_block() {
        let quota = Quota::new(BLOCK * 2);
        let files: Vec<File> = (0..3).map(|_| file(0)).collect();
        let begun = files.iter().map(|file| {
            let share = quota.begin(file, 1, Peer::LOCAL).unwrap();
            share.and_then(|share| share.grow(1))
        });
        assert_eq!(begun.map(|begun| begun.is_ok()).collect::<Vec<_>>(), [true, true, false]);
    }

    fn peer(addr: &str) -> Peer {
        Peer::at(&addr.parse::<std::net::SocketAddr>().unwrap().into())
    }

    #[test]
    fn files_that_a_peer_leaves_behind_take_no_more_than_is_free_for_others() {
        let quota = Quota::new(800_000);
        let (one, two) = (peer("10.0.0.1:1"), peer("10.0.0.2:1"));
        let (left, next, other) = (file(0), file(0), file(0));
        // One file may take everything.
        let share = quota.begin(&left, 800_000, one).unwrap().unwrap();
        share.grow(200_000).unwrap();
        drop(share);
        left.set_len(200_000).unwrap();
        let refused = quota.begin(&next, 400_001, one).unwrap().unwrap_err().to_string();
        assert!(refused.contains("--files-quota") && refused.contains("this peer"), "{refused}");
        let share = quota.begin(&next, 400_000, one).unwrap().unwrap();
        share.grow(400_000).unwrap();
        share.grow(1).unwrap_err();
        // Another peer, and the same one from another port.
        let newcomer = quota.begin(&other, 200_000, two).unwrap().unwrap();
        newcomer.grow(200_000).unwrap();
        let full = newcomer.grow(1).unwrap_err().to_string();
        assert!(!full.contains("this peer"), "{full}");
        newcomer.clear();
        quota.begin(&file(0), 4096, peer("10.0.0.1:2")).unwrap().unwrap_err();
        // A file that is whole does not count any more.
        share.clear();
        quota.begin(&file(0), 4096, one).unwrap().unwrap();
        quota.begin(&file(0), 600_000, Peer::LOCAL).unwrap().unwrap();
    }

    #[test]
    fn there_is_an_end_to_the_number_of_files_and_a_peer_leaves_half_to_others() {
        let quota = Quota::new(u64::MAX);
        quota.lock().most_files = 9;
        let files: Vec<File> = (0..10).map(|_| file(0)).collect();
        let begin = |n: usize, addr: &str| quota.begin(&files[n], 1, peer(addr)).unwrap();
        let keep = |n: usize, addr: &str| {
            begin(n, addr).unwrap().grow(1).unwrap();
            files[n].set_len(1).unwrap();
        };
        for n in 0..5 {
            keep(n, "10.0.0.1:1");
        }
        let refused = begin(5, "10.0.0.1:1").unwrap_err().to_string();
        assert!(refused.contains("other such files of this peer are 5"), "{refused}");
        for n in [5, 6] {
            keep(n, "10.0.0.2:1");
        }
        begin(7, "10.0.0.2:1").unwrap_err();
        for n in [7, 8] {
            keep(n, &format!("10.0.0.{n}:1"));
        }
        let full = begin(9, "10.0.0.9:1").unwrap_err().to_string();
        assert!(full.ends_with("files that are not whole may be 9 at this server"), "{full}");
        // Those that are there can be completed, each by its own peer.
        drop(begin(0, "10.0.0.1:1").unwrap());
        let ledger = quota.lock();
        assert_eq!((ledger.files.len(), ledger.part(peer("10.0.0.1:1")).files), (9, 5));
    }

    #[test]
    fn the_bytes_of_a_file_count_for_the_peer_that_goes_on_with_it() {
        let quota = Quota::new(100_000);
        let (one, two, part) = (peer("10.0.0.1:1"), peer("10.0.0.2:1"), file(0));
        let share = quota.begin(&part, 50_000, one).unwrap().unwrap();
        share.grow(50_000).unwrap();
        drop(share);
        part.set_len(50_000).unwrap();
        // The look at the directory does not forget whose it is.
        let found = Found { key: key_of(&part).unwrap(), len: 50_000 };
        quota.found(Instant::now(), &[found]);
        let other = file(0);
        quota.begin(&other, 4096, one).unwrap().unwrap_err();
        drop(quota.begin(&part, 50_000, two).unwrap().unwrap());
        quota.begin(&other, 4096, two).unwrap().unwrap_err();
        quota.begin(&other, 50_001, one).unwrap().unwrap_err();
        quota.begin(&other, 50_000, one).unwrap().unwrap();
        quota.found(Instant::now(), &[]);
        let ledger = quota.lock();
        assert!(ledger.peers.is_empty() && ledger.total == 0, "{ledger:?}");
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
        let share = quota.begin(&active, 20_000, Peer::LOCAL).unwrap().unwrap();
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
