//! `send` and `recv`.

use std::path::PathBuf;

use super::ConnectOptions;
use super::tunnel::Secret;

/// Send a file to a server that runs `h2conn serve --files DIR --writable`.
///
/// What has come there before a break is not sent again. At the end the digests of both sides are
/// compared, and only then does the file have its name there. It gets the permission bits of the file
/// here, less those of the server's umask.
#[derive(Debug, clap::Args)]
pub(crate) struct Send {
    /// The file. It must be a plain one, whose size is known: `h2conn connect` sends what comes from a
    /// pipe, and files under /proc and /sys have to be copied first.
    pub(crate) file: PathBuf,
    /// Where it goes, such as https://host:port/files/name; after a slash at the end comes its own name.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// When the connection cannot be made or breaks off, go on, after a pause that grows up to a minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Receive a file from a server that runs `h2conn serve --files DIR`.
///
/// Until it is whole, and its digest is that of the server, it is FILE.h2conn-part (of a long name, the
/// beginning and a digest); after a break the same command goes on from there. A new file gets the permission bits of the file at the server,
/// less those of the umask; until it is whole, its owner alone can read it.
#[derive(Debug, clap::Args)]
pub(crate) struct Recv {
    /// Where it is, such as https://host:port/files/name
    pub(crate) url: String,
    /// Where it goes: a file, or a directory [default: the URL's last part, here].
    pub(crate) file: Option<PathBuf>,
    /// Replace a file that is there, or write to a pipe or a device that is there.
    ///
    /// A file is replaced once the new one is whole, also if it is read-only. The new one gets its
    /// permission bits, and where the system lets it its owner and group; other names (hard links) keep the
    /// old one. A pipe or a device gets the bytes as they come, before
    /// their digest is known, and so there is no going on after a break. Links are followed: the file behind
    /// is replaced, and the link stays. Directories and sockets are never replaced.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// When the connection cannot be made or breaks off, go on, after a pause that grows up to a minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}
