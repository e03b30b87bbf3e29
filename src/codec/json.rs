//! A sequence of JSON values, and the help that serde needs to read Go's.

mod by_ref;
mod finite;
mod null;
mod scan;
mod write;

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, CodecErrorKind, DEFAULT_MAX_MESSAGE_SIZE, READ_SIZE};
pub use by_ref::ByRef;
pub use null::null_as_default;
use scan::{Fault, MAX_DEPTH, Scanner, What};
use write::{Unwritten, write};

/// A codec for a sequence of JSON values. It writes `Out` and reads `In`. [`by_ref`](Json::by_ref) has it write `&Out`.
///
/// The format is that of the `Encoder` and `Decoder` in Go's `encoding/json`. A value is written in
/// one line, with a line feed after it. Line ends within a `serde_json::value::RawValue` become
/// spaces. Values are read with or without white space between them, as `{"a":1}{"b":2}` or one a
/// line, and may span several lines.
///
/// A value is returned as soon as its last byte is there. Only a number needs the byte after it, or
/// the end of the stream, to be complete. A line feed after a value then stays in the buffer, if it
/// has come at all. The next value skips it, but another format would find it in its way: use
/// [`newline_terminated`](Json::newline_terminated) then.
///
/// Reading takes time in proportion to the bytes, however few arrive at once. A value is parsed
/// only when it is complete, and no byte is searched twice for the value's end.
///
/// A value that is read may nest 127 deep. The depth of a written value is not checked.
///
/// # Errors
///
/// Decoding fails with a [`CodecError`] of these kinds:
///
/// - [`Malformed`](CodecErrorKind::Malformed): not JSON. A byte order mark is malformed too.
/// - [`TooLarge`](CodecErrorKind::TooLarge) and [`TooDeep`](CodecErrorKind::TooDeep): detected
///   before the value is complete, so no more of it is buffered.
/// - [`Truncated`](CodecErrorKind::Truncated): the stream ended inside a value. Its bytes were
///   checked only as far as needed to find the value's end.
/// - [`Mismatch`](CodecErrorKind::Mismatch): the bytes are JSON, but not an `In`. Half a surrogate
///   pair in a string, for which Go puts U+FFFD, is a mismatch too.
///
/// After a mismatch, `decode` goes on with the next value. After every other error the next value's
/// start is unknown, so each call returns the same error again and discards its input.
///
/// A `Framed` or `FramedRead` ends its stream with `None` after any error. When it is polled again,
/// it first waits for more bytes, even if it has a value in its buffer. To survive values of the
/// wrong shape, read `serde_json::Value`s and convert each with `serde_json::from_value`.
///
/// Encoding fails with `TooLarge`, or with `Mismatch` for a value that JSON cannot express: NaN, an
/// infinity, a map whose keys are lists. Then nothing of the value is written, and the codec
/// remains usable. A `serde_json::Value` cannot hold NaN: `json!(f64::NAN)` has already made it
/// `null`.
///
/// # Go's JSON is freer than serde's
///
/// Go fits the values that it reads to a type more freely than serde does. If the other end is in
/// Go, the types here must say so:
///
/// | Go | serde | say |
/// |---|---|---|
/// | writes a nil slice, map or pointer as `null`; reads `null` as the zero value | takes `null` for an `Option` only | `Option<T>`, or [`null_as_default`] |
/// | leaves out fields with `omitempty`; a field that does not come is zero | a field must come, but for an `Option` | `#[serde(default)]` |
/// | writes `[]byte` as base64; reads a list of numbers too | a `Vec<u8>` is a list of numbers, both ways | `serde_with::base64::Base64` of the crate [`serde_with`] |
/// | writes a field's name as it stands in Go; reads it in upper or lower case | takes just one name | `#[serde(rename_all = "PascalCase")]`, `alias = "…"` |
/// | of a field that comes twice takes the last | `Mismatch`; a map takes the last | |
/// | puts U+FFFD for bytes that are no UTF-8, and for half a surrogate pair | `Malformed`; `Mismatch` | |
/// | reads `-0` as an integer | `Mismatch` | |
/// | reads no struct from a list | takes the fields in turn | |
///
/// Go's encoder writes none of the last four, except for the `-0` of a float, and for the content
/// of a `RawMessage`.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2conn::codec::{CodecError, Json};
/// use tokio::io::{AsyncRead, AsyncWrite};
/// use tokio_util::codec::Framed;
///
/// async fn ask<T>(conn: T) -> Result<Option<u64>, CodecError>
/// where
///     T: AsyncRead + AsyncWrite + Unpin,
/// {
///     let mut conn = Framed::new(conn, Json::<(&str, [u64; 2]), u64>::new());
///     conn.send(("add", [1, 2])).await?;
///     conn.next().await.transpose()
/// }
///
/// async fn answer<T>(conn: T) -> Result<(), CodecError>
/// where
///     T: AsyncRead + AsyncWrite + Unpin,
/// {
///     let mut conn = Framed::new(conn, Json::<u64, (String, Vec<u64>)>::new());
///     while let Some((_, numbers)) = conn.next().await.transpose()? {
///         conn.send(numbers.iter().sum()).await?;
///     }
///     Ok(())
/// }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (near, far) = tokio::io::duplex(64);
/// let (sum, answered) = tokio::join!(ask(near), answer(far));
/// assert_eq!(sum?, Some(3));
/// # answered
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`serde_with`]: https://docs.rs/serde_with/latest/serde_with/base64/
pub struct Json<Out, In = Out> {
    max_message_size: usize,
    newline_terminated: bool,
    scanner: Scanner,
    /// The number of bytes taken from the input, which is the position of the next byte in the
    /// stream.
    read: u64,
    written: u64,
    /// The error that ended the decoding.
    failed: Option<CodecError>,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out, In> Json<Out, In> {
    /// Makes a codec with the default limit for the beginning of a stream.
    pub fn new() -> Json<Out, In> {
        Json {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            newline_terminated: false,
            scanner: Scanner::default(),
            read: 0,
            written: 0,
            failed: None,
            types: PhantomData,
        }
    }

    /// The most bytes that a value may have when it is read or written, without the white space
    /// around it. Default: 1 MiB.
    ///
    /// A value that is being read is buffered up to this size, so a peer can make each connection
    /// hold this much. The parsed value needs memory in addition: a `String` as much again, a
    /// `serde_json::Value` up to a hundred times as much, as in `[{"":0},{"":0}]`.
    pub fn max_message_size(self, bytes: usize) -> Json<Out, In> {
        Json { max_message_size: bytes, ..self }
    }

    /// Makes each value that is read end with a line feed, LF or CR LF, right after it. By default
    /// nothing needs to follow.
    ///
    /// The value is returned when the line feed has come, and the line feed is taken with the
    /// value, so another format can follow. A value that is followed by another byte is malformed.
    /// Only the end of the stream may replace the line feed. This codec and Go's write the line
    /// feed together with the value, so the reader does not wait for it.
    pub fn newline_terminated(self) -> Json<Out, In> {
        Json { newline_terminated: true, ..self }
    }

    fn skip_white_space(&mut self, src: &mut BytesMut) {
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let spaces = src.iter().take_while(is_space).count();
        if spaces > 0 {
            self.consume(src, spaces);
        }
    }

    fn consume(&mut self, src: &mut BytesMut, len: usize) {
        src.advance(len);
        self.read += len as u64;
    }

    #[cold]
    fn poison(&mut self, error: CodecError) -> CodecError {
        self.failed.insert(error).clone()
    }

    #[cold]
    fn fault(&self, fault: Fault, src: &[u8]) -> CodecError {
        let position = self.read + fault.at as u64;
        match fault.what {
            What::Expected(expected) => {
                let found = src[fault.at].escape_ascii();
                let message = format!(
                    "malformed JSON at byte {position}: expected {expected}, not `{found}`"
                );
                CodecError::new(CodecErrorKind::Malformed, position, message)
            }
            What::TooDeep => {
                let message = format!(
                    "the JSON value at byte {} nests deeper than {MAX_DEPTH}, at byte {position}",
                    self.read
                );
                CodecError::new(CodecErrorKind::TooDeep, position, message)
            }
        }
    }

    #[cold]
    fn truncated(&self, src: &[u8]) -> CodecError {
        let position = self.read + src.len() as u64;
        let message = format!(
            "the stream ended at byte {position}, inside the JSON value that began at byte {}",
            self.read
        );
        CodecError::new(CodecErrorKind::Truncated, position, message)
    }

    #[cold]
    fn too_large(&self, position: u64) -> CodecError {
        let message = format!(
            "the JSON value at byte {position} is larger than the limit of {} bytes",
            self.max_message_size
        );
        CodecError::new(CodecErrorKind::TooLarge, position, message)
    }
}

impl<Out, In: DeserializeOwned> Json<Out, In> {
    /// The part of `decode` for bytes that may end a value, separate so that `decode` itself is
    /// short.
    #[inline(never)]
    fn decode_further(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        if let Some(error) = &self.failed {
            src.clear();
            return Err(error.clone());
        }
        self.skip_white_space(src);
        // One byte above the limit, because a number ends only at the byte after it.
        let limit = self.max_message_size.saturating_add(1);
        let window = &src[..src.len().min(limit)];
        match self.scanner.scan(window) {
            Ok(Some(len)) if len <= self.max_message_size => self.finish(src, len),
            Ok(Some(_)) => Err(self.poison(self.too_large(self.read))),
            Ok(None) => self.await_more(src),
            Err(fault) => Err(self.poison(self.fault(fault, src))),
        }
    }

