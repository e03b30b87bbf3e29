//! The arguments of `forward` and `serve`.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgGroup;

use super::values::{Limit, duration, size, url};
use super::{ConnectOptions, ListenOptions, examples};
use crate::tunnel::rules::Rule;
use crate::tunnel::spec::{Bind, Forward as Way};

/// Forward TCP connections through a server that runs `h2conn serve`.
///
/// All TCP connections share one link (an HTTP/2 connection), and each direction of a TCP
/// connection ends by itself: a protocol that answers only after the end of its input works too.
/// The server refuses targets that it does not allow, and its message names the rules.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::FORWARD)]
#[command(group = ArgGroup::new("ways").required(true).multiple(true))]
pub(crate) struct Forward {
    /// The server, such as https://host:port/. Without a scheme, host:port, it is https://.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Listen on PORT here, and have the server connect to HOST:PORT. One PORT alone means the same
    /// port of localhost at the server.
    #[arg(short = 'L', long, value_name = "[[BIND:]PORT:HOST:]PORT", group = "ways")]
    pub(crate) local: Vec<Way>,
    /// Listen on PORT here, and have the server connect to the host that each connection asks for
    /// through SOCKS5. The server resolves the names.
    #[arg(short = 'D', long, value_name = "[BIND:]PORT", group = "ways")]
    pub(crate) dynamic: Vec<Bind>,
    /// Have the server listen on PORT, and connect to HOST:PORT from here. One PORT alone means the
    /// same port of localhost here.
    #[arg(short = 'R', long, value_name = "[[BIND:]PORT:HOST:]PORT", group = "ways")]
    pub(crate) remote: Vec<Way>,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// If the server cannot be reached, or no longer listens for a -R, try again after a pause that
    /// grows up to a minute.
    #[arg(long)]
    pub(crate) reconnect: bool,
    /// Reset a connection on which no bytes have moved for this long.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Visitors of one -R at once, whatever the server allows. More are refused. One address may
    /// hold at most as many as are still free.
    #[arg(long, value_name = "N", default_value = "256")]
    pub(crate) max_visitors: NonZeroUsize,
    /// Connections to the listeners of -L and -D at once, all together. More are reset. Where other
    /// machines can connect, one address may hold at most as many as are still free [default: half of
    /// the descriptors that the system allows (ulimit -Hn)].
    #[arg(long, value_name = "N")]
    pub(crate) max_conns: Option<NonZeroUsize>,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Serve tunnels and files to clients that have the token.
///
/// Clients can reach only targets that an --allow rule covers. RULE is HOST:PORTS. HOST is a name,
/// *.name for the names under it, an address, a range such as 10.0.0.0/8, or *. PORTS is a port, a
/// range such as 80-90, or *. Rules with names are compared with what the client asks for, before
/// it is resolved. Rules with addresses and ranges are compared after that, with each address of
/// the name.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::SERVE)]
#[command(group = ArgGroup::new("services").required(true).multiple(true))]
pub(crate) struct Serve {
    /// Let clients connect to these targets (forward -L and -D).
    #[arg(long, value_name = "RULE", group = "services")]
    pub(crate) allow: Vec<Rule>,
    /// Never connect to these targets, whatever --allow says.
    ///
    /// A rule with a name denies only this spelling of the host. The host can have other names, and
    /// its addresses: deny the addresses or their range to block every way to it.
    #[arg(long, value_name = "RULE", requires = "allow")]
    pub(crate) deny: Vec<Rule>,
    /// Let clients have this server listen on these addresses and ports (forward -R). A client that
    /// names no address asks for 127.0.0.1.
    #[arg(long, value_name = "RULE", value_parser = Rule::parse_for_bind, group = "services")]
    pub(crate) allow_bind: Vec<Rule>,
    /// Offer the files in this directory as /files/NAME (recv). Hidden files, links that lead out of
    /// the directory, and the files of --token-file, --identity and --key are not offered.
    #[arg(long, value_name = "DIR", group = "services")]
    pub(crate) files: Option<PathBuf>,
    /// Also accept new files into that directory (send). No existing file is ever replaced.
    #[arg(long, requires = "files")]
    pub(crate) writable: bool,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// Serve without a token: anyone who can reach the port can use the server.
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) no_token: bool,
    #[command(flatten)]
    pub(crate) listening: ListenOptions,
    /// Reset a connection on which no bytes have moved for this long; 0 or none for no limit
    /// [default: none for tunnels, 60 for files].
    ///
    /// The default for files counts only the time in which the server waits for the client. A
    /// client that must first digest what it already has gets one second more for each 16 MiB. A
    /// time that is given here applies to all connections. It also runs while an end still reads
    /// what has arrived, or waits for its disk: allow enough time for that.
    #[arg(help_heading = "Limits")]
    #[arg(short, long, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<Limit>,
    /// Files to send and receive at once [default: 1024, or a sixteenth of the descriptors that the
    /// system allows (ulimit -Hn) if that is less].
    ///
    /// One peer, an IP address or a /64 of IPv6, may hold at most as many as are still free. A peer
    /// that wants all of them gets half, and the next such peer half of the rest. Other requests
    /// are answered 503, and the client can try again.
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N", requires = "files")]
    pub(crate) max_transfers: Option<NonZeroUsize>,
    /// Bytes that the partial files (NAME.h2conn-part) of that directory may take together, such as
    /// 500MB or 10GiB; none for no limit [default: 90 % of the free space and the space that
    /// partial files take].
    ///
    /// Complete files do not count. A file for which there is no room is answered 507. A file whose
    /// room others take in the meantime fails, and the bytes that have arrived are kept. Each
    /// partial file counts as at least 4 KiB. Without this option the limit is computed at the
    /// start and each hour; on Windows there is then no limit.
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "BYTES", value_parser = size, requires = "files")]
    pub(crate) files_quota: Option<u64>,
    /// Remove partial files (NAME.h2conn-part) of that directory that nobody has written to for
    /// this long; 0 or none to keep them.
    ///
    /// The server looks for them at the start and then each hour, and only with --writable. This
    /// applies to all partial files there, also those of an interrupted `h2conn recv` on this
    /// machine.
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "TIME", default_value = "1d", requires = "files")]
    pub(crate) partial_expiry: Limit,
    /// Links (HTTP/2 connections) at once; further clients are told that the server is full
    /// [default: half of the descriptors that the system allows (ulimit -Hn), at most 10000].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_links: Option<NonZeroUsize>,
    /// Tunnels at once, those of -R with their listeners. When no more are free, clients are
    /// answered 503 and visitors are reset. One address may hold at most as many as are still free
    /// [default: three eighths of the descriptors that the system allows (ulimit -Hn)].
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N")]
    pub(crate) max_tunnels: Option<NonZeroUsize>,
    /// Visitors of one -R at once. More wait in the system's queue. One address may hold at most as
    /// many as are still free; further visitors from it are reset.
    #[arg(help_heading = "Limits")]
    #[arg(long, value_name = "N", default_value = "1024")]
    pub(crate) max_visitors: NonZeroUsize,
}

/// Where the token is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Secret {
    /// The token that `serve` and its clients share, in a file of one line [default: the variable
    /// H2CONN_TOKEN].
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}
