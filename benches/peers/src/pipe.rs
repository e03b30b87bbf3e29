//! The interface of all transports: two ends that send and receive bytes.

use std::future::Future;

use anyhow::{Result, ensure};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How much is received at once, if the receiver decides: at first, and after that was too little.
const LITTLE: usize = 4 << 10;
const MUCH: usize = 64 << 10;

/// The sending end.
pub(crate) trait Tx: Send + 'static {
    /// Sends a message in the cheapest form for this transport. The message leaves without waiting
    /// for another one.
    fn send(&mut self, message: &Bytes) -> impl Future<Output = Result<()>> + Send;
}

/// The receiving end.
pub(crate) trait Rx: Send + 'static {
    /// Waits for more bytes, and returns how many have arrived, or 0 at the end.
    fn recv(&mut self) -> impl Future<Output = Result<usize>> + Send;

    /// The bytes that arrived last.
    fn piece(&self) -> &[u8];
}

/// Receives exactly `bytes` bytes.
pub(crate) async fn receive(rx: &mut impl Rx, bytes: u64) -> Result<()> {
    let mut left = bytes;
    while left > 0 {
        let n = rx.recv().await? as u64;
        ensure!(n > 0, "the end came {left} bytes early");
        ensure!(n <= left, "{} bytes too many have come", n - left);
        left -= n;
    }
    Ok(())
}

/// Sends on a stream of bytes.
pub(crate) struct Writer<W> {
    write: W,
    /// The transport holds bytes back until it is flushed.
    flush: bool,
}

impl<W: AsyncWrite + Send + Unpin + 'static> Tx for Writer<W> {
    async fn send(&mut self, message: &Bytes) -> Result<()> {
        self.write.write_all(message).await?;
        if self.flush {
            self.write.flush().await?;
        }
        Ok(())
    }
}

/// Receives from a stream of bytes.
pub(crate) struct Reader<R> {
    read: R,
    buffer: Vec<u8>,
    len: usize,
}

impl<R: AsyncRead + Send + Unpin + 'static> Rx for Reader<R> {
    async fn recv(&mut self) -> Result<usize> {
        if self.len == LITTLE {
            self.buffer.resize(MUCH, 0);
        }
        self.len = self.read.read(&mut self.buffer).await?;
        Ok(self.len)
    }

    fn piece(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

/// The two ends of a stream of bytes.
pub(crate) fn bytes_pipe<R, W>(read: R, write: W, flush: bool) -> (Writer<W>, Reader<R>) {
    (Writer { write, flush }, Reader { read, buffer: vec![0; LITTLE], len: 0 })
}
