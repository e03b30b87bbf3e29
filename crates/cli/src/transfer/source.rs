//! From a file to the network: a thread reads and digests while the connection sends.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::digest::{Digest, Hasher};
use super::{AHEAD, CHUNK};

/// The rest of a file, chunk by chunk, and the digest of the whole. Dropping it ends its thread.
#[derive(Debug)]
pub(crate) struct Source {
    chunks: mpsc::Receiver<Bytes>,
    thread: JoinHandle<Result<Digest>>,
}

impl Source {
    /// Of a file of `size` bytes, what comes behind those that `hasher` has seen; the file's position is
    /// there.
    pub(crate) fn new(file: File, hasher: Hasher, size: u64) -> Source {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let thread = spawn_blocking(move || read(file, hasher, size, &sender));
        Source { chunks, thread }
    }

    /// `None` when all was read, or nothing more can be; [`digest`](Source::digest) tells.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.chunks.recv().await
    }

    /// The digest of the whole file, when [`next`](Source::next) has given `None`.
    ///
    /// # Errors
    ///
    /// What was the matter with the file.
    pub(crate) async fn digest(self) -> Result<Digest> {
        self.thread.await.context("the thread that reads the file is gone")?
    }
}

fn read(
    mut file: File,
    mut hasher: Hasher,
    size: u64,
    chunks: &mpsc::Sender<Bytes>,
) -> Result<Digest> {
    while hasher.len() < size {
        let len = (size - hasher.len()).min(CHUNK as u64);
        let mut chunk = Vec::with_capacity(CHUNK);
        // A file in a terminal's hands can be interrupted, which `read_to_end` takes care of.
        file.by_ref().take(len).read_to_end(&mut chunk).context("cannot read the file")?;
        if (chunk.len() as u64) < len {
            bail!("the file has become shorter while it was sent");
        }
        hasher.update(&chunk);
        if chunks.blocking_send(chunk.into()).is_err() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        }
    }
    Ok(hasher.digest())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::{Seek, Write};

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        file
    }

    #[tokio::test]
    async fn the_rest_is_read_and_the_digest_is_of_the_whole() {
        let bytes: Vec<u8> = (0..CHUNK * 2 + 77).map(|n| (n % 249) as u8).collect();
        let mut file = file(&bytes);
        let start = Hasher::of_start(&mut file, 1000).unwrap();
        let mut source = Source::new(file, start, bytes.len() as u64);
        let mut got = Vec::new();
        while let Some(chunk) = source.next().await {
            got.extend_from_slice(&chunk);
        }
        assert!(got == bytes[1000..]);
        let mut all = Hasher::default();
        all.update(&bytes);
        assert_eq!(source.digest().await.unwrap(), all.digest());
    }

    #[tokio::test]
    async fn a_file_that_shrinks_meanwhile_is_an_error() {
        let mut source = Source::new(file(b"short"), Hasher::default(), 100);
        assert!(source.next().await.is_none());
        assert!(source.digest().await.unwrap_err().to_string().contains("shorter"));
    }
}
