//! The two owned halves of a connection.

use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::deadline::Direction::{Read, Write};
use super::{Conn, Stream};
use crate::error::{Error, Result};

/// The reading side of a [`Conn`].
///
/// Dropping it discards the bytes that still arrive, in the background, so that the peer's writer
/// does not stall. The write half goes on.
pub struct ReadHalf {
    stream: Arc<Stream>,
}

/// The writing side of a [`Conn`].
///
/// Dropping it is a shutdown: the written bytes are sent, then END_STREAM. [`Conn::on_drop`]
/// changes this.
pub struct WriteHalf {
    stream: Arc<Stream>,
}

/// The halves given to [`Conn::reunite`] belong to two different connections. It contains both.
pub struct ReuniteError(pub ReadHalf, pub WriteHalf);

impl ReadHalf {
    pub(super) fn new(stream: Arc<Stream>) -> ReadHalf {
        ReadHalf { stream }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same as [`Conn::read_chunk`].
    ///
    /// # Errors
    ///
    /// The same as for a read.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn read_chunk(&self) -> Result<Option<Bytes>> {
        poll_fn(|cx| {
            let coop = ready!(coop::poll_proceed(cx));
            let read = self.stream.poll_before(Read, || self.stream.inbox.poll_chunk(cx));
            let chunk = ready!(read);
            coop.made_progress();
            Poll::Ready(chunk)
        })
        .await
    }

    /// The same as [`Conn::reunite`].
    ///
    /// # Errors
    ///
    /// [`ReuniteError`], when the halves belong to different connections.
    pub fn reunite(self, write: WriteHalf) -> Result<Conn, ReuniteError> {
        if Arc::ptr_eq(&self.stream, &write.stream) {
            Ok(Conn { read: self, write })
        } else {
            Err(ReuniteError(self, write))
        }
    }
}

impl WriteHalf {
    pub(super) fn new(stream: Arc<Stream>) -> WriteHalf {
        WriteHalf { stream }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The same as [`Conn::write_chunk`].
    ///
    /// # Errors
    ///
    /// The same as for a write.
    ///
    /// # Cancel safety
    ///
    /// All or nothing.
    pub async fn write_chunk(&self, mut bytes: Bytes) -> Result<()> {
        poll_fn(|cx| {
            let coop = ready!(coop::poll_proceed(cx));
            let write = || self.stream.outbox.poll_write_chunk(cx, &mut bytes);
            ready!(self.stream.poll_before(Write, write))?;
            coop.made_progress();
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// The same as [`Conn::sent`].
    ///
    /// # Errors
    ///
    /// The error that ended the stream, if the stream ended first.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn sent(&self) -> Result<()> {
        let position = self.stream.outbox.position();
        poll_fn(|cx| self.stream.poll_before(Write, || self.stream.outbox.poll_sent(cx, position)))
            .await
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        self.stream.drop_reader();
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.stream.drop_writer();
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }
}

/// The same as for `ReadHalf`.
impl AsyncRead for &ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let coop = ready!(coop::poll_proceed(cx));
        ready!(self.stream.poll_before(Read, || self.stream.inbox.poll_read(cx, buf)))?;
        coop.made_progress();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_shutdown(cx)
    }
}

/// The same as for `WriteHalf`.
impl AsyncWrite for &WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let coop = ready!(coop::poll_proceed(cx));
        let write = || self.stream.outbox.poll_write(cx, buf);
        let written = ready!(self.stream.poll_before(Write, write))?;
        coop.made_progress();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let coop = ready!(coop::poll_proceed(cx));
        let write = || self.stream.outbox.poll_write_vectored(cx, bufs);
        let written = ready!(self.stream.poll_before(Write, write))?;
        coop.made_progress();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error after everything was sent is no failure of the shutdown: a peer may leave as
        // soon as it has received everything, and a sink's `close` flushes once more after its
        // shutdown.
        let outbox = &self.stream.outbox;
        let check = || Poll::Ready(if outbox.has_unsent_bytes() { outbox.check() } else { Ok(()) });
        self.stream.poll_before(Write, check).map_err(io::Error::from)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.outbox.finish();
        let position = self.stream.outbox.position();
        let sent = || self.stream.outbox.poll_sent(cx, position);
        self.stream.poll_before(Write, sent).map_err(io::Error::from)
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHalf").field("uri", &self.stream.request().uri).finish_non_exhaustive()
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHalf").field("uri", &self.stream.request().uri).finish_non_exhaustive()
    }
}

impl fmt::Debug for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReuniteError").field(&self.0).field(&self.1).finish()
    }
}

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves belong to two different connections")
    }
}

impl std::error::Error for ReuniteError {}

impl From<ReuniteError> for Error {
    fn from(error: ReuniteError) -> Error {
        Error::new(crate::error::ErrorKind::InvalidInput, error.to_string())
    }
}
