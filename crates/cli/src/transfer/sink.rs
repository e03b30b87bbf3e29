//! From the network to a file, in steps: each digests and writes what has come while the connection
//! receives more.

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

/// How much is written at once while it comes fast. To begin a step costs about as much as to write a few
/// frames.
const BATCH: usize = 256 << 10;

/// Less than a batch is written once nothing more has come for so long.
const QUIET: Duration = Duration::from_millis(10);

/// Takes the rest of a file, for a file, or for a pipe or a device.
///
/// No thread waits for the network, as in [`Source`](super::source::Source): a step writes what has come.
/// Dropping it loses what no step has begun to write, which is less than one batch and what came with
/// the last bytes.
#[derive(Debug)]
pub(crate) struct Sink {
    stage: Stage,
    /// Bytes for the next step, in runs as they came.
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
    /// Writes behind the bytes that `hasher` has seen; the file's position is there.
    pub(crate) fn new(file: Arc<File>, hasher: Hasher) -> Sink {
        let writer = Box::new(Writer { file, hasher });
        Sink { stage: Stage::Resting(writer), next: Vec::new(), len: 0 }
    }

    /// Takes these bytes, and waits for the disk if there is a batch of others already.
    ///
    /// # Errors
    ///
    /// When bytes that were taken before could not be written; [`finish`](Sink::finish) tells why.
    ///
    /// # Cancel safety
    ///
    /// All or nothing: when the future is dropped before it is ready, these bytes were not taken.
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<()> {
        while self.len >= BATCH {
            self.settle().await?;
        }
        self.len += bytes.len();
        self.next.push(bytes);
        self.begin(BATCH)
    }

    /// Whether all that was taken is written, or nothing more can be.
    pub(crate) fn is_settled(&self) -> bool {
        match self.stage {
            Stage::Resting(_) => self.len == 0,
            Stage::Writing(_) => false,
            Stage::Failed(_) => true,
        }
    }

    /// Waits until the step that writes has ended, or begins one once nothing more comes. It must be called
    /// while the peer is waited for, until all [is settled](Sink::is_settled).
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

    /// Waits until all is written to the device, and gives the digest.
    ///
    /// # Errors
    ///
    /// The reason why something could not be written.
    pub(crate) async fn finish(mut self) -> Result<Hasher> {
        // An error is in the stage.
        while self.begin(1).is_ok() && !self.is_settled() && self.settle().await.is_ok() {}
        match self.stage {
            Stage::Failed(error) => Err(error),
            Stage::Resting(writer) => {
                step(move || writer.finish()).await.context("the thread is gone")?
            }
            Stage::Writing(_) => bail!("the file is still being written"),
        }
    }

    /// Begins a step if there are so many bytes for it, and none is under way.
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
        // Pipes and terminals have no device behind them, and refuse this.
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
        // In more steps than one.
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
