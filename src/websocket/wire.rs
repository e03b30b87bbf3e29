//! The transport under a WebSocket, in the form that tungstenite needs.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A transport on which no write fails. tungstenite writes while it reads, and received bytes must
/// not be lost because the other direction has failed. The failure is kept for the session.
#[derive(Debug)]
pub(super) struct Wire<T> {
    transport: T,
    failure: Option<io::Error>,
    broken: bool,
    read: u64,
    written: u64,
}

impl<T> Wire<T> {
    pub(super) fn new(transport: T) -> Wire<T> {
        Wire { transport, failure: None, broken: false, read: 0, written: 0 }
    }

    /// The reason why writing has failed. It is given once.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether written bytes do not leave any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes that have come.
    pub(super) fn read(&self) -> u64 {
        self.read
    }

    /// Bytes that the transport has taken.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn break_off(&mut self, error: io::Error) {
        self.broken = true;
        self.failure.get_or_insert(error);
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.transport).poll_read(cx, buf);
        self.read += (buf.filled().len() - before) as u64;
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.broken {
            match Pin::new(&mut self.transport).poll_write(cx, buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) if !buf.is_empty() => {
                    self.break_off(io::ErrorKind::WriteZero.into());
                }
                Poll::Ready(Ok(n)) => {
                    self.written += n as u64;
                    return Poll::Ready(Ok(n));
                }
                Poll::Ready(Err(error)) => self.break_off(error),
            }
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.broken {
            match Pin::new(&mut self.transport).poll_flush(cx) {
                Poll::Ready(Err(error)) => self.break_off(error),
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
