//! What is typed. Help, completions and man pages are made from these definitions.

mod connection;
mod listening;
mod transfer;
mod tunnel;
mod values;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit;

pub(crate) use connection::{ConnectOptions, StreamOptions};
pub(crate) use listening::ListenOptions;
pub(crate) use transfer::{Recv, Send};
pub(crate) use tunnel::{Forward, Secret, Serve};
use values::duration;
pub(crate) use values::{Destination, Field, Limit, Resolve, StatsFormat};

/// A netcat that speaks HTTP/2: full-duplex connections, each over one HTTP/2 stream.
///
/// Standard output carries data and nothing else; all else goes to standard error.
#[derive(Debug, Parser)]
#[command(name = "h2conn", version, after_help = exit::TABLE, max_term_width = 100)]
pub(crate) struct Args {
    /// Say what happens, on standard error; twice also what the library logs and the queries of URLs,
    /// three times each frame.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Connect(Connect),
    Listen(Listen),
    Ping(Ping),
    Forward(Forward),
    Serve(Serve),
    Send(Send),
    Recv(Recv),
    Completions(Completions),
    Man(Man),
}

/// Connect standard input and output to a URL.
///
/// The end of standard input ends this side's direction only: what the server still has to say is
/// printed. The command ends when the server has ended its direction and standard input is sent,
/// or when the server is gone.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// Where to connect to, such as https://host:port/path; http:// is HTTP/2 without TLS.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
    /// After the end of standard input, wait only so long for the server's end, and then close.
    #[arg(help_heading = "Stream")]
    #[arg(short = 'q', long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) linger: Option<Duration>,
    /// When the connection cannot be made or breaks off, make it again, after a pause that grows up
    /// to a minute.
    ///
    /// What was on its way is lost; standard input goes on with what was not yet sent. Nothing is
    /// tried again that would fail again, such as a certificate that is not trusted.
    #[arg(help_heading = "Stream")]
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) stream: StreamOptions,
}

/// Accept connections.
///
/// Serves one connection and ends with it; -k serves on. Without --echo, --exec or --to, it is
/// standard input and output that the peer talks to.
#[derive(Debug, clap::Args)]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) listening: ListenOptions,
    /// Send everything back.
    #[arg(help_heading = "Service")]
    #[arg(long, group = "service")]
    pub(crate) echo: bool,
    /// Run a command for each connection, by the shell, with the connection as its standard input
    /// and output.
    ///
    /// When the command exits with 0 the connection is closed, and otherwise reset. The command reads
    /// the end of its input when the peer has ended its side, and never because the connection broke:
    /// then the command is ended first, with its process group, by SIGTERM, and after 5 seconds by
    /// SIGKILL. When it has exited, a process that it leaves running holds the connection for one more
    /// second at most. Its environment has H2CONN_PEER, H2CONN_METHOD and H2CONN_PATH, the last two as the
    /// peer has chosen them, and neither H2CONN_TOKEN, H2CONN_HEADERS nor H2CONN_PROXY.
    #[arg(help_heading = "Service")]
    #[arg(short = 'e', long, value_name = "COMMAND", group = "service")]
    pub(crate) exec: Option<String>,
    /// Hand each connection to a TCP server, HOST:PORT, or to a socket, unix:PATH.
    ///
    /// A connection that breaks becomes a reset (RST) of TCP, and the other way round. A Unix socket
    /// has no reset: the server behind it reads a plain end of a connection that broke.
    #[arg(help_heading = "Service")]
    #[arg(long, value_name = "ADDR", group = "service")]
    pub(crate) to: Option<Destination>,
    /// Keep listening when a connection has ended, and serve several at once.
    #[arg(help_heading = "Service")]
    #[arg(short = 'k', long)]
    pub(crate) keep_open: bool,
    /// How many connections are served at once with -k, of which one address has at most as many as are free;
    /// others are answered 503.
    #[arg(help_heading = "Service")]
    #[arg(short, long, value_name = "N", default_value = "100", requires_all = ["keep_open", "service"])]
    pub(crate) max_conns: NonZeroUsize,
    /// After the end of standard input, wait only so long for the peer's end, and then close.
    #[arg(help_heading = "Service")]
    #[arg(short = 'q', long, value_name = "SECONDS", value_parser = duration, conflicts_with = "service")]
    pub(crate) linger: Option<Duration>,
    #[command(flatten)]
    pub(crate) stream: StreamOptions,
}

/// Measure round trips to a server, by PING frames of HTTP/2.
///
/// It makes a request too, a GET unless -X says otherwise, whose answer does not matter, and pings
/// until Ctrl-C. Ends with 0 if there was an answer to any PING.
#[derive(Debug, clap::Args)]
pub(crate) struct Ping {
    /// The server, such as https://host:port/.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
    /// End after so many.
    #[arg(help_heading = "Pings")]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The time between two.
    #[arg(help_heading = "Pings")]
    #[arg(short, long, value_name = "SECONDS", value_parser = duration, default_value = "1")]
    pub(crate) interval: Duration,
    /// How long to wait for each answer.
    #[arg(help_heading = "Pings")]
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = duration, default_value = "10")]
    pub(crate) timeout: Duration,
    /// Print the statistics at the end only.
    #[arg(help_heading = "Pings")]
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Print a script that completes this command's lines in a shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    pub(crate) shell: Shell,
}

/// Print the manual page of this command, or of one of its subcommands.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Whose page; that of h2conn itself by default.
    pub(crate) subcommand: Option<String>,
    /// Write all pages into this folder instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "subcommand")]
    pub(crate) dir: Option<PathBuf>,
}