    /// Makes room for more of a value that may grow.
    fn await_more(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        let Some(left) = self.max_message_size.checked_sub(src.len()) else {
            return Err(self.poison(self.too_large(self.read)));
        };
        if !src.is_empty() {
            src.reserve(READ_SIZE.min(left.saturating_add(1)));
        }
        Ok(None)
    }

    /// Takes a complete value, unless its line feed is still to come.
    fn finish(&mut self, src: &mut BytesMut, len: usize) -> Result<Option<In>, CodecError> {
        let ending = match &src[len..] {
            _ if !self.newline_terminated => 0,
            [] | [b'\r'] => return Ok(None),
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [next, ..] => {
                let at = len + usize::from(*next == b'\r');
                let fault = Fault { at, what: What::Expected("a line feed") };
                return Err(self.poison(self.fault(fault, src)));
            }
        };
        self.take(src, len, ending).map(Some)
    }

    fn take(&mut self, src: &mut BytesMut, len: usize, ending: usize) -> Result<In, CodecError> {
        let result = self.parse(&src[..len]);
        self.consume(src, len + ending);
        self.scanner = Scanner::default();
        result.map_err(|error| match error.kind() {
            CodecErrorKind::Mismatch => error,
            _ => self.poison(error),
        })
    }

    fn parse(&self, value: &[u8]) -> Result<In, CodecError> {
        // serde_json does not check the text of strings that `In` does not use.
        let text = std::str::from_utf8(value)
            .map_err(|error| self.malformed(error.valid_up_to(), error))?;
        serde_json::from_str(text).map_err(|error| {
            // The error does not show whether this is JSON: a number out of range counts as bad
            // syntax, and a wrong type hides bad syntax after it.
            match serde_json::from_str::<IgnoredAny>(text) {
                Ok(IgnoredAny) => {
                    let message =
                        format!("the JSON value at byte {} does not fit its type", self.read);
                    CodecError::new(CodecErrorKind::Mismatch, self.read, message).with_source(error)
                }
                Err(error) => self.malformed(offset(text, &error), error),
            }
        })
    }

