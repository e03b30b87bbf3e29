//! The addresses of a connection's two ends.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of one end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Addr {
    /// A TCP socket.
    Ip(SocketAddr),
    /// A Unix domain socket. `None` for an end without a name, as clients have.
    Unix(Option<PathBuf>),
    /// Another transport: memory, or one that the program brought itself.
    Other,
}

impl Addr {
    /// The IP address and port, when the transport is TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Addr::Ip(addr) => Some(*addr),
            _ => None,
        }
    }

    /// The path, when the transport is a Unix domain socket with a name.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Addr::Unix(path) => path.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Addr::Ip(addr) => fmt::Display::fmt(addr, f),
            Addr::Unix(Some(path)) => write!(f, "unix:{}", path.display()),
            Addr::Unix(None) => f.write_str("unix:(unnamed)"),
            Addr::Other => f.write_str("(no address)"),
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(addr: SocketAddr) -> Addr {
        Addr::Ip(addr)
    }
}

#[cfg(unix)]
impl From<tokio::net::unix::SocketAddr> for Addr {
    fn from(addr: tokio::net::unix::SocketAddr) -> Addr {
        Addr::Unix(addr.as_pathname().map(Path::to_owned))
    }
}
