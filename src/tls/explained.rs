//! Errors of an established TLS connection, in this library's words.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure::{self, Peer};
use super::rustls;

/// A TLS stream with read errors that explain the cause to users.
#[derive(Debug)]
pub(crate) struct Explained<T> {
    io: T,
    server: Option<String>,
}

impl<T> Explained<T> {
    /// A client's. With TLS 1.3 a server checks the client's certificate after the client's handshake,
    /// so a read reports the refusal (RFC 8446 §4.4.2.4).
    pub(crate) fn to_server(io: T, server: &str) -> Explained<T> {
        Explained { io, server: Some(server.to_owned()) }
    }

    /// A server's.
    pub(crate) fn to_client(io: T) -> Explained<T> {
        Explained { io, server: None }
    }

    /// The transport without explanations.
    #[cfg(any(feature = "serve", feature = "websocket"))]
    pub(crate) fn below(&self) -> &T {
        &self.io
    }

    fn explain(&self, error: io::Error) -> io::Error {
        let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
        match &self.server {
            Some(server) if is_tls => failure::failed(Peer::Server(server), error).into(),
            _ => without_manual(error),
        }
    }
}

/// The same error without the address of a manual for programmers, which rustls puts behind its text for a transport
/// that ended without close_notify.
fn without_manual(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(": https://docs.rs/") {
        Some((text, _)) => io::Error::new(error.kind(), text.to_owned()),
        None => error,
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Explained<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        read.map_err(|error| self.explain(error))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Explained<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
