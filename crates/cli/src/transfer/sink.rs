//! Carries bytes from the network to a file, in steps. Each step digests and writes the bytes that
//! have arrived, while the connection receives more.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use bytes::Bytes;
use cap_std::fs::Metadata;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::digest::Hasher;
use super::kind;
use super::step::step;

/// How much is written at once while bytes arrive fast. Starting a step costs about as much as
/// writing a few frames.
const BATCH: usize = 256 << 10;

/// If nothing more arrives for this long, less than a batch is written.
const QUIET: Duration = Duration::from_millis(10);

/// Takes the rest of a file, and writes it to a file, a pipe or a device.
///
/// No thread waits for the network, as in [`Source`](super::source::Source): a step writes the
/// bytes that have arrived. Dropping the sink loses the bytes that no step has begun to write,
/// which are less than one batch plus the run that arrived last.
#[derive(Debug)]
pub(crate) struct Sink {
    stage: Stage,
    /// Bytes for the next step, in runs as they arrived.
    next: Vec<Bytes>,
    len: usize,
}

#[derive(Debug)]
enum Stage {
    Resting(Box<Writer>),
    Writing(JoinHandle<Result<Box<Writer>>>),
    Failed(Error),
}

#[derive(Debug)]
struct Writer {
    file: Arc<File>,
    hasher: Hasher,
}

impl Sink {
    /// Writes behind the bytes that `hasher` has digested. The file's position must be there.
    pub(crate) fn new(file: Arc<File>, hasher: Hasher) -> Sink {
        let writer = Box::new(Writer { file, hasher });
        Sink { stage: Stage::Resting(writer), next: Vec::new(), len: 0 }
    }

    /// Takes these bytes. If a batch of others already waits, waits for the disk.
    ///
    /// # Errors
    ///
    /// If earlier bytes could not be written. [`finish`](Sink::finish) tells why.
    ///
    /// # Cancel safety
    ///
    /// All or nothing: if the future is dropped before it is ready, these bytes were not taken.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        while self.len >= BATCH {
            self.settle().await?;
        }
        self.len += bytes.len();
        self.next.push(bytes);
        self.begin(BATCH)
    }

    /// Whether all bytes that were taken are written, or no more can be written.
    pub(crate) fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Resting(_) => self.len == 0,
            Stage::Writing(_) => false,
            Stage::Failed(_) => true,
        }
    }

    /// Waits until the present step has ended, or starts one once nothing more arrives. The caller
    /// must call it while it waits for the peer, until the sink [is settled](Sink::is_settled).
    ///
    /// # Errors
    ///
    /// As [`write`](Sink::write).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        match &mut self.stage {
            Stage::Writing(step) => {
                let ended = step.await.context("the thread that writes is gone");
                self.stage = match ended.and_then(|ended| ended) {
                    Ok(writer) => Stage::Resting(writer),
                    Err(error) => Stage::Failed(error),
                };
                self.begin(BATCH)
            }
            _ => {
                sleep(QUIET).await;
                self.begin(1)
            }
        }
    }

    /// Waits until all is written to the device, and returns the digest.
    ///
    /// # Errors
    ///
    /// The reason why bytes could not be written.
    pub(crate) async fn finish(mut self) -> Result<Hasher> {
        // The stage keeps an error.
        while self.begin(1).is_ok() && !self.is_settled() && self.settle().await.is_ok() {}
        match self.stage {
            Stage::Failed(error) => Err(error),
            Stage::Resting(writer) => {
                step(move || writer.finish()).await.context("the thread is gone")?
            }
            Stage::Writing(_) => bail!("the file is still being written"),
        }
    }

    /// Starts a step if there are at least `least` bytes for it, and no step is running.
    fn begin(&mut self, least: usize) -> Result<()> {
        if self.len >= least && matches!(self.stage, Stage::Resting(_)) {
            let gone = Stage::Failed(anyhow::anyhow!("the thread that writes is gone"));
            if let Stage::Resting(writer) = std::mem::replace(&mut self.stage, gone) {
                let runs = std::mem::take(&mut self.next);
                self.len = 0;
                self.stage = Stage::Writing(step(move || writer.write(&runs)));
            }
        }
        match self.stage {
            Stage::Failed(_) => bail!("the file takes no more"),
            _ => Ok(()),
        }
    }
}

impl Writer {
    fn write(mut self: Box<Writer>, runs: &[Bytes]) -> Result<Box<Writer>> {
        for run in runs {
            let written = (&*self.file).write_all(run);
            written.with_context(|| failed(&self.file))?;
            self.hasher.update(run);
        }
        Ok(self)
    }

    fn finish(self) -> Result<Hasher> {
        let kind = Metadata::from_file(&self.file)?.file_type();
        // Pipes and terminals have no device behind them, and reject this call.
        if kind::is_stored(kind) {
            self.file.sync_all().with_context(|| failed(&self.file))?;
        }
        Ok(self.hasher)
    }
}

fn failed(file: &File) -> &'static str {
    match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        true => "cannot write the file; what has come is kept",
        false => "cannot write",
    }
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
        let start = Hasher::of_start(&file, 2).unwrap();
        let mut sink = Sink::new(Arc::new(file.try_clone().unwrap()), start);
        // Write in more than one step.
        for byte in b"xyz" {
            sink.write(Bytes::copy_from_slice(&[*byte])).await.unwrap();
            sink.settle().await.unwrap();
        }
        let hasher = sink.finish().await.unwrap();
        assert_eq!(hasher.len(), 5);
        let mut got = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut got).unwrap();
        assert_eq!(got, "abxyz");
    }

    #[tokio::test]
    async fn a_sink_of_which_nobody_wants_more_has_written_all_that_came() {
        let mut file = tempfile::tempfile().unwrap();
        let mut sink = Sink::new(Arc::new(file.try_clone().unwrap()), Hasher::default());
        let all = vec![7; BATCH * 2 + 5];
        for run in all.chunks(1000) {
            sink.write(Bytes::copy_from_slice(run)).await.unwrap();
        }
        while !sink.is_settled() {
            sink.settle().await.unwrap();
        }
        let mut got = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut got).unwrap();
        assert!(got == all);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_device_that_takes_no_more_is_said_to_be_full() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(Arc::new(full), Hasher::default());
        while sink.write(Bytes::from_static(b"x")).await.is_ok() {
            tokio::task::yield_now().await;
        }
        let error = format!("{:#}", sink.finish().await.unwrap_err());
        assert!(error.contains("cannot write") && error.contains("No space left"), "{error}");
        assert!(!error.contains("kept"), "a device keeps nothing: {error}");
    }
}
