//! Carries bytes from a file to the network, in steps. Each step reads and digests a chunk while
//! the connection sends the one before.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::task::JoinHandle;

use super::CHUNK;
use super::digest::{Digest, Hasher};
use super::step::step;

/// The rest of a file, chunk by chunk, and the digest of the whole.
///
/// No thread waits for the network. The pool has 512 threads, and transfers whose peers read
/// nothing would take all of them away from other transfers and from name lookups.
#[derive(Debug)]
pub(crate) struct Source {
    size: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Only one chunk is read ahead, because a peer that does not read keeps this memory occupied.
    Reading(JoinHandle<Result<Step>>),
    Whole(Digest),
    Failed,
}

/// A chunk, and everything that the next step needs.
#[derive(Debug)]
struct Step {
    file: Arc<File>,
    hasher: Hasher,
    chunk: Bytes,
}

impl Source {
    /// The rest of a file of `size` bytes, behind those that `hasher` has digested. The file's
    /// position must be there.
    pub(crate) fn new(file: Arc<File>, hasher: Hasher, size: u64) -> Source {
        Source { size, stage: Stage::after(file, hasher, size) }
    }

    /// The next chunk, or `None` at the end of the file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or has become shorter.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        let reading = match &mut self.stage {
            Stage::Reading(reading) => reading,
            Stage::Whole(_) => return Ok(None),
            Stage::Failed => bail!("the file could not be read before"),
        };
        let step = reading.await;
        self.stage = Stage::Failed;
        let Step { file, hasher, chunk } = step.context("the thread that reads is gone")??;
        self.stage = Stage::after(file, hasher, self.size);
        Ok(Some(chunk))
    }

    /// The digest of the whole file, after [`next`](Source::next) has returned `None`.
    pub(crate) fn digest(&self) -> Option<Digest> {
        match self.stage {
            Stage::Whole(digest) => Some(digest),
            _ => None,
        }
    }
}

impl Stage {
    fn after(file: Arc<File>, hasher: Hasher, size: u64) -> Stage {
        match hasher.len() < size {
            true => Stage::Reading(step(move || read(file, hasher, size))),
            false => Stage::Whole(hasher.digest()),
        }
    }
}

fn read(file: Arc<File>, mut hasher: Hasher, size: u64) -> Result<Step> {
    let len = (size - hasher.len()).min(CHUNK as u64);
    let mut chunk = Vec::with_capacity(len as usize);
    // A read can be interrupted, and `read_to_end` handles that.
    (&*file).take(len).read_to_end(&mut chunk).context("cannot read the file")?;
    if (chunk.len() as u64) < len {
        bail!("the file has become shorter while it was sent");
    }
    hasher.update(&chunk);
    Ok(Step { file, hasher, chunk: chunk.into() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::{Seek, Write};

    use super::*;

    fn file(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn the_rest_is_read_and_the_digest_is_of_the_whole() {
        let bytes: Vec<u8> = (0..CHUNK * 2 + 77).map(|n| (n % 249) as u8).collect();
        let file = file(&bytes);
        let start = Hasher::of_start(&file, 1000).unwrap();
        let mut source = Source::new(file, start, bytes.len() as u64);
        let mut got = Vec::new();
        while let Some(chunk) = source.next().await.unwrap() {
            got.extend_from_slice(&chunk);
        }
        assert!(got == bytes[1000..]);
        let mut all = Hasher::default();
        all.update(&bytes);
        assert_eq!(source.digest(), Some(all.digest()));
        assert!(source.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_shrinks_meanwhile_is_an_error() {
        let mut source = Source::new(file(b"short"), Hasher::default(), 100);
        assert!(source.next().await.unwrap_err().to_string().contains("shorter"));
        assert_eq!(source.digest(), None);
        assert!(source.next().await.is_err());
    }

    #[test]
    fn sources_that_nobody_reads_hold_no_thread() {
        // The pool has one thread. A source that held it while waiting for its peer would stop all
        // others.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let bytes = vec![1; CHUNK * 20];
            let source = || Source::new(file(&bytes), Hasher::default(), bytes.len() as u64);
            let mut sources: Vec<_> = (0..8).map(|_| source()).collect();
            let mut chunks = 0;
            while sources[7].next().await.unwrap().is_some() {
                chunks += 1;
            }
            assert_eq!(chunks, 20);
        });
    }
}
