//! The user's connection.

#[cfg(feature = "websocket")]
mod account;
mod addr;
mod carrier;
mod close;
mod deadline;
#[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "only `serve` uses all of it"))]
mod exchange;
mod framed;
mod halves;
mod info;
mod linger;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
mod offer;
mod quiet;
mod stats;
mod stream;
mod transport;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::error::{Error, ErrorKind, Result};

#[cfg(all(feature = "serve", feature = "websocket"))]
pub(crate) use account::Accounts;
#[cfg(feature = "websocket")]
pub(crate) use account::{Account, MustEnd, Ridden};
pub use addr::Addr;
pub(crate) use carrier::Carrier;
pub use close::OnDrop;
pub(crate) use close::runtime_is_gone;
pub use deadline::IntoDeadline;
pub(crate) use exchange::{Exchange, Kept};
#[cfg(feature = "accept")]
pub(crate) use exchange::{Served, Shutdown};
pub use halves::{ReadHalf, ReuniteError, WriteHalf};
pub(crate) use info::LinkInfo;
pub(crate) use linger::{Delivery, Facts, Linger, Progress, Terms, Verdict, ended};
pub(crate) use offer::{Offer, has_no_content};
pub(crate) use quiet::Quiet;
pub use stats::Stats;
pub(crate) use stream::{Stream, Wish};
pub use transport::Transport;

/// A full-duplex connection over one HTTP/2 stream.
///
/// Reads and writes are independent, and each goes on until its own end. [`shutdown`] ends the
/// writing side (END_STREAM, RFC 9113 §5.1), and reading goes on. The peer's END_STREAM is read as
/// end of file, and writing goes on. Every other end of the stream is an error, never an end of
/// file.
///
/// A write returns once its bytes are queued. They are sent without any further call. Several tasks
/// may read and write through `&Conn` at once. The bytes of one write that returned `n` stay
/// together. [`into_split`](Conn::into_split) gives two halves, each of which owns its side.
///
/// # Dropping
///
/// Dropping a `Conn` loses none of its written bytes, however slow the line: the link (the HTTP/2
/// connection) sends them, then END_STREAM. It gives up when the peer takes nothing for 30 seconds.
/// Bytes that still arrive are dropped. The stream is reset if the peer, after it got END_STREAM,
/// does not end its side within the [`linger_timeout`](crate::ClientBuilder::linger_timeout) (30
/// seconds), or sends more than 1 MiB. [`on_drop`](Conn::on_drop) changes this. A drop during a
/// panic always resets. A destructor cannot wait: **before the process or its runtime ends, await
/// [`close`](Conn::close)**, or written bytes are lost, even if they were flushed.
///
/// # Memory
///
/// At most the receive window (1 MiB by default), twice over for data in large frames, and the send
/// queue (128 KiB). Both take memory only while they hold bytes. An idle connection takes about 1
/// KiB.
///
/// [`shutdown`]: tokio::io::AsyncWriteExt::shutdown
pub struct Conn {
    read: ReadHalf,
    write: WriteHalf,
}

impl Conn {
    pub(crate) fn new(stream: Arc<Stream>) -> Conn {
        Conn { read: ReadHalf::new(Arc::clone(&stream)), write: WriteHalf::new(stream) }
    }

    fn stream(&self) -> &Stream {
        self.read.stream()
    }

    /// The reports about what the connection rides on. They outlive it.
    #[cfg(feature = "axum")]
    pub(crate) fn observed(&self) -> Arc<LinkInfo> {
        self.stream().observed_link()
    }

    /// Splits the connection into halves that two tasks can own. The halves do not lock each other.
    /// Dropping the write half is a shutdown. Dropping the read half discards the bytes that still
    /// arrive, so that the peer's writer does not stall.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// Joins two halves again.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`], which contains both halves, when they belong to different connections.
    pub fn reunite(read: ReadHalf, write: WriteHalf) -> Result<Conn, ReuniteError> {
        read.reunite(write)
    }

