//! The arguments of `send` and `recv`.

use std::path::PathBuf;
use std::time::Duration;

use super::tunnel::Secret;
use super::values::{duration, url};
use super::{ConnectOptions, examples};

/// Send a file to a server that runs `h2conn serve --files DIR --writable`.
///
/// After a break, the bytes that the server already has are not sent again. At the end both sides
/// compare their digests; only if they agree does the file get its name at the server. The file at
/// the server gets the permission bits of the file here, less those of the server's umask.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::SEND)]
pub(crate) struct Send {
    /// The file to send. It must be a regular file, whose size is known: use `h2conn connect` to
    /// send from a pipe, and copy a file under /proc or /sys first.
    pub(crate) file: PathBuf,
    /// Where to send the file, such as https://host:port/files/name. If the URL ends with a slash,
    /// the file's own name is added. Without a scheme the URL is https://.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// If the connection cannot be made or breaks off, continue after a pause that grows up to a
    /// minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Give up a transfer in which the server has let nothing move for this long [default: none].
    ///
    /// Only the time in which this side waits for the server counts. A server that must first digest
    /// or store bytes gets one second more for each 16 MiB. There is no default, because a server
    /// may let many transfers take turns.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Receive a file from a server that runs `h2conn serve --files DIR`.
///
/// Until the file is whole and its digest equals the server's, it is FILE.h2conn-part (for a long
/// name, the beginning of the name and a digest). After a break, the same command continues from
/// there. A new file gets the permission bits of the file at the server, less those of the umask.
/// Until it is whole, only its owner can read it.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::RECV)]
pub(crate) struct Recv {
    /// Where the file is, such as https://host:port/files/name. Without a scheme it is https://.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Where to put the file: a file or a directory [default: the URL's last part, in the current
    /// directory].
    pub(crate) file: Option<PathBuf>,
    /// Replace an existing file, or write to an existing pipe or device.
    ///
    /// A file is replaced once the new one is whole, even if it is read-only. The new file gets the
    /// permission bits of the old one and, where the system allows it, its owner and group. Other
    /// names of the old file (hard links) keep the old contents. A symbolic link is followed: the
    /// file that it points to is replaced, and the link stays.
    ///
    /// A pipe or a device gets the bytes as they arrive, before their digest is known, so the
    /// transfer cannot continue after a break. Directories and sockets are never replaced.
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// If the connection cannot be made or breaks off, continue after a pause that grows up to a
    /// minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Give up a transfer in which the server has let nothing move for this long [default: none].
    ///
    /// Only the time in which this side waits for the server counts. A server that must first digest
    /// or store bytes gets one second more for each 16 MiB. There is no default, because a server
    /// may let many transfers take turns.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}
