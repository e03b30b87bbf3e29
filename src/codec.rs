//! Message formats, as `tokio-util` encoders and decoders.
//!
//! A connection is a stream of bytes, so the bytes of one write may come in two reads. A codec cuts
//! the stream into messages. Each codec here works over any `AsyncRead` and `AsyncWrite`:
//! [`Conn::framed`] takes a whole connection, [`ReadHalf::framed`] and [`WriteHalf::framed`] take
//! its halves, and [`Framed::new`] takes anything else, including `&Conn`.
//!
//! | codec | feature | messages |
//! |---|---|---|
//! | [`Fixed`] | none | buffers of one size |
//! | `Gob` | `gob` | values of Go's types, as its `encoding/gob` has them |
//! | `Json` | `json` | values in JSON, as Go's `encoding/json` has them |
//! | `Postcard` | `postcard` | values in a compact binary format, between programs in Rust |
//!
//! # Lines and frames
//!
//! The codecs of [`tokio_util::codec`] work too. `LinesCodec` has no limit unless you set one.
//! `LengthDelimitedCodec` has a limit of 8 MiB:
//!
//! ```
//! use bytes::Bytes;
//! use futures_util::{SinkExt, StreamExt};
//! use h2conn::Conn;
//! use h2conn::tokio_util::codec::{LengthDelimitedCodec, LinesCodec, LinesCodecError};
//!
//! async fn lines(conn: Conn) -> Result<(), LinesCodecError> {
//!     let mut lines = conn.framed(LinesCodec::new_with_max_length(64 * 1024));
//!     lines.send("hello").await?;
//!     while let Some(line) = lines.next().await.transpose()? {
//!         println!("{line}");
//!     }
//!     Ok(())
//! }
//!
//! async fn frames(conn: Conn) -> std::io::Result<()> {
//!     let codec = LengthDelimitedCodec::builder().max_frame_length(64 * 1024).new_codec();
//!     let mut frames = conn.framed(codec);
//!     frames.send(Bytes::from("hello")).await?;
//!     while let Some(frame) = frames.next().await.transpose()? {
//!         println!("{} bytes", frame.len());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Another format in mid-stream
//!
//! When both ends know after which message the format changes, `Framed::map_codec` replaces the
//! codec and keeps the bytes that were read too far or not yet written. `FramedRead::map_decoder`
//! and `FramedWrite::map_encoder` do this for one direction. To go on without a codec,
//! `Framed::into_parts` returns the buffers: use `read_buf` before the connection's further bytes,
//! and write `write_buf`. `into_inner` loses both buffers.
//!
//! A codec here removes exactly the bytes of the returned message from the buffer. The exception is
//! JSON: the line feed after a value is not part of the value, and may not even have arrived. If
//! the next format does not skip white space, as JSON does, use `Json::newline_terminated` on the
//! reading side.
//!
//! ```
//! use bytes::Bytes;
//! use futures_util::{SinkExt, StreamExt};
//! use h2conn::codec::{CodecError, Fixed, Json};
//! use tokio_util::codec::LengthDelimitedCodec;
//!
//! async fn switch(conn: h2conn::Conn) -> Result<(), CodecError> {
//!     // A greeting each, then four bytes each, then frames.
//!     let mut conn = conn.framed(Json::<String>::new().newline_terminated());
//!     conn.send("hello".to_owned()).await?;
//!     let greeting = conn.next().await.transpose()?;
//!
//!     let mut conn = conn.map_codec(|_| Fixed::<4>::new());
//!     conn.send(*b"\n\0\0\n").await?;
//!     let buffer = conn.next().await.transpose()?;
//!
//!     let mut conn = conn.map_codec(|_| LengthDelimitedCodec::new());
//!     conn.send(Bytes::from("the rest")).await?;
//!     let frame = conn.next().await.transpose()?;
//!
//!     assert_eq!(greeting.as_deref(), Some("hello"));
//!     assert_eq!(buffer, Some(*b"\n\0\0\n"));
//!     assert_eq!(frame.as_deref(), Some(&b"the rest"[..]));
//!     conn.into_inner().close().await.map_err(std::io::Error::from)?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (client, server) = h2conn::testing::pair().await?;
//! tokio::try_join!(switch(client), switch(server))?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Conn::framed`]: crate::Conn::framed
//! [`ReadHalf::framed`]: crate::ReadHalf::framed
//! [`WriteHalf::framed`]: crate::WriteHalf::framed
//! [`Framed::new`]: tokio_util::codec::Framed::new

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

mod fixed;
#[cfg(feature = "gob")]
mod gob;
#[cfg(feature = "json")]
pub mod json;
#[cfg(feature = "postcard")]
mod postcard;

pub use fixed::Fixed;
#[cfg(feature = "gob")]
pub use gob::Gob;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;

/// The default limit on a message, 1 MiB.
#[cfg(any(feature = "gob", feature = "json", feature = "postcard"))]
const DEFAULT_MAX_MESSAGE_SIZE: usize = 1 << 20;

/// Room for one read while a message is incomplete. A `Framed` starts with the same size.
const READ_SIZE: usize = 8 * 1024;

