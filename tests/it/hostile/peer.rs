//! The peer of a script: what it has said, what it has heard, and what a connection must have got
//! of it.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use crate::support::raw::{DATA, Frame, PADDED};

/// What a peer sends altogether; through a narrow pipe, less.
const MOST: usize = 1 << 20;
const MOST_PIPEFULS: usize = 2_000;

/// The stream of the connection that is looked at.
const STREAM: u32 = 1;

pub(crate) struct Peer {
    io: DuplexStream,
    said: Vec<u8>,
    most: usize,
    heard: Vec<u8>,
    /// The link has closed the transport.
    gone: bool,
}

impl Peer {
    /// Takes over where a link is up, at the beginning of a frame both ways.
    pub(crate) fn new(io: DuplexStream, pipe: usize) -> Peer {
        let most = pipe.saturating_mul(MOST_PIPEFULS).min(MOST);
        Peer { io, said: Vec::new(), most, heard: Vec::new(), gone: false }
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        if self.gone || self.said.len() + bytes.len() > self.most {
            return;
        }
        self.said.extend_from_slice(bytes);
        let limit = Duration::from_secs(60);
        let written = timeout(limit, self.io.write_all(bytes)).await;
        self.gone = written.expect("a link that does not read").is_err();
    }

    /// Reads what there is.
    pub(crate) fn listen(&mut self) {
        let mut bytes = [0; 16 << 10];
        while let Some(Ok(n @ 1..)) = self.io.read(&mut bytes).now_or_never() {
            self.heard.extend_from_slice(&bytes[..n]);
        }
    }

    /// Ends this side of the transport, or both.
    pub(crate) async fn end(mut self, half_closed: bool) -> (Ended, Option<DuplexStream>) {
        self.listen();
        let ended = Ended { said: stream(&self.said), heard: stream(&self.heard) };
        if !half_closed {
            return (ended, None);
        }
        let _ = self.io.shutdown().await;
        (ended, Some(self.io))
    }
}

/// The two directions of the connection, as the peer knows them.
pub(crate) struct Ended {
    said: Direction,
    heard: Direction,
}

/// The data of a stream, and whether its end follows.
struct Direction {
    data: Vec<u8>,
    ended: bool,
}

impl Ended {
    /// What the user has read is what was sent, and only END_STREAM ends it.
    pub(crate) fn check_read(&self, read: &[u8], to_the_end: bool) {
        let Direction { data, ended } = &self.said;
        assert!(data.starts_with(read), "{} bytes were read that were not sent", read.len());
        if to_the_end {
            assert!(*ended, "the end of a stream that the peer did not end");
            assert_eq!(read.len(), data.len(), "the end came before all bytes");
        }
    }

    /// What the peer has got is what the user has written.
    pub(crate) fn check_written(&self, written: &[u8]) {
        let Direction { data, ended } = &self.heard;
        assert!(written.starts_with(data), "{} bytes were sent, not those written", data.len());
        assert!(!ended || written.len() == data.len(), "END_STREAM before all bytes");
    }
}

/// What frames say on the connection's stream. Of frames that break the rules it may say too much:
/// a link that has met one gives its user no more.
fn stream(mut bytes: &[u8]) -> Direction {
    let mut direction = Direction { data: Vec::new(), ended: false };
    while let Some(frame) = next(&mut bytes) {
        if frame.stream != STREAM || direction.ended {
            continue;
        }
        if frame.kind == DATA {
            direction.data.extend_from_slice(data(&frame));
        }
        direction.ended = frame.is_end();
    }
    direction
}

/// What is in a DATA frame without its padding (RFC 9113 §6.1).
fn data(frame: &Frame) -> &[u8] {
    match frame.payload.split_first() {
        Some((&padding, rest)) if frame.flags & PADDED != 0 => {
            &rest[..rest.len().saturating_sub(padding.into())]
        }
        _ => &frame.payload,
    }
}

/// Takes a whole frame off the front.
fn next(bytes: &mut &[u8]) -> Option<Frame> {
    let (&[a, b, c, kind, flags, s, t, u, v], rest) = bytes.split_first_chunk()?;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    let payload = rest.get(..len)?.to_vec();
    *bytes = &rest[len..];
    Some(Frame { kind, flags, stream: u32::from_be_bytes([s & 0x7f, t, u, v]), payload })
}
