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

/// The resources of this library that are alive in the current runtime.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
#[cfg(feature = "leak-check")]
pub fn alive() -> Alive {
    *alive::watch_current().borrow()
}

/// Waits until no link, stream, task or buffer of this library is alive in this runtime. A test
/// drops its connections and then awaits this with a time limit: the wait ends only if nothing
/// still holds one. A listener without a client does not count.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
///
/// # Cancel safety
///
/// Dropping the future changes nothing.
#[cfg(feature = "leak-check")]
pub async fn none_alive() {
    // This holds the sender, so waiting cannot fail.
    let counts = alive::watch_current();
    let _ = counts.subscribe().wait_for(|alive| *alive == Alive::default()).await;
}

/// Makes the client's end and the server's end of one connection.
///
/// # Errors
///
/// None while the runtime runs.
pub async fn pair() -> Result<(Conn, Conn)> {
    let (client, server) = tokio::io::duplex(PIPE);
    pair_over(client, server).await
}

/// Does the same as [`pair`], over two ends of a transport that the test brings, such as one that
/// is slow, cuts, or fails.
///
/// # Errors
///
/// Any error that the transport causes to HTTP/2.
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

/// Sets up a [`Pair`]. Both ends get the same values.
#[derive(Clone, Debug, Default)]
pub struct PairBuilder {
    config: Config,
}

impl PairBuilder {
    /// The same as
    /// [`ClientBuilder::initial_window_size`](crate::ClientBuilder::initial_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_window_size`](crate::ClientBuilder::max_window_size).
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_link_memory`](crate::ClientBuilder::max_link_memory).
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// The same as [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout).
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// The same as [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size).
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }

    /// Makes two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a knob whose value cannot be used, and any error that the
    /// transport causes to HTTP/2.
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

    /// Makes two ends over memory.
    ///
    /// # Errors
    ///
    /// None while the runtime runs.
    pub async fn new() -> Result<Pair> {
        let (client, server) = tokio::io::duplex(PIPE);
        Pair::over(client, server).await
    }

    /// Makes two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// Any error that the transport causes to HTTP/2.
    pub async fn over<T>(client: T, server: T) -> Result<Pair>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Pair::builder().over(client, server).await
    }

    /// Opens a connection, and returns both of its ends: the client's, then the server's.
    ///
    /// # Errors
    ///
    /// Fails when the link has ended.
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
