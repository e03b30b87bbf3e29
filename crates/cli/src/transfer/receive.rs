//! Receiving a file: the rest of it, and its digest.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::SIZE;
use super::digest::{Digest, Hasher};
use super::partial::{Partial, exists};
use super::progress::Progress;
use super::reader::Reader;
use super::sink::Sink;
use crate::dial::Caller;
use crate::report::say;

/// A file of this machine that is to be received.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    partial: Partial,
    replace: bool,
    hasher: Hasher,
}

impl Destination {
    /// Makes ready for the file `path`, and looks at what has come of it before.
    ///
    /// # Errors
    ///
    /// When there is a file already and it is not to be replaced, and what the system says.
    pub(crate) async fn open(path: PathBuf, replace: bool) -> Result<Destination> {
        spawn_blocking(move || Destination::open_now(path, replace)).await?
    }

    fn open_now(path: PathBuf, replace: bool) -> Result<Destination> {
        let name =
            path.file_name().with_context(|| format!("{} is no file's name", path.display()))?;
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let dir = Dir::open_ambient_dir(parent, ambient_authority())
            .with_context(|| format!("cannot open the directory {}", parent.display()))?;
        if !replace && exists(&dir, name) {
            bail!("{} is there already; --force replaces it", path.display());
        }
        let mut partial = Partial::open(dir, name)?;
        let hasher = partial.hash().context("cannot read what has come before")?;
        Ok(Destination { path, partial, replace, hasher })
    }

    /// What a request says of it, in the field [`RECV`](super::RECV).
    pub(crate) fn field(&self) -> String {
        format!("{} {}", self.hasher.len(), self.hasher.digest())
    }

    /// Fetches the file from `url`. The client's requests have [`field`](Destination::field).
    ///
    /// # Errors
    ///
    /// What went wrong; what has come is there for the next time, unless it is not what was sent.
    pub(crate) async fn fetch(mut self, client: &Caller, url: &str) -> Result<()> {
        let (conn, response) = client.connect(url).await?;
        // All was said in the request. An end that came behind the file would come too late if the
        // disk is slow: the server waits for it for a second, and then resets what is whole here.
        (&conn).shutdown().await?;
        let size: Option<u64> =
            response.headers().get(SIZE).and_then(|size| size.to_str().ok()?.parse().ok());
        let size = size.with_context(|| {
            format!("{url} is not served by `h2conn serve --files`: the response has no {SIZE}")
        })?;
        let mut reader = Reader::new(&conn);
        let from: u64 =
            reader.expect("from").await?.parse().context("the server says from where")?;
        if from != self.hasher.len() {
            if from != 0 {
                bail!("the server begins at {from}, and {} are there", self.hasher.len());
            }
            say(format_args!("what is there is not the file's beginning: all of it is fetched"));
            self.partial.clear()?;
            self.hasher = Hasher::default();
        }
        let left = size.checked_sub(from);
        left.with_context(|| format!("the server begins at {from} of {size} bytes"))?;
        let progress = Progress::new(size, from);
        let received = body(&mut reader, &self.partial, self.hasher, size, &progress).await?;
        let Some(digest) = received else {
            self.partial.discard()?;
            bail!(
                "what has come is not what was sent: the digests differ; it was removed, try again"
            );
        };
        let replace = self.replace;
        let partial = self.partial;
        spawn_blocking(move || partial.finish(replace)).await??;
        // However the connection ends, the file is there.
        let _ = conn.close().await;
        say(format_args!("received {}: {}", self.path.display(), progress.summary(digest)));
        Ok(())
    }
}

/// The name that a file has when only its URL is given.
pub(crate) fn name_of(url: &str) -> Result<PathBuf> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let last = path.rsplit('/').next().unwrap_or(path);
    let name = super::name::parse(last)
        .with_context(|| format!("{url} ends with no name for the file; give one"))?;
    Ok(name)
}

/// Receives what is missing of a file of `size` bytes, to the end of what the peer has to say.
/// `None` when its digest is not that which the peer names.
pub(crate) async fn body(
    reader: &mut Reader<'_>,
    partial: &Partial,
    hasher: Hasher,
    size: u64,
    progress: &Progress,
) -> Result<Option<Digest>> {
    let mut left = size - hasher.len();
    let mut sink = Sink::new(partial.handle()?, hasher);
    let received = async {
        while left > 0 {
            let bytes = reader.bytes(left).await?;
            left -= bytes.len() as u64;
            progress.add(bytes.len());
            sink.write(bytes).await?;
        }
        let digest: Digest = reader.expect("sha256").await?.parse()?;
        reader.end().await?;
        anyhow::Ok(digest)
    };
    let received = received.await;
    // Also after an error: what has come is kept. What the disk says tells more than that no more
    // was taken.
    let hasher = sink.finish().await?;
    let claimed = received?;
    Ok((hasher.digest() == claimed).then_some(claimed))
}

/// Where a file goes that is to be received: into a directory under its own name, or to a path.
pub(crate) fn place(given: Option<PathBuf>, url: &str) -> Result<PathBuf> {
    match given {
        None => name_of(url),
        Some(path) if path.is_dir() => Ok(path.join(name_of(url)?)),
        Some(path) if path.as_os_str() == OsStr::new("") => bail!("the file's name is empty"),
        Some(path) => Ok(path),
    }
}
