//! `forward` and `serve`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use super::values::{Limit, duration, size};
use super::{ConnectOptions, ListenOptions};
use crate::tunnel::rules::Rule;
use crate::tunnel::spec::{Bind, Forward as Way};

/// Forward TCP connections through a server that runs `h2conn serve`.
///
/// Each is one connection of a link that all share, with the ends of both its directions: what
/// answers only after the end of its input works through it. What the server does not allow is
/// refused, and the message names the rule.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("ways").required(true).multiple(true))]
pub(crate) struct Forward {
    /// The server, such as https://host:port/
    pub(crate) url: String,
    /// Listen on PORT here, and have the server connect to HOST:PORT.
    #[arg(short = 'L', long, value_name = "[BIND:]PORT:HOST:PORT", group = "ways")]
    pub(crate) local: Vec<Way>,
    /// Listen on PORT here, and have the server connect to where each connection asks for by SOCKS5.
    /// Names are resolved by the server.
    #[arg(short = 'D', long, value_name = "[BIND:]PORT", group = "ways")]
    pub(crate) dynamic: Vec<Bind>,
    /// Have the server listen on PORT, and connect to HOST:PORT from here.
    #[arg(short = 'R', long, value_name = "[BIND:]PORT:HOST:PORT", group = "ways")]
    pub(crate) remote: Vec<Way>,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// When the server cannot be reached, or does not listen for a -R any more, try again, after a pause
    /// that grows up to a minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Reset a connection on which nothing has moved for so long.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Visitors of one -R at once, whatever the server says; more are refused, as are those of one address that
    /// has as many as are free.
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) max_visitors: NonZeroUsize,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Serve tunnels and files to those who have the token.
///
/// Nothing can be reached that no --allow rule covers. RULE is HOST:PORTS: a name, *.name for those
/// under it, an address, a range such as 10.0.0.0/8, or *; and a port, a range such as 80-90, or *.
/// Names are compared with what the client asks for, before it is resolved; addresses and ranges after
/// that, with each address of a name.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("services").required(true).multiple(true))]
pub(crate) struct Serve {
    /// Let clients connect to this (forward -L and -D).
    #[arg(long, value_name = "RULE", group = "services")]
    pub(crate) allow: Vec<Rule>,
    /// Never connect to this, whatever --allow says.
    ///
    /// A name stops only who asks for it in this spelling. Its host has others, and its addresses: deny
    /// those, or their range, to stop all ways to it.
    #[arg(long, value_name = "RULE", requires = "allow")]
    pub(crate) deny: Vec<Rule>,
    /// Let clients have this server listen on these addresses and ports (forward -R); clients that name
    /// no address ask for 127.0.0.1.
    #[arg(long, value_name = "RULE", value_parser = Rule::parse_for_bind, group = "services")]
    pub(crate) allow_bind: Vec<Rule>,
    /// Give out the files in this directory (recv), as /files/NAME. Hidden ones and links that lead out
    /// of it are not.
    #[arg(long, value_name = "DIR", group = "services")]
    pub(crate) files: Option<PathBuf>,
    /// Take new files into that directory, too (send). None is ever replaced.
    #[arg(long, requires = "files")]
    pub(crate) writable: bool,
    /// How many files are sent and received at once [default: 1024, or a sixteenth of the descriptors that
    /// the system allows (ulimit -Hn) if that is less].
    ///
    /// One peer, an IP address or a /64 of IPv6, has at most as many as are free: one that wants all gets half
    /// of them, the next one half of what is left. Others are answered 503, and can try again.
    #[arg(long, value_name = "N", requires = "files")]
    pub(crate) max_transfers: Option<NonZeroUsize>,
    /// How many bytes partial files (NAME.h2conn-part) of that directory may take together, such as 500MB or 10GiB;
    /// none for no limit [default: 90 % of what is free and of what they take].
    ///
    /// Files that are whole do not count. A file for which there is no room is answered 507, and one whose room is
    /// taken by others meanwhile fails; what has come is kept. Each takes at least 4 KiB. Without this option
    /// the limit is computed at the start and each hour, and there is none on Windows.
    #[arg(long, value_name = "BYTES", value_parser = size, requires = "files")]
    pub(crate) files_quota: Option<u64>,
    /// Remove partial files (NAME.h2conn-part) of that directory to which nobody has written for so long; 0 or none
    /// to keep them.
    ///
    /// They are looked for at the start, and then each hour. This is only with --writable, and for all partial files
    /// there, also those of an `h2conn recv` of this machine that was broken off.
    #[arg(long, value_name = "TIME", default_value = "1d", requires = "files")]
    pub(crate) partial_expiry: Limit,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Serve without a token: whoever reaches the port can use it.
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) no_token: bool,
    /// Reset a connection on which nothing has moved for so long; 0 or none for no limit [default: none for
    /// tunnels, and 60 for files].
    ///
    /// The default for files counts only while the client is waited for. A client that must first digest what
    /// has come before has a second more for each 16 MiB. A time that is given here is for all connections, and
    /// runs also while an end reads what has come before, or waits for its disk: leave time for that.
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<Limit>,
    /// HTTP/2 links at once; clients over this are told so [default: half of the descriptors that the system allows (ulimit -Hn), at most 10000].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_links: Option<NonZeroUsize>,
    /// Tunnels at once, those of -R with their listeners; over this, clients are answered 503, and visitors are
    /// reset. One address has at most as many as are free [default: three eighths of the descriptors that the system allows (ulimit -Hn)].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_tunnels: Option<NonZeroUsize>,
    /// Visitors of one -R at once; more wait in the system's queue. One address has at most as many as are free:
    /// more of it are reset.
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N", default_value = "1024")]
    pub(crate) max_visitors: NonZeroUsize,
    #[command(flatten)]
    pub(crate) listening: ListenOptions,
}

/// Where the token is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Secret {
    /// The token that `serve` and its clients share, in a file of one line [default: the variable
    /// H2CONN_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}
