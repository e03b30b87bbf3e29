//! `forward` and `serve`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use super::values::duration;
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
    /// Visitors of one -R at once, whatever the server says; more are refused.
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
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Serve without a token: whoever reaches the port can use it.
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) no_token: bool,
    /// Reset a connection on which nothing has moved for so long.
    ///
    /// This is for files too, and nothing moves while an end reads what has come before, or waits for its
    /// disk: leave time for that.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// HTTP/2 links at once; clients over this are told so [default: the library's].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_links: Option<NonZeroUsize>,
    /// Tunnels at once, those of -R with their listeners; over this, clients are answered 503, and visitors are
    /// reset [default: half of the descriptors that the system allows (ulimit -Hn)].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_tunnels: Option<NonZeroUsize>,
    /// Visitors of one -R at once; more wait in the system's queue.
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
