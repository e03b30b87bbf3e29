//! The digests of the beginnings of files. A request of a few bytes can ask for any number of them.

mod identity;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use h2conn::Conn;
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::transfer::digest::Hasher;
use crate::transfer::step as files;
use identity::Identity;

/// How much is digested in one step: about a millisecond's worth.
const STEP: u64 = 1 << 20;

/// How many digests are remembered, of a few hundred bytes each.
const KNOWN: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not 0");

/// Digests files in steps that take turns, and remembers the results.
#[derive(Clone, Debug)]
pub(crate) struct Digests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// As many turns as there are processors. More steps at once would make none of them faster.
    turns: Turns,
    known: Mutex<LruCache<Key, Work>>,
    #[cfg(test)]
    steps: std::sync::atomic::AtomicUsize,
}

/// The first `len` bytes of a file in its present state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    file: Identity,
    len: u64,
}

/// The progress of a digest. All transfers that need this digest share it.
type Work = Arc<tokio::sync::Mutex<State>>;

#[derive(Debug, Default)]
struct State {
    hasher: Hasher,
    /// The file has changed, so the digest belongs to no state of the file.
    is_spoiled: bool,
}

/// The turns of one peer, as many as there are in all. The peer's own transfers wait for them in
/// line, so that a peer with many transfers gets no more than a peer with one.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Default for Turns {
    fn default() -> Turns {
        let all = available_parallelism().map_or(1, NonZeroUsize::get);
        Turns(Arc::new(Semaphore::new(all)))
    }
}

impl Digests {
    pub(super) fn new() -> Digests {
        Digests(Arc::new(Shared {
            turns: Turns::default(),
            known: Mutex::new(LruCache::new(KNOWN)),
            #[cfg(test)]
            steps: std::sync::atomic::AtomicUsize::default(),
        }))
    }

    /// Like [`Hasher::of_start`], for as long as the client on `conn` is there.
    pub(super) async fn of_start(
        &self,
        conn: &Conn,
        file: &Arc<File>,
        len: u64,
        turns: &Turns,
    ) -> Result<Hasher> {
        tokio::select! {
            over = conn.closed() => {
                over?;
                bail!("the client has ended before the file was digested")
            }
            digested = self.digest(file, len, turns) => digested,
        }
    }

    async fn digest(&self, file: &Arc<File>, len: u64, turns: &Turns) -> Result<Hasher> {
        if len == 0 {
            let mut file: &File = file;
            file.rewind().context("cannot read the file")?;
            return Ok(Hasher::default());
        }
        let look = Arc::clone(file);
        let identity = files::step(move || Identity::if_settled(&look)).await??;
        let key = identity.map(|file| Key { file, len });
        let work = key.map(|key| self.0.work(key)).unwrap_or_default();
        self.go_on(file, len, key, work, turns).await
    }

    async fn go_on(
        &self,
        file: &Arc<File>,
        len: u64,
        mut key: Option<Key>,
        mut work: Work,
        turns: &Turns,
    ) -> Result<Hasher> {
        loop {
            let mut state = work.lock().await;
            let mut peers = None;
            if !state.is_spoiled && state.hasher.len() < len {
                // Wait in the peer's own line first, and hold up no other peer meanwhile that waits for
                // the same digest. The common line is last.
                drop(state);
                peers = Arc::clone(&turns.0).acquire_owned().await.ok();
                state = work.lock().await;
            }
            if state.is_spoiled {
                drop(state);
                (key, work) = (None, Work::default());
                continue;
            }
            let before = state.hasher.len();
            if before < len {
                let own = Arc::clone(&self.0.turns.0).acquire_owned().await;
                let (file, hasher) = (Arc::clone(file), state.hasher.clone());
                #[cfg(test)]
                self.0.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let step = spawn_blocking(move || {
                    // Hold the turns to the end of the step, even if its transfer ends first.
                    let _turns = (peers, own);
                    step(&file, hasher, len, key.map(|key| key.file))
                });
                let (hasher, is_same) = step.await.context("the thread that digests is gone")??;
                if !is_same {
                    state.is_spoiled = true;
                    if let Some(key) = key {
                        self.0.lock().pop(&key);
                    }
                    continue;
                }
                state.hasher = hasher;
            }
            if state.hasher.len() == len || state.hasher.len() == before {
                let hasher = state.hasher.clone();
                let mut file: &File = file;
                file.seek(SeekFrom::Start(hasher.len())).context("cannot read the file")?;
                return Ok(hasher);
            }
        }
    }
}

