//! The options of whatever connects.

use std::path::PathBuf;
use std::time::Duration;

use h2conn::http::Method;

use super::values::{Field, Resolve, StatsFormat, duration};

/// How a connection is made. Named as in curl.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectOptions {
    /// Add a header field to the request, 'name: value', or those in @FILE, one a line.
    ///
    /// A command line is seen by all users of a machine: put secrets in a file, or in the variable
    /// H2CONN_HEADERS, one field a line, whose fields are sent beside these. -v hides the values of
    /// both.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<Field>,
    /// The request's method [default: POST].
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    pub(crate) method: Option<Method>,
    /// Accept any certificate. Whoever is on the way can then read and change everything.
    #[arg(short = 'k', long)]
    pub(crate) insecure: bool,
    /// Trust the certificates in this PEM file, and no others.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// Show this certificate, a chain in PEM, to a server that asks for one.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Connect through this Unix domain socket, whatever host the URL names, and by no proxy.
    #[cfg(unix)]
    #[arg(long, value_name = "PATH", conflicts_with = "resolve")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// Use these addresses for a host and port, and do not look up its name.
    ///
    /// A proxy is found by them too. It looks up the URL's host itself, unless it is one of
    /// socks5://.
    #[arg(long, value_name = "HOST:PORT:ADDR[,ADDR]...")]
    pub(crate) resolve: Vec<Resolve>,
    /// How long making the connection may take, such as 5, 0.5 or 500ms [default: 10].
    ///
    /// If it is given, it is also the limit for the response that follows. Without it connect waits for
    /// a response without a limit, and send, recv and forward wait for 30 seconds. After 3 seconds they
    /// say what they wait for.
    #[arg(long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) connect_timeout: Option<Duration>,
    /// Connect through a proxy, http://[USER:PASSWORD@]HOST:PORT or socks5h:// (socks5:// looks up
    /// names on this side); '' for none [default: as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY
    /// say].
    ///
    /// NO_PROXY lists what is connected to without a proxy, also without that of -x: example.com,
    /// which covers the names under it too, *.example.com, 10.0.0.1 or [::1], each perhaps with
    /// :PORT, ranges such as 10.0.0.0/8, or * for all, with commas between them. Variables in lower
    /// case go before those in upper case.
    ///
    /// A command line is seen by all users of a machine: put a password in the variable.
    #[arg(short = 'x', long, value_name = "URL", env = "H2CONN_PROXY", hide_env_values = true)]
    pub(crate) proxy: Option<String>,
}

/// What is done with one connection.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Stream")]
pub(crate) struct StreamOptions {
    /// Give up a connection on which nothing has moved for so long.
    #[arg(short, long, value_name = "SECONDS", value_parser = duration)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Say at the end what a connection has carried, on standard error.
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "text")]
    pub(crate) stats: Option<StatsFormat>,
}
