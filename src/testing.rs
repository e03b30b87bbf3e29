//! Connections without a network, for tests: two ends in one process, with real HTTP/2 between
//! them.
//!
//! # Examples
//!
//! ```
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (mut client, mut server) = h2conn::testing::pair().await?;
//! client.write_all(b"ping").await?;
//! client.shutdown().await?;
//! let mut got = String::new();
//! server.read_to_string(&mut got).await?;
//! assert_eq!(got, "ping");
//! # Ok(())
//! # }
//! ```

use std::any::TypeId;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

#[cfg(feature = "leak-check")]
use crate::alive;
#[cfg(feature = "leak-check")]
pub use crate::alive::Alive;
use crate::config::Config;
use crate::conn::{Addr, Conn, LinkInfo, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Backlog, Budget, Link, Places, backlog};
use crate::listener::Incoming;
use crate::observe::Side;

/// Bytes that the memory between the two ends holds, each way.
const PIPE: usize = 64 << 10;

/// What of this library is alive in the runtime that this is called in.
///
/// # Panics
///
/// Outside of a tokio runtime.
#[cfg(feature = "leak-check")]
pub fn alive() -> Alive {
    *alive::watch_current().borrow()
}

/// Waits until no link, stream, task or buffer of this library is alive in this runtime: a test
/// that awaits it, with a time limit, after it has let go of its connections, finds those that
/// something still holds. A listener that nobody is connected to does not count.
///
/// # Panics
///
/// Outside of a tokio runtime.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
#[cfg(feature = "leak-check")]
pub async fn none_alive() {
    // The sender is held here, so there is no error.
    let counts = alive::watch_current();
    let _ = counts.subscribe().wait_for(|alive| *alive == Alive::default()).await;
}

/// A client's and a server's end of one connection.
///
/// # Errors
///
/// None, as long as the runtime runs.
pub async fn pair() -> Result<(Conn, Conn)> {
    let (client, server) = tokio::io::duplex(PIPE);
    pair_over(client, server).await
}

/// As [`pair`], over two ends of a transport that the test brings: one that is slow, or cuts, or
/// fails.
///
/// # Errors
///
/// What the transport does to HTTP/2.
pub async fn pair_over<T>(client: T, server: T) -> Result<(Conn, Conn)>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut links = Pair::over(client, server).await?;
    links.open().await
}

/// Two ends of a link, over which any number of connections can be opened.
#[derive(Debug)]
pub struct Pair {
    client: Link,
    _server: Link,
    incoming: Backlog,
}

/// Sets up a [`Pair`]. Both ends get the same knobs.
#[derive(Clone, Debug, Default)]
pub struct PairBuilder {
    config: Config,
}

impl PairBuilder {
    /// As [`ClientBuilder::initial_window_size`](crate::ClientBuilder::initial_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// As [`ClientBuilder::max_window_size`](crate::ClientBuilder::max_window_size).
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// As [`ClientBuilder::max_link_memory`](crate::ClientBuilder::max_link_memory).
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// As [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout).
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// As [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size).
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }

    /// Two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for knobs that cannot be used as set, and what the transport
    /// does to HTTP/2.
    pub async fn over<T>(self, client: T, server: T) -> Result<Pair>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.config.check()?;
        let info = |side| {
            let mut info = LinkInfo::new(side, Addr::Other, Addr::Other);
            info.any_task = TypeId::of::<T>() == TypeId::of::<DuplexStream>();
            info
        };
        let (entrance, incoming) =
            backlog(2 * self.config.max_conns as usize, self.config.max_memory);
        let budget = Budget::new(self.config.max_memory);
        let config = &self.config;
        let (client, server) = (Box::new(client), Box::new(server));
        let (client, _) = Link::client(client, info(Side::Client), config, Places::default());
        let info = info(Side::Server);
        let server = Link::server(server, Bytes::new(), info, config, &entrance, &budget);
        Ok(Pair { client, _server: server, incoming })
    }
}

impl Pair {
    /// Sets up a pair.
    pub fn builder() -> PairBuilder {
        PairBuilder::default()
    }

    /// Two ends over memory.
    ///
    /// # Errors
    ///
    /// None, as long as the runtime runs.
    pub async fn new() -> Result<Pair> {
        let (client, server) = tokio::io::duplex(PIPE);
        Pair::over(client, server).await
    }

    /// Two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// What the transport does to HTTP/2.
    pub async fn over<T>(client: T, server: T) -> Result<Pair>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Pair::builder().over(client, server).await
    }

    /// Opens a connection, and gives both ends of it: the client's, then the server's.
    ///
    /// # Errors
    ///
    /// When the link has ended.
    pub async fn open(&mut self) -> Result<(Conn, Conn)> {
        let request = Request::post("http://pair/").body(()).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "a plain request").with_source(error)
        })?;
        let client = Conn::new(self.client.open(request.into_parts().0, Transport::Request));
        let gone = || Error::new(ErrorKind::Truncated, "the link has ended");
        let server = Incoming::new(self.incoming.next().await.ok_or_else(gone)?).accept()?;
        client.response().await?;
        Ok((client, server))
    }
}
