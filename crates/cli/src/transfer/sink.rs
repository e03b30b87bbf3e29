//! From the network to a file: a thread digests and writes while the connection receives.

use std::fs::File;
use std::io::Write;

use anyhow::{Context, Result};
use bytes::Bytes;
use cap_std::fs::Metadata;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::AHEAD;
use super::digest::Hasher;
use super::kind;

/// Takes the rest of a file, for a file, or for a pipe or a device. Dropping it keeps what has come.
#[derive(Debug)]
pub(crate) struct Sink {
    chunks: mpsc::Sender<Bytes>,
    thread: JoinHandle<Result<Hasher>>,
}

impl Sink {
    /// Writes behind the bytes that `hasher` has seen; the file's position is there.
    pub(crate) fn new(file: File, hasher: Hasher) -> Sink {
        let (chunks, receiver) = mpsc::channel(AHEAD);
        Sink { chunks, thread: spawn_blocking(move || write(file, hasher, receiver)) }
    }

    /// Takes these bytes.
    ///
    /// # Errors
    ///
    /// When bytes that were taken before could not be written; [`finish`](Sink::finish) tells why.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.chunks.send(bytes).await.context("the file takes no more")
    }

    /// Waits until all is written to the device, and gives the digest.
    ///
    /// # Errors
    ///
    /// What could not be written.
    pub(crate) async fn finish(self) -> Result<Hasher> {
        drop(self.chunks);
        self.thread.await.context("the thread that writes the file is gone")?
    }
}

fn write(mut file: File, mut hasher: Hasher, mut chunks: mpsc::Receiver<Bytes>) -> Result<Hasher> {
    let kind = Metadata::from_file(&file)?.file_type();
    let failed = match kind.is_file() {
        true => "cannot write the file; what has come is kept",
        false => "cannot write",
    };
    while let Some(chunk) = chunks.blocking_recv() {
        file.write_all(&chunk).context(failed)?;
        hasher.update(&chunk);
    }
    // Pipes and terminals have no device behind them, and refuse this.
    if kind::is_stored(kind) {
        file.sync_all().context(failed)?;
    }
    Ok(hasher)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::io::{Read, Seek};

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_in_the_file_behind_what_was_there() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        let start = Hasher::of_start(&mut file, 2).unwrap();
        let mut sink = Sink::new(file.try_clone().unwrap(), start);
        sink.write(Bytes::from_static(b"xyz")).await.unwrap();
        let hasher = sink.finish().await.unwrap();
        assert_eq!(hasher.len(), 5);
        let mut got = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut got).unwrap();
        assert_eq!(got, "abxyz");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_device_that_takes_no_more_is_said_to_be_full() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(full, Hasher::default());
        while sink.write(Bytes::from_static(b"x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let error = format!("{:#}", sink.finish().await.unwrap_err());
        assert!(error.contains("cannot write") && error.contains("No space left"), "{error}");
        assert!(!error.contains("kept"), "a device keeps nothing: {error}");
    }
}
