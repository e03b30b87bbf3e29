//! The user's connection.

mod addr;
mod carrier;
mod close;
mod deadline;
mod framed;
mod halves;
mod linger;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
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

pub use addr::Addr;
pub(crate) use carrier::Carrier;
pub use close::OnDrop;
pub(crate) use close::runtime_is_gone;
pub use halves::{ReadHalf, ReuniteError, WriteHalf};
pub(crate) use linger::{Delivery, Facts, Linger, Progress, Terms, Verdict, ended};
pub use stats::Stats;
pub(crate) use stream::{LinkInfo, Offer, Stream, Wish};
pub use transport::Transport;

/// A full-duplex connection over one HTTP/2 stream.
///
/// Reads and writes go on independently, each until its own end: [`shutdown`] ends the writing
/// side (END_STREAM, RFC 9113 §5.1) and reading goes on; the peer's END_STREAM is read as end of
/// file, and writing goes on. Anything else that ends the stream is an error, never an end of file.
///
/// A write returns once its bytes are queued; they are sent without any further call. Several
/// tasks may read and write through `&Conn` at once; the bytes of one write that returned `n` stay
/// together. [`into_split`](Conn::into_split) gives halves that own their side.
///
/// # Dropping
///
/// Dropping a `Conn` loses nothing that was written, on a line however slow: the link goes on to send
/// it, then END_STREAM. It gives up when the peer takes nothing for 30 seconds. What still arrives is
/// dropped; the stream is reset if the peer has not ended its side within the
/// [`linger_timeout`](crate::ClientBuilder::linger_timeout) (30 seconds) after it got END_STREAM, or has
/// sent more than 1 MiB since. [`on_drop`](Conn::on_drop) changes that; a drop by a panic always resets.
/// A destructor cannot wait: **before the process or its runtime ends, await
/// [`close`](Conn::close)**, or bytes that were written, even flushed, are lost.
///
/// # Memory
///
/// At most the receive window (1 MiB unless configured), twice over for data in large frames, and
/// the send queue (128 KiB), both only while they are full; about 1 KiB when idle.
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

    /// Takes the connection apart, into halves that two tasks can own. They do not lock each
    /// other. Dropping the write half is a shutdown; dropping the read half lets what still
    /// arrives be dropped, so that the peer's writer does not stall.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// Puts two halves together again.
    ///
    /// # Errors
    ///
    /// [`ReuniteError`], with both halves in it, when they are not of the same connection.
    pub fn reunite(read: ReadHalf, write: WriteHalf) -> Result<Conn, ReuniteError> {
        read.reunite(write)
    }

    /// Reads the next run of bytes without copying it; `None` is the end of the stream. The runs
    /// have no meaning: a network may cut and join them at will.
    ///
    /// # Errors
    ///
    /// As a read: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn read_chunk(&self) -> Result<Option<Bytes>> {
        self.read.read_chunk().await
    }

    /// Writes all of `bytes` without copying them (up to 4 KiB are copied, to share frames).
    /// Waits for room for one byte only, so the send queue can be over its bound by this chunk.
    ///
    /// # Errors
    ///
    /// As a write: see [`ErrorKind`](crate::ErrorKind).
    ///
    /// # Cancel safety
    ///
    /// All or nothing: when the future is dropped before it is ready, nothing was written.
    pub async fn write_chunk(&self, bytes: Bytes) -> Result<()> {
        self.write.write_chunk(bytes).await
    }

    /// Waits until everything that was written before this call has been handed to the transport.
    /// It says nothing of the peer having got it.
    ///
    /// # Errors
    ///
    /// The error that ended the stream, if that came first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn sent(&self) -> Result<()> {
        self.write.sent().await
    }

    /// The response head. On a client, waits until it is there; on a server, what was answered.
    ///
    /// When the status is not 2xx this still gives it, while reads and writes fail with
    /// [`ErrorKind::Rejected`](crate::ErrorKind::Rejected).
    ///
    /// # Errors
    ///
    /// What became of the request, if no response came.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn response(&self) -> Result<Response<()>> {
        let head = poll_fn(|cx| self.stream().poll_answer(cx)).await?;
        Ok(Response::from_parts(head, ()))
    }

    /// Measures the round trip to the peer with a PING (RFC 9113 §6.7), which goes ahead of data
    /// that waits. Pings asked for at the same time share one, and there is at most one a
    /// millisecond.
    ///
    /// # Errors
    ///
    /// When the link ends before the answer comes, and [`ErrorKind::Unsupported`] on a connection that
    /// [`accept`](fn@crate::accept) made. Its time limit is that of the link: when the peer is silent
    /// altogether, [`keep_alive_timeout`](crate::ClientBuilder::keep_alive_timeout). For a shorter
    /// one put a [`tokio::time::timeout`] around it.
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
        &self.stream().request.method
    }

    /// The target of the request that opened this connection.
    pub fn uri(&self) -> &Uri {
        &self.stream().request.uri
    }

    /// The header fields of the request that opened this connection.
    pub fn headers(&self) -> &HeaderMap {
        &self.stream().request.headers
    }

    /// What the connection rides on.
    pub fn transport(&self) -> &Transport {
        &self.stream().transport
    }

    /// This end's address.
    pub fn local_addr(&self) -> &Addr {
        &self.stream().link.local
    }

    /// The other end's address.
    pub fn peer_addr(&self) -> &Addr {
        &self.stream().link.peer
    }

    /// The certificates that the peer showed in the TLS handshake, in DER, its own first. Empty
    /// without TLS, and on a server that does not ask for them.
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

/// As for `Conn`.
impl AsyncRead for &Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &self.read).poll_read(cx, buf)
    }
}

/// A write is ready once its bytes are queued, and never with 0 for a non-empty buffer; a flush is
/// ready at once, since queued bytes are sent anyway ([`Conn::sent`] waits for that), and fails
/// only if the stream ended before all of them were. A shutdown is ready once every byte and
/// END_STREAM have been handed to the transport. **Flushing and then ending the process loses
/// bytes**: await [`Conn::close`], or at least a shutdown.
///
/// Dropping the future of any of them loses no byte that a finished call took; a shutdown that was
/// begun stays requested.
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

/// As for `Conn`.
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
