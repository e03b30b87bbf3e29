//! The command line as the user types it. Help, completions and man pages are made from these
//! definitions.

mod connection;
mod examples;
mod hints;
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

pub(crate) use connection::{ConnectOptions, MessageOptions, StreamOptions};
pub(crate) use hints::explained;
pub(crate) use listening::ListenOptions;
pub(crate) use transfer::{Recv, Send};
pub(crate) use tunnel::{Forward, Secret, Serve};
pub(crate) use values::{Destination, Field, Limit, ReachBy, Resolve, StatsFormat, has_scheme};
use values::{duration, message_size, url};

/// A netcat that speaks HTTP/2: full-duplex connections, each over one HTTP/2 stream.
///
/// Standard output carries only data. All messages go to standard error.
#[derive(Debug, Parser)]
#[command(name = "h2conn", version, after_help = format!("{}\n\n{}", examples::H2CONN, exit::TABLE), max_term_width = 100)]
pub(crate) struct Args {
    /// Report what happens, on standard error. -vv adds the library's log and the queries of URLs,
    /// -vvv each frame.
    // Behind the options of a command, before --help.
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 990)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Connect(Connect),
    Listen(Listen),
    Ping(Ping),
    Doctor(Doctor),
    Forward(Forward),
    Serve(Serve),
    Send(Send),
    Recv(Recv),
    Completions(Completions),
    Man(Man),
}

/// Connect standard input and output to a URL.
///
/// The end of standard input ends only this side's direction: what the server sends after that is
/// still printed. The command ends when the server has ended its direction and all of standard
/// input is sent, or when the server is gone.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::CONNECT)]
pub(crate) struct Connect {
    /// The URL to connect to, such as https://host:port/path. Without a scheme, host:port/path, it
    /// is https://. http:// is HTTP/2 without TLS. wss:// and ws:// are a WebSocket, to any server of
    /// WebSockets, with and without TLS.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// After the end of standard input, wait at most this long for the server to end its direction,
    /// then close the connection.
    ///
    /// With a WebSocket to a server of another library, the end of standard input closes the connection in both
    /// directions. With this option, it does so after this time.
    #[arg(short = 'q', long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) linger: Option<Duration>,
    /// If the connection cannot be made or breaks off, connect again after a pause that grows up to
    /// a minute.
    ///
    /// Bytes that were on their way are lost. The new connection continues with the input that was
    /// not yet sent. A failure that would only happen again, such as a certificate that is not
    /// trusted, is not retried.
    #[arg(long)]
    pub(crate) reconnect: bool,
    #[command(flatten)]
    pub(crate) stream: StreamOptions,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
    #[command(flatten)]
    pub(crate) messages: MessageOptions,
}