/// The reason why a message could not be read or written.
///
/// One pointer wide and cheap to clone. The text describes this level only, and
/// [`source`](StdError::source) leads to the level below, so print the whole chain. An error of the
/// kind [`Io`](CodecErrorKind::Io) has the text and the source of the error of the stream below,
/// and `io::Error::from` returns that error itself.
///
/// `?` also makes an [`Error`](crate::Error) of it, in a function that returns [`Result`](crate::Result).
#[derive(Clone)]
pub struct CodecError(Arc<Inner>);

struct Inner {
    kind: CodecErrorKind,
    message: Cow<'static, str>,
    position: Option<u64>,
    /// The failure concerns a message that the program writes.
    writing: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of [`CodecError`], each with its [`io::ErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodecErrorKind {
    /// The bytes break the rules of the format. `InvalidData`.
    Malformed,
    /// The message is well-formed, but does not fit the type that it is read as, or the format
    /// cannot express the value. The messages after it are not affected. `InvalidData`.
    Mismatch,
    /// The message is larger than the codec's limit. `InvalidData`.
    TooLarge,
    /// The message nests deeper than the codec allows. `InvalidData`.
    TooDeep,
    /// The bytes ended inside a message. `UnexpectedEof`.
    Truncated,
    /// The stream below the codec failed. Its `io::ErrorKind` is that of the stream's error.
    Io,
}

impl CodecError {
    fn new(
        kind: CodecErrorKind,
        position: u64,
        message: impl Into<Cow<'static, str>>,
    ) -> CodecError {
        let (message, position) = (message.into(), Some(position));
        CodecError(Arc::new(Inner { kind, message, position, writing: false, source: None }))
    }

    /// An error is built before it is shared, so this edits it in place.
    #[cfg(any(feature = "gob", feature = "json", feature = "postcard"))]
    fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> CodecError {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.source = Some(source.into());
        }
        self
    }

    /// The same error, of a message that the program writes.
    #[cfg(any(feature = "gob", feature = "json", feature = "postcard"))]
    fn of_writing(mut self) -> CodecError {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.writing = true;
        }
        self
    }

    /// Whether the failure concerns a message that the program writes, and not one that it reads. For [`CodecErrorKind::Io`] that is not known.
    pub(crate) fn is_of_writing(&self) -> bool {
        self.0.writing
    }

    /// The error of the stream below.
    pub(crate) fn io_error(&self) -> Option<&io::Error> {
        let source = self.0.source.as_ref().filter(|_| self.0.kind == CodecErrorKind::Io)?;
        source.downcast_ref()
    }
}

impl CodecError {
    /// The kind of this failure.
    pub fn kind(&self) -> CodecErrorKind {
        self.0.kind
    }

    /// The position of the failure in the stream, in bytes from the first byte that the codec read,
    /// or wrote if writing failed. `None` for [`Io`](CodecErrorKind::Io).
    ///
    /// It is the position of the byte that cannot stand there, or the first byte of a message that
    /// is too large or does not fit. For a stream that was cut short it is the number of all bytes.
    pub fn position(&self) -> Option<u64> {
        self.0.position
    }

    fn io_kind(&self) -> io::ErrorKind {
        match self.0.kind {
            CodecErrorKind::Malformed
            | CodecErrorKind::Mismatch
            | CodecErrorKind::TooLarge
            | CodecErrorKind::TooDeep => io::ErrorKind::InvalidData,
            CodecErrorKind::Truncated => io::ErrorKind::UnexpectedEof,
            CodecErrorKind::Io => self.io_error().map_or(io::ErrorKind::Other, io::Error::kind),
        }
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("CodecError");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for CodecError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let below: &(dyn StdError + 'static) = self.0.source.as_deref()?;
        match self.0.kind {
            // The text of this error is already that of the error below.
            CodecErrorKind::Io => below.source(),
            _ => Some(below),
        }
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> CodecError {
        CodecError(Arc::new(Inner {
            kind: CodecErrorKind::Io,
            message: error.to_string().into(),
            position: None,
            writing: false,
            source: Some(Box::new(error)),
        }))
    }
}

/// Returns the error of the stream below, unless a clone of this error still holds it. Every other
/// error is carried inside.
impl From<CodecError> for io::Error {
    fn from(mut error: CodecError) -> io::Error {
        let kind = error.io_kind();
        if error.kind() == CodecErrorKind::Io
            && let Some(inner) = Arc::get_mut(&mut error.0)
            && let Some(source) = inner.source.take()
        {
            return match source.downcast::<io::Error>() {
                Ok(below) => *below,
                Err(source) => io::Error::new(kind, source),
            };
        }
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_stream_below_comes_back_as_it_was() {
        let below = io::Error::from(crate::Error::new(crate::ErrorKind::Reset, "gone"));
        let error = CodecError::from(below);
        assert_eq!((error.kind(), error.position()), (CodecErrorKind::Io, None));
        assert_eq!(error.to_string(), "gone");
        assert!(error.source().is_none(), "it would be printed twice");

        let shared = io::Error::from(error.clone());
        assert_eq!(shared.kind(), io::ErrorKind::ConnectionReset);
        drop(shared);
        let alone = io::Error::from(error);
        assert_eq!(alone.kind(), io::ErrorKind::ConnectionReset);
        assert!(crate::Error::from_io(&alone).is_some());
    }
}
