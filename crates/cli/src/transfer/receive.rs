//! Receives a file: the rest of it, and its digest.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tokio::task::spawn_blocking;

use super::SIZE;
use super::access::Mode;
use super::digest::{Digest, Hasher};
use super::partial::Partial;
use super::patience::Patience;
use super::place::{Place, open_through};
use super::progress::Progress;
use super::reader::Reader;
use super::sink::Sink;
use crate::dial::Caller;
use crate::report::say;

/// A file on this machine that is received.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    to: To,
    replace: bool,
    hasher: Hasher,
}

#[derive(Debug)]
enum To {
    File(Partial),
    /// Opened only when its bytes arrive: the reader of a pipe would take an earlier end for the
    /// file's.
    Through,
}

/// Bytes may have been written to a pipe or a device, where they cannot be taken back. There is no
/// other attempt.
#[derive(Debug)]
pub(crate) struct Spent(PathBuf);

impl Destination {
    /// Prepares the file at `path`, and reads any part of it that has arrived before.
    ///
    /// # Errors
    ///
    /// If there is a file already and `replace` is not set, and errors of the system.
    pub(crate) async fn open(path: PathBuf, replace: bool) -> Result<Destination> {
        spawn_blocking(move || Destination::open_now(path, replace)).await?
    }

    fn open_now(path: PathBuf, replace: bool) -> Result<Destination> {
        let (to, hasher) = match Place::find(&path, replace)? {
            Place::File(dir, name, replaced) => {
                let partial = Partial::open(dir, &name, replaced)?;
                let hasher = partial.hash().context("cannot read what has come before")?;
                (To::File(partial), hasher)
            }
            Place::Through => (To::Through, Hasher::default()),
        };
        Ok(Destination { path, to, replace, hasher })
    }

    /// The value of the request's field [`RECV`](super::RECV).
    pub(crate) fn field(&self) -> String {
        format!("{} {}", self.hasher.len(), self.hasher.digest())
    }

    /// Fetches the file from `url`. The client's requests have [`field`](Destination::field).
    /// `patience` limits each wait for the server.
    ///
    /// # Errors
    ///
    /// The failure of either side. The bytes that have arrived are kept for the next attempt,
    /// unless they differ from the sender's. [`Spent`] if there can be no next attempt.
    pub(crate) async fn fetch(
        mut self,
        client: &Caller,
        url: &str,
        patience: Patience,
    ) -> Result<()> {
        // The head contains everything. With a slow disk, an end behind the file would come too late:
        // the server waits for it for one second, and then resets a file that is whole here.
        let (conn, response) = client.ask(url).await?;
        let size: Option<u64> =
            response.headers().get(SIZE).and_then(|size| size.to_str().ok()?.parse().ok());
        let size = size.with_context(|| {
            format!("{url} is not served by `h2conn serve --files`: the response has no {SIZE}")
        })?;
        let mode = Mode::said(response.headers())?;
        let mut reader = Reader::new(&conn);
        // The server digests as many bytes as this side has.
        reader.set_patience(patience.to_digest(self.hasher.len()));
        let from: u64 =
            reader.expect("from").await?.parse().context("the server says from where")?;
        reader.set_patience(patience);
        let is_other = from != self.hasher.len();
        if is_other && from != 0 {
            bail!("the server begins at {from}, and {} are there", self.hasher.len());
        }
        let left = size.checked_sub(from);
        let left = left.with_context(|| format!("the server begins at {from} of {size} bytes"))?;
        if let To::File(partial) = &self.to {
            // Measured before the file is cleared: some file systems free its space only later.
            let cleared = if is_other { partial.len()? } else { 0 };
            let free = partial.free(&self.path).map(|free| free.saturating_add(cleared));
            has_room(free, left, &self.path)?;
        }
        if is_other {
            say(format_args!("what is there is not the file's beginning: all of it is fetched"));
            self.hasher = Hasher::default();
            if let To::File(partial) = &self.to {
                partial.clear()?;
            }
        }
        let progress = Progress::new(size, from);
        let path = self.path;
        let digest = match self.to {
            To::File(partial) => {
                let file = partial.handle();
                let received = body(&mut reader, file, self.hasher, size, &progress, |_| Ok(()));
                let Some(digest) = received.await? else {
                    partial.discard()?;
                    bail!(
                        "what has come is not what was sent: the digests differ; it was removed, \
                         try again"
                    );
                };
                let replace = self.replace;
                spawn_blocking(move || partial.finish(replace, mode)).await??;
                digest
            }
            To::Through => through(&mut reader, &path, size, &progress)
                .await
                .with_context(|| Spent(path.clone()))?,
        };
        // The file is here, however the connection ends.
        let _ = conn.close().await;
        say(format_args!("received {}: {}", path.display(), progress.summary(digest)));
        Ok(())
    }
}

/// Fails if a file that misses so many bytes has no room on its disk.
fn has_room(free: Option<u64>, left: u64, path: &Path) -> Result<()> {
    match free {
        Some(free) if left > free => {
            let path = path.display();
            bail!(
                "there is no room for {path}: {left} bytes are missing, and its disk has room for {free}"
            )
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} may have got a part of the file, which cannot be taken back",
            self.0.display()
        )
    }
}

/// Receives a file of `size` bytes to the pipe or the device at `path`.
async fn through(
    reader: &mut Reader<'_>,
    path: &Path,
    size: u64,
    progress: &Progress,
) -> Result<Digest> {
    let to = path.to_owned();
    let file = spawn_blocking(move || open_through(&to)).await??;
    let file = Arc::new(file);
    let digest = body(reader, file, Hasher::default(), size, progress, |_| Ok(())).await?;
    digest.context("what has come is not what was sent: the digests differ")
}

/// Receives the missing bytes of a file of `size` bytes, and the peer's end. Returns `None` if its
/// digest differs from the one that the peer names. The bytes go to `file`, whose position is
/// behind those that `hasher` has digested. `admit` checks whether there is room for more bytes.
pub(crate) async fn body(
    reader: &mut Reader<'_>,
    file: Arc<File>,
    hasher: Hasher,
    size: u64,
    progress: &Progress,
    admit: impl Fn(u64) -> Result<()>,
) -> Result<Option<Digest>> {
    let mut left = size - hasher.len();
    let mut sink = Sink::new(file, hasher);
    let received = async {
        while left > 0 {
            let bytes = until_settled(&mut sink, pin!(reader.bytes(left))).await??;
            admit(bytes.len() as u64)?;
            left -= bytes.len() as u64;
            progress.add(bytes.len());
            sink.write(bytes).await?;
        }
        let digest = {
            let line = pin!(reader.expect("sha256"));
            until_settled(&mut sink, line).await??
        };
        let digest: Digest = digest.parse()?;
        reader.end().await?;
        anyhow::Ok(digest)
    };
    let received = received.await;
    // Finish the sink after an error, too, because the bytes that have arrived are kept. The disk's
    // error says more than the error of a write that was refused.
    let hasher = sink.finish().await?;
    let claimed = received?;
    Ok((hasher.digest() == claimed).then_some(claimed))
}

/// Waits for the peer, and for the disk at the same time. Otherwise a peer that sends no more would
/// keep its earlier bytes from the disk.
async fn until_settled<T>(
    sink: &mut Sink,
    mut peer: Pin<&mut impl Future<Output = T>>,
) -> Result<T> {
    loop {
        tokio::select! {
            biased;
            said = &mut peer => return Ok(said),
            settled = sink.settle(), if !sink.is_settled() => settled?,
        }
    }
}
