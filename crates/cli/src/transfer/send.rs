//! Sends a file: the bytes that the other side does not have, and the digest.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use cap_std::ambient_authority;
use h2conn::{Conn, Reason};
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use super::access::Mode;
use super::digest::{Digest, Hasher};
use super::given::Given;
use super::patience::Patience;
use super::progress::Progress;
use super::reader::Reader;
use super::source::Source;
use super::{MODE, SEND, kind, name};
use crate::dial::Caller;
use crate::exit::of_library;
use crate::report::say;

/// A file on this machine that is sent.
#[derive(Debug)]
pub(crate) struct Origin {
    path: PathBuf,
    size: u64,
    mode: Option<Mode>,
}

impl Origin {
    /// Checks the file at `path`.
    ///
    /// # Errors
    ///
    /// If it cannot be read, is not a regular file, or has another size than the system says.
    pub(crate) fn open(path: PathBuf) -> Result<Origin> {
        let Given { size, mode, .. } = open(&path)?;
        Ok(Origin { path, size, mode })
    }

    /// The fields of a request with which the server learns about the file: [`SEND`], and [`MODE`]
    /// where the system has modes.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let mode = self.mode.map(|mode| (MODE, mode.to_string()));
        [(SEND, self.size.to_string())].into_iter().chain(mode)
    }

    /// The URL of the file: the one that is given, with the file's name if it ends with a slash.
    pub(crate) fn url(&self, given: &str) -> Result<String> {
        if !given.ends_with('/') {
            return Ok(given.to_owned());
        }
        let name = self.path.file_name().and_then(|name| name.to_str());
        let name = name.with_context(|| {
            format!(
                "the name of {} is no text; give one at the end of the URL",
                self.path.display()
            )
        })?;
        Ok(format!("{given}{}", name::to_segment(name)))
    }

    /// Sends the file to `url`. The client's requests have [`fields`](Origin::fields). `patience`
    /// limits each wait for the server.
    ///
    /// # Errors
    ///
    /// The failure of either side.
    pub(crate) async fn submit(
        &self,
        client: &Caller,
        url: &str,
        patience: Patience,
    ) -> Result<()> {
        // Open the file for each attempt: a step of an earlier attempt may still read from its own
        // handle.
        let Given { file, .. } = open(&self.path)?;
        let (conn, _) = client.connect(url).await?;
        let mut reader = Reader::new(&conn);
        // The server digests what it has, and stores the rest at the end.
        let to_digest = patience.to_digest(self.size);
        reader.set_patience(to_digest);
        let there = reader.expect("have").await?;
        // While this side sends, it waits for its own disk too.
        reader.set_patience(Patience::default());
        let (len, digest) = parse_have(&there)?;
        let (file, hasher) = start(file, len.min(self.size), len, digest).await?;
        let from = hasher.len();
        if from != len {
            say(format_args!("what is there is not the file's beginning: all of it is sent"));
        }
        patience.wait(&conn, write_line(&conn, format!("from {from}"))).await?;
        let progress = Progress::new(self.size, from);
        let source = Source::new(Arc::new(file), hasher, self.size);
        let sending = async {
            let digest = body(&conn, source, &progress, patience).await?;
            patience.wait(&conn, (&conn).shutdown()).await?;
            anyhow::Ok(digest)
        };
        tokio::pin!(sending);
        // The server may say at any time why it takes no more.
        let (sent, answer) = tokio::select! {
            biased;
            answer = reader.expect("stored") => (None, answer),
            sent = &mut sending => match sent {
                // The error is the file's. The server waits for the rest of the file, and sends
                // nothing.
                Err(error) if of_library(&error).is_none() => {
                    conn.reset(Reason::CANCEL);
                    return Err(error);
                }
                sent => {
                    reader.set_patience(to_digest);
                    (Some(sent), reader.expect("stored").await)
                }
            },
        };
        let (sent, stored): (Result<Digest>, String) = match (sent, answer) {
            (Some(sent), Ok(stored)) => (sent, stored),
            // The server has everything but this side's end.
            (None, Ok(stored)) => (sending.await, stored),
            // The server's answer says more than the error of a write that was refused.
            (Some(Err(error)), Err(answer)) if of_library(&answer).is_some() => {
                return Err(error);
            }
            (_, Err(answer)) => return Err(answer),
        };
        let digest = sent?;
        if stored.parse::<Digest>()? != digest {
            bail!(
                "the server has stored something else: its digest is {stored}, and here {digest}"
            );
        }
        // The server has the file, however the connection ends.
        let _ = conn.close().await;
        say(format_args!("sent {}: {}", self.path.display(), progress.summary(digest)));
        Ok(())
    }
}

/// Opens the file at `path`.
fn open(path: &Path) -> Result<Given> {
    let opened = || {
        // Check this before opening: to open some devices has effects.
        match kind::behind(path)?.file_type() {
            kind if kind.is_file() => {}
            kind if kind.is_dir() => bail!(
                "it is a directory, and no plain file; send an archive of it, or each of its files"
            ),
            kind => bail!(
                "it is {}, and no plain file; `h2conn connect` sends what comes from a pipe",
                kind::name(kind)
            ),
        }
        let file =
            cap_std::fs::File::open_ambient_with(path, &Given::options(), ambient_authority())?;
        Given::of(file.into_std())
    };
    opened().with_context(|| format!("cannot send {}", path.display()))
}

/// Parses how many bytes a peer has, and their digest.
pub(crate) fn parse_have(text: &str) -> Result<(u64, Digest)> {
    let have = text
        .split_once(' ')
        .and_then(|(len, digest)| Some((len.parse().ok()?, digest.parse().ok()?)));
    have.with_context(|| {
        format!("{text:?} says nothing of a file; expected a length and a SHA-256")
    })
}

/// The file at the position from which the peer needs it: the peer has `len` bytes with this
/// digest. If those are not the file's bytes, the position is the beginning.
async fn start(file: File, size: u64, len: u64, digest: Digest) -> Result<(File, Hasher)> {
    spawn_blocking(move || {
        let hasher = Hasher::of_start(&file, size.min(len)).context("cannot read the file")?;
        if hasher.len() == len && hasher.digest() == digest {
            return Ok((file, hasher));
        }
        let hasher = Hasher::of_start(&file, 0).context("cannot read the file")?;
        Ok((file, hasher))
    })
    .await?
}

/// Sends the bytes of `source`, and the digest of the whole file.
pub(crate) async fn body(
    conn: &Conn,
    mut source: Source,
    progress: &Progress,
    patience: Patience,
) -> Result<Digest> {
    while let Some(chunk) = source.next().await? {
        let len = chunk.len();
        patience.wait(conn, conn.write_chunk(chunk)).await?;
        progress.add(len);
    }
    let digest = source.digest().context("the file was not read to its end")?;
    patience.wait(conn, write_line(conn, format!("sha256 {digest}"))).await?;
    Ok(digest)
}

pub(crate) async fn write_line(mut conn: &Conn, line: String) -> Result<()> {
    Ok(conn.write_all((line + "\n").as_bytes()).await?)
}
