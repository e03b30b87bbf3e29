//! A scripted peer: it writes and reads single HTTP/2 frames (RFC 9113 §4.1), so that a test
//! decides what is in each frame and which frames share a packet.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;
pub(crate) const PRIORITY_UPDATE: u8 = 0x10;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `POST http://raw/`, in HPACK (RFC 7541): three fields of the static table and an authority.
pub(crate) const REQUEST: &[u8] = b"\x83\x86\x84\x41\x03raw";

/// Like [`REQUEST`], with another path.
pub(crate) fn request(path: &str) -> Vec<u8> {
    let mut fields = b"\x83\x86\x04".to_vec();
    fields.push(path.len() as u8);
    fields.extend(path.as_bytes());
    fields.extend(b"\x41\x03raw");
    fields
}

/// `:status: 200`.
pub(crate) const OK: &[u8] = b"\x88";

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frame { kind, flags, stream, payload } = self;
        write!(f, "frame({kind:#x}, {flags:#x}, {stream}, ")?;
        match payload.first() {
            Some(first) if payload.len() > 100 => write!(f, "&[{first}, …; {}])", payload.len()),
            _ => write!(f, "&{payload:?})"),
        }
    }
}

impl Frame {
    pub(crate) fn is_end(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Reads the next frame, or `None` at the end of the transport.
pub(crate) async fn read_frame(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 9];
    match io.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    };
    let [a, b, c, kind, flags, s, t, u, v] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    io.read_exact(&mut payload).await?;
    let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
    Ok(Some(Frame { kind, flags, stream, payload }))
}

/// One end of a connection. The test writes its frames.
#[derive(Debug)]
pub(crate) struct Raw<T> {
    pub(crate) io: T,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Raw<T> {
    /// A client that has sent its preface and empty SETTINGS.
    pub(crate) async fn client(mut io: T) -> io::Result<Raw<T>> {
        io.write_all(PREFACE).await?;
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Raw { io })
    }

    /// A server that has read the client's preface and sent empty SETTINGS.
    pub(crate) async fn server(mut io: T) -> io::Result<Raw<T>> {
        let mut preface = [0; PREFACE.len()];
        io.read_exact(&mut preface).await?;
        assert_eq!(preface, PREFACE);
        io.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        Ok(Raw { io })
    }

    pub(crate) async fn send(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> io::Result<()> {
        self.io.write_all(&frame(kind, flags, stream, payload)).await
    }

    /// Reads the next frame, or `None` at the end of the transport. SETTINGS and PINGs are
    /// acknowledged on the way.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Frame>> {
        let Some(frame) = read_frame(&mut self.io).await? else { return Ok(None) };
        if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
            let echo = if frame.kind == PING { frame.payload.as_slice() } else { &[] };
            self.send(frame.kind, ACK, 0, echo).await?;
        }
        Ok(Some(frame))
    }

    /// Reads the next frame of this kind on this stream, and skips others.
    pub(crate) async fn wait_for(&mut self, kind: u8, stream: u32) -> io::Result<Frame> {
        while let Some(frame) = self.next().await? {
            if frame.kind == kind && frame.stream == stream {
                return Ok(frame);
            }
        }
        let message =
            format!("the transport ended before a frame of kind {kind} on stream {stream}");
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
    }
}