impl Shared {
    fn work(&self, key: Key) -> Work {
        Arc::clone(self.lock().get_or_insert(key, Work::default))
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Key, Work>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digests some more of the first `len` bytes, and returns whether the file is still the same after
/// that.
fn step(
    mut file: &File,
    mut hasher: Hasher,
    len: u64,
    same: Option<Identity>,
) -> Result<(Hasher, bool)> {
    file.seek(SeekFrom::Start(hasher.len())).context("cannot read the file")?;
    let more = (len - hasher.len()).min(STEP);
    let mut chunk = Vec::with_capacity(more as usize);
    file.take(more).read_to_end(&mut chunk).context("cannot read the file")?;
    hasher.update(&chunk);
    let is_same = match same {
        Some(before) => Identity::of(file).context("cannot read the file")? == before,
        None => true,
    };
    Ok((hasher, is_same))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::Write;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, SystemTime};

    use super::*;

    const LEN: u64 = STEP * 2 + 5;

    fn age(file: &File) {
        file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
    }

    fn file() -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(&vec![3; LEN as usize]).unwrap();
        Arc::new(file)
    }

    fn steps(digests: &Digests) -> usize {
        digests.0.steps.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_digest_is_that_of_the_beginning_and_leaves_the_file_behind_it() {
        let (digests, file) = (Digests::new(), file());
        for len in [0, 1, STEP, LEN - 1, LEN, LEN + 1] {
            let hasher = digests.digest(&file, len, &Turns::default()).await.unwrap();
            let mut behind = (&*file).stream_position().unwrap();
            assert_eq!((hasher.len(), behind), (len.min(LEN), len.min(LEN)));
            let plain = Hasher::of_start(&file, len).unwrap();
            assert_eq!(hasher.digest(), plain.digest());
            behind = (&*file).stream_position().unwrap();
            assert_eq!(behind, hasher.len());
        }
    }

    #[tokio::test]
    async fn a_file_that_has_just_changed_is_digested_each_time() {
        let (digests, file) = (Digests::new(), file());
        for steps_so_far in [3, 6] {
            digests.digest(&file, LEN, &Turns::default()).await.unwrap();
            assert_eq!(steps(&digests), steps_so_far);
        }
        assert!(digests.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_digest_costs_once_also_when_many_ask_at_once() {
        let (digests, file) = (Digests::new(), file());
        let key = Key { file: Identity::of(&file).unwrap(), len: LEN };
        let work = digests.0.work(key);
        let asking = (0..20).map(|_| {
            let (digests, file, work) = (digests.clone(), Arc::clone(&file), Arc::clone(&work));
            tokio::spawn(async move {
                digests.go_on(&file, LEN, Some(key), work, &Turns::default()).await
            })
        });
        for asked in asking.collect::<Vec<_>>() {
            assert_eq!(asked.await.unwrap().unwrap().len(), LEN);
        }
        assert_eq!(steps(&digests), 3);
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_digested_is_not_remembered() {
        let (digests, file) = (Digests::new(), file());
        age(&file);
        let key = Key { file: Identity::of(&file).unwrap(), len: LEN };
        (&*file).rewind().unwrap();
        (&*file).write_all(b"changed").unwrap();
        let work = digests.0.work(key);
        let hasher = digests.go_on(&file, LEN, Some(key), work, &Turns::default()).await.unwrap();
        assert_eq!(hasher.digest(), Hasher::of_start(&file, LEN).unwrap().digest());
        assert!(digests.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_peer_with_a_long_line_holds_up_no_other_that_wants_the_same_digest() {
        let (digests, file, busy) = (Digests::new(), file(), Turns::default());
        let key = Key { file: Identity::of(&file).unwrap(), len: LEN };
        let work = digests.0.work(key);
        let all = busy.0.available_permits() as u32;
        let line = Arc::clone(&busy.0).acquire_many_owned(all).await.unwrap();
        let ask = |turns: Turns| {
            let (digests, file, work) = (digests.clone(), Arc::clone(&file), Arc::clone(&work));
            tokio::spawn(async move { digests.go_on(&file, LEN, Some(key), work, &turns).await })
        };
        let first = ask(busy);
        // It runs until it waits.
        tokio::task::yield_now().await;
        assert_eq!(ask(Turns::default()).await.unwrap().unwrap().len(), LEN);
        assert!(!first.is_finished());
        drop(line);
        assert_eq!(first.await.unwrap().unwrap().len(), LEN);
        assert_eq!(steps(&digests), 3);
    }

    #[tokio::test]
    async fn a_digest_that_nobody_waits_for_any_more_ends() {
        let digests = Digests::new();
        let hole = tempfile::tempfile().unwrap();
        hole.set_len(1 << 40).unwrap();
        let (near, far) = h2conn::testing::pair().await.unwrap();
        let digesting = tokio::spawn({
            let digests = digests.clone();
            async move { digests.of_start(&near, &Arc::new(hole), 1 << 40, &Turns::default()).await }
        });
        while steps(&digests) < 3 {
            tokio::task::yield_now().await;
        }
        far.reset(h2conn::Reason::CANCEL);
        digesting.await.unwrap().unwrap_err();
        // No step is running any more either.
        let all = available_parallelism().unwrap().get();
        let _all = digests.0.turns.0.acquire_many(all as u32).await.unwrap();
    }
}