/// Accept connections.
///
/// Serves one connection and ends with it. With --keep-open it goes on to serve others. Without
/// --echo, --exec, --to or --doctor, the peer talks to standard input and output.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::LISTEN)]
pub(crate) struct Listen {
    #[command(flatten)]
    pub(crate) listening: ListenOptions,
    /// Send all bytes back to the peer.
    #[arg(long, group = "service")]
    pub(crate) echo: bool,
    /// Run a shell command for each connection, with the connection as its standard input and
    /// output.
    ///
    /// If the command exits with 0 the connection is closed, otherwise it is reset. The command
    /// reads the end of its input only when the peer has ended its direction. If the connection
    /// breaks, the command and its process group get SIGTERM first, and SIGKILL after 5 seconds.
    /// After the command has exited, a process that it left running can hold the connection for at
    /// most one more second.
    ///
    /// The environment of the command has H2CONN_PEER, H2CONN_METHOD and H2CONN_PATH; the peer
    /// chooses the last two. It does not have H2CONN_TOKEN, H2CONN_HEADERS and H2CONN_PROXY.
    #[arg(short = 'e', long, value_name = "COMMAND", group = "service")]
    pub(crate) exec: Option<String>,
    /// Relay each connection to a TCP server, HOST:PORT, or to a Unix domain socket, unix:PATH.
    ///
    /// A connection that breaks becomes a TCP reset (RST), and a TCP reset becomes a reset of the
    /// connection. A Unix socket has no reset: if the connection breaks, the server behind the
    /// socket reads a plain end of file.
    ///
    /// If no TCP connection to the server is made within 10 seconds, the client gets 502.
    #[arg(long, value_name = "ADDR", group = "service")]
    pub(crate) to: Option<Destination>,
    /// Answer the probes of `h2conn doctor`.
    #[arg(long, group = "service", requires = "keep_open")]
    pub(crate) doctor: bool,
    /// Keep listening after a connection has ended, and serve several connections at once.
    #[arg(long)]
    pub(crate) keep_open: bool,
    /// Connections to serve at once with --keep-open. Others are answered 503. One address may hold
    /// at most as many as are still free.
    #[arg(short, long, value_name = "N", default_value = "100", requires_all = ["keep_open", "service"])]
    pub(crate) max_conns: NonZeroUsize,
    /// After the end of standard input, wait at most this long for the peer to end its direction,
    /// then close the connection.
    #[arg(short = 'q', long, value_name = "SECONDS", value_parser = duration, conflicts_with = "service")]
    pub(crate) linger: Option<Duration>,
    /// With a client that connects by a WebSocket: send each line as a text message, and read each text message as a
    /// line.
    ///
    /// Without this option, bytes are sent as binary messages, and the bytes of all messages are read unchanged. Between
    /// two programs of h2conn the option changes nothing.
    #[arg(long, help_heading = "WebSocket")]
    pub(crate) text_lines: bool,
    /// The longest message that is taken, and the longest line that is sent. Each connection can take this much memory.
    #[arg(long, help_heading = "WebSocket", value_name = "SIZE", value_parser = message_size, default_value = "1MiB")]
    pub(crate) max_message: usize,
    #[command(flatten)]
    pub(crate) stream: StreamOptions,
}

/// Measure round trips to a server with HTTP/2 PING frames.
///
/// The command also makes a request, a GET unless -X says otherwise. The answer to that request
/// does not matter. The command sends PINGs until Ctrl-C, and exits with 0 if at least one PING was
/// answered.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::PING)]
pub(crate) struct Ping {
    /// The server to ping, such as https://host:port/. Without a scheme, host:port, it is https://.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Stop after this many PINGs.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// The time between two PINGs.
    #[arg(long, value_name = "SECONDS", value_parser = duration, default_value = "1")]
    pub(crate) interval: Duration,
    /// How long to wait for the answer to each PING.
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = duration, default_value = "10")]
    pub(crate) timeout: Duration,
    /// Print only the statistics at the end.
    #[arg(long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Examine the way to a server: does HTTP/2 pass, does a WebSocket, and which promises are kept.
///
/// The server is `h2conn listen --doctor`, behind the same proxies as yours, or your own with `h2conn::doctor`. The command connects by HTTP/2 and by a WebSocket, tries
/// out ends, resets and large messages, and prints what it finds. For each fault it names what to change, in the box that names
/// itself in its responses if there is one. The exit code is 0 if all is well by HTTP/2.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::DOCTOR)]
pub(crate) struct Doctor {
    /// The server, such as https://host:port/path/. Without a scheme, host:port, it is https://. Paths of the probes are added
    /// to it.
    #[arg(value_parser = url)]
    pub(crate) url: String,
    /// Print the findings as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also find out whether connections that are silent for 65, 105 and 310 seconds live.
    #[arg(long)]
    pub(crate) slow: bool,
    /// How long to wait for something that should take a moment.
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = duration, default_value = "5")]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) connection: ConnectOptions,
}

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell to print the script for.
    pub(crate) shell: Shell,
}

/// Print the manual page of this command, or of one of its subcommands.
#[derive(Debug, clap::Args)]
#[command(after_help = examples::MAN)]
pub(crate) struct Man {
    /// The subcommand to print the page of [default: the page of h2conn itself].
    pub(crate) subcommand: Option<String>,
    /// Write all pages into this folder instead.
    #[arg(long, value_name = "FOLDER", conflicts_with = "subcommand")]
    pub(crate) dir: Option<PathBuf>,
}
