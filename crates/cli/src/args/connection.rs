//! The options of every command that connects.

use std::path::PathBuf;
use std::time::Duration;

use h2conn::http::Method;

use super::values::{Field, ReachBy, Resolve, StatsFormat, duration, message_size};

/// How a connection is made. The options have the names that curl gives them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct ConnectOptions {
    /// Accept any certificate. Anyone on the network path can then read and alter the traffic.
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Trust the certificate with this SHA-256 fingerprint, and no other.
    ///
    /// The fingerprint has 64 hexadecimal digits, with or without colons: `h2conn listen` prints that
    /// of a certificate that it makes, and `openssl x509 -noout -fingerprint -sha256 -in FILE` that of
    /// a file. The name and the dates of the certificate are not checked. If the option is given more
    /// than once, the server needs one of the certificates.
    #[arg(long, value_name = "SHA256", conflicts_with_all = ["cacert", "insecure"])]
    pub(crate) fingerprint: Vec<String>,
    /// Present this certificate chain, in PEM, to a server that asks for a certificate.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Add a header field to the request, 'name: value', or all fields in @FILE, one per line.
    ///
    /// All users of a machine can see a command line. Put secrets in a file, or in the variable
    /// H2CONN_HEADERS, one field per line; its fields are sent in addition to those of -H. -v hides
    /// the values from both places.
    #[arg(help_heading = "Request")]
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<Field>,
    /// The request's method [default: POST; of ping GET].
    #[arg(help_heading = "Request")]
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<Method>,
    /// Connect through a proxy, http://[USER:PASSWORD@]HOST:PORT or socks5h:// (socks5:// looks up
    /// names on this side); '' for no proxy [default: taken from HTTPS_PROXY, HTTP_PROXY, ALL_PROXY
    /// and NO_PROXY].
    ///
    /// NO_PROXY lists the hosts for which no proxy is used, not even the one of -x. Its entries are
    /// separated by commas: a domain such as example.com, which also covers all names under it;
    /// *.example.com for only the names under it; an address such as 10.0.0.1 or [::1]; a range
    /// such as 10.0.0.0/8; or * for all hosts. A domain or an address may end with :PORT. A
    /// variable in lower case takes precedence over the same variable in upper case.
    ///
    /// All users of a machine can see a command line: put a password in a variable.
    #[arg(help_heading = "Network")]
    #[arg(short = 'x', long, value_name = "URL", env = "H2CONN_PROXY", hide_env_values = true)]
    pub(crate) proxy: Option<String>,
    /// The way to the server. auto tries HTTP/2, and a WebSocket if HTTP/2 does not pass: behind a proxy that speaks
    /// only HTTP/1.1, or that holds a request back until it has ended.
    ///
    /// The server must take WebSockets: h2conn listen and h2conn serve do, and so do programs with h2conn's `accept` or
    /// `serve`. auto tries the WebSocket when HTTP/2 is refused, or gives no answer for a second; a server that answers
    /// later than that sees two requests, or three. The WebSocket shares the connection of HTTP/2 where the server or
    /// the proxy offers that (RFC 8441), and uses HTTP/1.1 otherwise.
    #[arg(help_heading = "Network")]
    #[arg(long, value_name = "WAY", value_enum, default_value_t = ReachBy::Http2)]
    pub(crate) reach: ReachBy,
    /// Time limit for making the connection, such as 5, 0.5 or 500ms [default: 10].
    ///
    /// If this option is given, it also limits the wait for the response that follows. Without it,
    /// connect waits for a response without a limit; send, recv and forward wait for 30 seconds.
    /// After 3 seconds these commands say what they are waiting for.
    #[arg(help_heading = "Network")]
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Use these addresses for a host and port, and do not look up the host.
    ///
    /// This also applies to the host of a proxy. A proxy looks up the URL's host by itself, unless
    /// it is a socks5:// proxy.
    #[arg(help_heading = "Network")]
    #[arg(long, value_name = "HOST:PORT:ADDR[,ADDR]...")]
    pub(crate) resolve: Vec<Resolve>,
    /// Connect through this Unix domain socket, whatever host the URL names, and without a proxy.
    #[cfg(unix)]
    #[arg(help_heading = "Network")]
    #[arg(long, value_name = "PATH", conflicts_with = "resolve")]
    pub(crate) unix_socket: Option<PathBuf>,
}

/// The messages of a WebSocket.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "WebSocket")]
pub(crate) struct MessageOptions {
    /// With a ws:// or wss:// URL: send bytes as binary messages, and print those that come unchanged.
    ///
    /// Without this option, each line of the input is sent as a text message, and each text message that comes is
    /// printed as a line; binary messages are printed unchanged.
    #[arg(long)]
    pub(crate) binary: bool,
    /// Offer this subprotocol. If the option is given more than once, the server chooses.
    #[arg(long, value_name = "NAME")]
    pub(crate) subprotocol: Vec<String>,
    /// The longest message that is taken, and the longest line that is sent [default: 64MiB].
    #[arg(long, value_name = "SIZE", value_parser = message_size)]
    pub(crate) max_message: Option<usize>,
}

/// The options of one connection.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct StreamOptions {
    /// Give up a connection on which no bytes have moved for this long.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Report at the end what each connection has carried, on standard error.
    ///
    /// A listener reports ten connections of one host at once, and then one a second; the others are
    /// only counted, in JSON too. Behind a reverse proxy all clients are one host.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "text")]
    pub(crate) stats: Option<StatsFormat>,
}
