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

#[cfg(feature = "axum")]
mod axum;
#[cfg(any(feature = "axum", feature = "websocket"))]
mod hosted;
mod network;
mod pair;
#[cfg(feature = "websocket")]
mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(feature = "leak-check")]
use crate::alive;
#[cfg(feature = "leak-check")]
pub use crate::alive::Alive;
use crate::conn::Conn;
use crate::error::Result;

#[cfg(all(feature = "axum", feature = "websocket"))]
pub use axum::axum_websocket;
#[cfg(feature = "axum")]
pub use axum::{Caller, axum_accept, axum_request};
pub use network::{Flow, Line, Network};
pub use pair::{Pair, PairBuilder};
#[cfg(feature = "websocket")]
pub use websocket::{Message, WebSocket, websocket};

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