    fn malformed(
        &self,
        at: usize,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> CodecError {
        let position = self.read + at as u64;
        let message = format!("malformed JSON at byte {position}");
        CodecError::new(CodecErrorKind::Malformed, position, message).with_source(source)
    }
}

impl<Out, In: DeserializeOwned> Decoder for Json<Out, In> {
    type Item = In;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        // Most small pieces only continue a value, and this costs no more than one look at their
        // bytes.
        if self.failed.is_none() && self.scanner.skip(src).is_none() {
            return self.await_more(src);
        }
        self.decode_further(src)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        match self.decode(src)? {
            None if src.is_empty() => Ok(None),
            None => match self.scanner.scan(src) {
                Ok(Some(len)) => self.take(src, len, src.len() - len).map(Some),
                _ if self.scanner.may_end() => self.take(src, src.len(), 0).map(Some),
                _ => Err(self.poison(self.truncated(src))),
            },
            value => Ok(value),
        }
    }
}

impl<Out: Serialize, In> Encoder<Out> for Json<Out, In> {
    type Error = CodecError;

    fn encode(&mut self, item: Out, dst: &mut BytesMut) -> Result<(), CodecError> {
        self.encode_value(&item, dst)
    }
}

impl<Out, In> Json<Out, In> {
    fn encode_value(&mut self, value: &Out, dst: &mut BytesMut) -> Result<(), CodecError>
    where
        Out: Serialize,
    {
        let start = dst.len();
        match write(value, dst, self.max_message_size) {
            Ok(()) => {}
            Err(Unwritten::TooLarge) => return Err(self.too_large(self.written).of_writing()),
            Err(Unwritten::Mismatch(error)) => {
                let at = self.written;
                let message = format!("the value for byte {at} cannot be written as JSON");
                let error =
                    CodecError::new(CodecErrorKind::Mismatch, at, message).with_source(error);
                return Err(error.of_writing());
            }
        }
        dst.put_u8(b'\n');
        self.written += (dst.len() - start) as u64;
        Ok(())
    }
}

impl<Out, In> Clone for Json<Out, In> {
    fn clone(&self) -> Json<Out, In> {
        Json {
            max_message_size: self.max_message_size,
            newline_terminated: self.newline_terminated,
            scanner: self.scanner.clone(),
            read: self.read,
            written: self.written,
            failed: self.failed.clone(),
            types: PhantomData,
        }
    }
}

impl<Out, In> Default for Json<Out, In> {
    fn default() -> Json<Out, In> {
        Json::new()
    }
}

impl<Out, In> fmt::Debug for Json<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json")
            .field("max_message_size", &self.max_message_size)
            .field("read", &self.read)
            .field("written", &self.written)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// The byte that a syntax error is about. Its line and column count from one.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

#[cfg(test)]
mod tests;
