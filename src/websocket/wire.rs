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
    /// The transport has refused the last bytes.
    full: bool,
    frames: Frames,
    read: u64,
    written: u64,
}

/// The boundaries of the frames that have come (RFC 6455 §5.2). tungstenite takes them apart, and does
/// not tell whether it holds a part of one.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The header that has come in part.
    header: [u8; LONGEST_HEADER],
    has: usize,
    /// Bytes of the present frame that are still to come.
    left: u64,
    /// A message goes on in another frame.
    is_open: bool,
    /// The longest frame.
    longest: u64,
}

/// Two bytes, a length of eight, and a mask.
const LONGEST_HEADER: usize = 14;

impl Frames {
    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len() as u64);
                self.left -= skipped;
                bytes = &bytes[skipped as usize..];
                continue;
            }
            self.header[self.has] = *first;
            self.has += 1;
            bytes = &bytes[1..];
            self.look_at_header();
        }
    }

    /// Begins the frame whose header has come whole.
    fn look_at_header(&mut self) {
        if self.has < 2 {
            return;
        }
        let [kind, size, rest @ ..] = &self.header;
        let (short, mask) = (size & 0x7f, usize::from(size >> 7) * 4);
        let wide = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.has < 2 + wide + mask {
            return;
        }
        let long = rest[..wide].iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        self.left = if wide > 0 { long } else { u64::from(short) };
        self.longest = self.longest.max(self.left);
        // Control frames may come amid a message.
        if kind & 0x0f < 8 {
            self.is_open = kind & 0x80 == 0;
        }
        self.has = 0;
    }

    /// Whether all messages that have begun are whole.
    pub(super) fn are_whole(&self) -> bool {
        self.has == 0 && self.left == 0 && !self.is_open
    }

    /// The length of the longest frame since the last call.
    pub(super) fn take_longest(&mut self) -> u64 {
        std::mem::take(&mut self.longest)
    }
}

impl<T> Wire<T> {
    pub(super) fn new(transport: T) -> Wire<T> {
        Wire {
            transport,
            failure: None,
            broken: false,
            full: false,
            frames: Frames::default(),
            read: 0,
            written: 0,
        }
    }

    /// The reason why writing has failed. It is given once.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Whether written bytes do not leave any more.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the transport has refused the last bytes. One with a buffer of its own, as TLS has,
    /// takes some while nothing leaves.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Where the bytes that have come end among the frames.
    pub(super) fn frames(&mut self) -> &mut Frames {
        &mut self.frames
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
        self.frames.pass(&buf.filled()[before..]);
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
            let written = Pin::new(&mut self.transport).poll_write(cx, buf);
            self.full = written.is_pending();
            match written {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_frames_are_seen_however_the_bytes_are_cut() {
        // A text in two frames with a ping between, an empty frame, and longer ones of both forms.
        let mut frames = vec![0x01, 0x83, 1, 2, 3, 4, b'a', b'b', b'c'];
        frames.extend([0x89, 0x82, 0, 0, 0, 0, 7, 7]);
        let amid = frames.len();
        frames.extend([0x80, 0x00]);
        let first = frames.len();
        frames.extend([0x82, 126, 1, 0]);
        frames.extend([0x81; 256]);
        let second = frames.len();
        frames.extend([0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 9, 9, 9, 9]);
        frames.extend([0xff; 1 << 16]);
        let ends = [0, first, second, frames.len()];
        for cut in [1, 2, 3, 5, 7, 13, 64, 1000, frames.len()] {
            let (mut seen, mut at) = (Frames::default(), 0);
            for piece in frames.chunks(cut) {
                seen.pass(piece);
                at += piece.len();
                assert_eq!(seen.are_whole(), ends.contains(&at), "{cut}: at {at}");
            }
            assert_eq!((seen.take_longest(), seen.take_longest()), (1 << 16, 0));
        }
        let mut seen = Frames::default();
        seen.pass(&frames[..amid]);
        assert!(!seen.are_whole(), "the text goes on");
    }
}
