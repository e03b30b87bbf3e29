//! The peer of a script: the bytes that it has sent and received, and the bytes that a connection
//! must have got from it.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use crate::support::raw::{DATA, Frame, PADDED};

/// The most bytes that a peer sends. Through a narrow pipe they are fewer.
const MOST: usize = 1 << 20;
const MOST_PIPEFULS: usize = 2_000;

/// The stream of the connection under test.
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
    /// Takes over a link that is established, at the beginning of a frame in both directions.
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

    /// Reads everything that has arrived.
    pub(crate) fn listen(&mut self) {
        let mut bytes = [0; 16 << 10];
        while let Some(Ok(n @ 1..)) = self.io.read(&mut bytes).now_or_never() {
            self.heard.extend_from_slice(&bytes[..n]);
        }
    }

    /// Ends this side of the transport, or both sides.
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

/// The data of a stream, and whether END_STREAM follows it.
struct Direction {
    data: Vec<u8>,
    ended: bool,
}

impl Ended {
    /// The user has read exactly the bytes that were sent, and only END_STREAM ends them.
    pub(crate) fn check_read(&self, read: &[u8], to_the_end: bool) {
        let Direction { data, ended } = &self.said;
        assert!(data.starts_with(read), "{} bytes were read that were not sent", read.len());
        if to_the_end {
            assert!(*ended, "the end of a stream that the peer did not end");
            assert_eq!(read.len(), data.len(), "the end came before all bytes");
        }
    }

    /// The peer has received exactly the bytes that the user has written.
    pub(crate) fn check_written(&self, written: &[u8]) {
        let Direction { data, ended } = &self.heard;
        assert!(written.starts_with(data), "{} bytes were sent, not those written", data.len());
        assert!(!ended || written.len() == data.len(), "END_STREAM before all bytes");
    }
}

/// The data of these frames on the connection's stream. For frames that break the rules this may be
/// too much: after such a frame a link gives its user nothing more.
fn stream(mut bytes: &[u8]) -> Direction {
    let mut direction = Direction { data: Vec::new(), ended: false };
    while let Some((frame, missing)) = next(&mut bytes) {
        if frame.stream != STREAM || direction.ended {
            continue;
        }
        if frame.kind == DATA {
            direction.data.extend_from_slice(data(&frame, missing));
        }
        direction.ended = frame.is_end() && missing == 0;
    }
    direction
}

/// The content of a DATA frame without its padding (RFC 9113 §6.1), as far as it is there. `missing`
/// bytes of the payload are not.
fn data(frame: &Frame, missing: usize) -> &[u8] {
    match frame.payload.split_first() {
        Some((&padding, rest)) if frame.flags & PADDED != 0 => {
            let padding = usize::from(padding).saturating_sub(missing);
            &rest[..rest.len().saturating_sub(padding)]
        }
        _ => &frame.payload,
    }
}

/// Removes a frame from the front, and returns it with the number of bytes that are missing. Only
/// the last frame can be incomplete, and its content counts: a link gives its user the bytes of a
/// frame as they come.
fn next(bytes: &mut &[u8]) -> Option<(Frame, usize)> {
    let (&[a, b, c, kind, flags, s, t, u, v], rest) = bytes.split_first_chunk()?;
    let len = u32::from_be_bytes([0, a, b, c]) as usize;
    let (payload, rest) = rest.split_at(len.min(rest.len()));
    *bytes = rest;
    let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
    let missing = len - payload.len();
    Some((Frame { kind, flags, stream, payload: payload.to_vec() }, missing))
}