    /// Reads the next run of bytes without copying it. `None` is the end of the stream. The
    /// boundaries of the runs have no meaning: a network may cut and join them.
    ///
    /// # Errors
    ///
    /// The same as for a read: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn read_chunk(&self) -> Result<Option<Bytes>> {
        self.read.read_chunk().await
    }

    /// Writes all of `bytes` without copying them. Up to 4 KiB are copied if other bytes still wait to
    /// be sent, to share a frame with them. The memory that `bytes` is a part of is held until it is
    /// sent. This waits only until there is room for one byte, so the send queue may exceed its bound
    /// by this chunk.
    ///
    /// # Errors
    ///
    /// The same as for a write: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    ///
    /// All or nothing: if the future is dropped before it is ready, nothing was written.
    pub async fn write_chunk(&self, bytes: Bytes) -> Result<()> {
        self.write.write_chunk(bytes).await
    }

    /// Waits until everything that was written before this call has been handed to the transport.
    /// The peer may not have received it yet.
    ///
    /// # Errors
    ///
    /// The error that ended the stream, if the stream ended first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn sent(&self) -> Result<()> {
        self.write.sent().await
    }

    /// The response head. A client waits until it is there. A server gets the head that it has
    /// sent.
    ///
    /// A status other than 2xx is still returned here, while reads and writes fail with
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected).
    ///
    /// # Errors
    ///
    /// The error of the request, if no response came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn response(&self) -> Result<Response<()>> {
        let head = poll_fn(|cx| self.stream().poll_answer(cx)).await?;
        Ok(Response::from_parts(head, ()))
    }

    /// Measures the round trip to the peer with a PING (RFC 9113 §6.7), which overtakes waiting
    /// data. Calls at the same time share one PING, and there is at most one PING a millisecond.
    /// Over a WebSocket it is a ping (RFC 6455 §5.5.2), which waits behind the data: the answer does not come while
    /// nobody reads what came before it.
    ///
    /// # Errors
    ///
    /// Fails when the link ends before the answer comes, and with [`ErrorKind::Unsupported`] on a
    /// connection that [`accept`](fn@crate::accept) made of a request of hyper's. The time limit is that of the link for a
    /// silent peer: [`keep_alive_timeout`](crate::ClientBuilder::keep_alive_timeout). For a shorter
    /// limit wrap this in a [`tokio::time::timeout`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the answer.
    pub async fn ping(&self) -> Result<Duration> {
        self.stream().carrier.ping()?.await.map_err(|_| {
            Error::new(ErrorKind::Truncated, "the link ended before its peer answered a ping")
        })
    }

    /// The method of the request that opened this connection.
    pub fn method(&self) -> &Method {
        &self.stream().request().method
    }

    /// The target of the request that opened this connection.
    pub fn uri(&self) -> &Uri {
        &self.stream().request().uri
    }

    /// The header fields of the request that opened this connection.
    pub fn headers(&self) -> &HeaderMap {
        &self.stream().request().headers
    }

    /// The form in which the request carries the connection.
    pub fn transport(&self) -> &Transport {
        &self.stream().transport
    }

    /// This end's address.
    pub fn local_addr(&self) -> &Addr {
        &self.stream().link.local
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> &Addr {
        self.stream().peer()
    }

    /// The certificates that the peer showed in the TLS handshake, in DER, its own first. Empty
    /// without TLS, and on a server that does not ask for certificates.
    pub fn peer_certificates(&self) -> &[Bytes] {
        &self.stream().link.peer_certificates
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.read).poll_read(cx, buf)
    }
}

/// The same as for `Conn`.
impl AsyncRead for &Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.read).poll_read(cx, buf)
    }
}

/// A write is ready once its bytes are queued. It never returns 0 for a non-empty buffer. A flush
/// is ready at once, because queued bytes are sent anyway; [`Conn::sent`] waits until they are
/// sent. A flush fails only if the stream ended before all bytes were sent. A shutdown is ready
/// once every byte and END_STREAM have been handed to the transport. **Flushing and then ending the
/// process loses bytes**: await [`Conn::close`], or at least a shutdown.
///
/// Dropping the future of any of these calls loses no byte that a finished call accepted. A
/// shutdown that was begun stays requested.
impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.write).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.write).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.write).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.write).poll_shutdown(cx)
    }
}

/// The same as for `Conn`.
impl AsyncWrite for &Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.write).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &self.write).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.write).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.write).poll_shutdown(cx)
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("method", self.method())
            .field("uri", self.uri())
            .field("transport", self.transport())
            .field("local_addr", self.local_addr())
            .field("peer_addr", self.peer_addr())
            .finish_non_exhaustive()
    }
}
