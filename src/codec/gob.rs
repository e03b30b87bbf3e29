//! A sequence of gob values.

mod cursor;
mod gate;

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, BytesMut};
use gobwire::{Decode, Encode, Progress, TypeTable, ids, parse_length_prefix};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, CodecErrorKind, DEFAULT_MAX_MESSAGE_SIZE, READ_SIZE};
use cursor::{Fault, What};
use gate::{Gate, MAX_DEPTH, Step};

/// A codec for a sequence of gob values. It writes `Out` and reads `In`.
///
/// The format is that of the `Encoder` and `Decoder` in Go's [`encoding/gob`]. The types are those
/// of the crate [`gobwire`], which must be a dependency of the program too. It has the traits for
/// Go's basic types, slices, arrays, maps and pointers, and derives them for structs.
///
/// | Go | Rust |
/// |---|---|
/// | `int`, `int8` … `int64`; `uint`, `uint8` … `uint64`, `uintptr` | `i8` … `i64`; `u8` … `u64` |
/// | `float32`, `float64`, `complex64`, `complex128`, `bool` | `f32`, `f64`, [`gobwire::Complex`], `bool` |
/// | `string`, `[]byte` | `String` (only UTF-8), `Vec<u8>` |
/// | `[]T`, `[N]T`, `map[K]V`, `*T` | `Vec<T>`, `[T; N]`, `HashMap<K, V>` or `BTreeMap<K, V>`, `Option<T>` |
/// | structs, with embedded ones as a field of their type's name | structs with `#[derive(Gob)]` |
/// | `time.Time` | [`gobwire::GoTime`] |
/// | `any` and other interfaces | [`Option<gobwire::Interface>`](gobwire::Interface) |
/// | other types that are a `GobEncoder`, or an `encoding.BinaryMarshaler` | [`gobwire::GobBytes`], [`gobwire::BinaryBytes`] |
/// | a value of any type | [`gobwire::Dynamic`], as `In` or `Out` itself and not within others |
///
/// As in Go, fields are matched by name. A zero field is not sent, a field that the other side does
/// not have is skipped, and a field that does not come gets the default of its type: each value is
/// read into a new `In::default()`.
///
/// A pointer is an `Option<T>`. gob does not tell a nil field from a pointer to zero: neither Go
/// nor this codec sends either of them. So `Some(0)`, `Some(false)`, `Some("".into())` or a `Some`
/// of an empty list arrives as `None`, or nil. A pointer to a struct or an array is always sent,
/// and arrives as `Some`. So is each pointer in a list or a map, where nil cannot be sent. Where
/// nil and zero mean different things, point to a struct that has the value.
///
/// As in Go, a time whose zone is west of UTC by a number of seconds that is not whole minutes is read with another
/// zone. The instant is right.
///
/// Differences from Go:
///
/// - An empty map is sent as nil. A pointer to an empty map or to the zero `time.Time`, which Go
///   sends, is sent as nil too.
/// - Recursion that does not pass through a struct, as in `type T []T`, is not supported. In an
///   interface it must begin with the struct: a `Node` that has a `[]Node`, but not a `[]Node`.
/// - Two local structs with the same [`type_name`](std::any::type_name), for example in two blocks
///   of one function, cannot be used with one codec.
/// - A value in an interface carries its whole type. Types that contain many other types many times
///   are refused there as [`TooLarge`](CodecErrorKind::TooLarge).
///
/// A stream defines each type once, before the first value of that type. So one codec must handle
/// one whole stream, from its first byte on, and may both read and write.
///
/// Reading takes time in proportion to the bytes, however few arrive at once. A value that is read
/// may nest 127 deep. The depth of a written value is not checked.
///
/// # Errors
///
/// Decoding fails with a [`CodecError`] of these kinds:
///
/// - [`Malformed`](CodecErrorKind::Malformed): not gob.
/// - [`TooLarge`](CodecErrorKind::TooLarge): the length before a message is too large, so none of
///   the message is buffered, or the value would take too much memory.
///   [`TooDeep`](CodecErrorKind::TooDeep): the value nests too deep.
/// - [`Truncated`](CodecErrorKind::Truncated): the stream ended inside a message, or between a
///   definition and the value after it.
/// - [`Mismatch`](CodecErrorKind::Mismatch): the bytes are gob, but not an `In`. Examples are a
///   struct that has no field in common with `In`, a number out of range, and a string that is not
///   UTF-8.
///
/// After a mismatch, `decode` goes on with the next value. After every other error the next value's
/// start is unknown, so each call returns the same error again and discards its input.
///
/// A `Framed` or `FramedRead` ends its stream with `None` after any error. When it is polled again,
/// it first waits for more bytes, even if it has a value in its buffer.
///
/// Encoding fails with `TooLarge`, or with `Mismatch` for a value that gob cannot express, such as
/// `None` in a list. Then nothing of the value is written, and the codec remains usable.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use gobwire::Gob;
/// use h2conn::codec::{self, CodecError};
/// use tokio::io::{AsyncRead, AsyncWrite};
/// use tokio_util::codec::Framed;
///
/// // type Point struct { X, Y int }
/// #[derive(Gob, Debug, Default, PartialEq)]
/// struct Point {
///     #[gob(name = "X")]
///     x: i64,
///     #[gob(name = "Y")]
///     y: i64,
/// }
///
/// async fn mirror<T>(conn: T) -> Result<(), CodecError>
/// where
///     T: AsyncRead + AsyncWrite + Unpin,
/// {
///     let mut conn = Framed::new(conn, codec::Gob::<Point>::new());
///     while let Some(Point { x, y }) = conn.next().await.transpose()? {
///         conn.send(Point { x: y, y: x }).await?;
///     }
///     Ok(())
/// }
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let (near, far) = tokio::io::duplex(64);
/// # let ask = async move {
/// #     let mut near = Framed::new(near, codec::Gob::<Point>::new());
/// #     near.send(Point { x: 22, y: 33 }).await?;
/// #     near.next().await.transpose()
/// # };
/// # let (answer, mirrored) = tokio::join!(ask, mirror(far));
/// # assert_eq!(answer?, Some(Point { x: 33, y: 22 }));
/// # mirrored
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`encoding/gob`]: https://pkg.go.dev/encoding/gob
pub struct Gob<Out, In = Out> {
    max_message_size: usize,
    gate: Gate,
    decoder: gobwire::Decoder,
    encoder: gobwire::Encoder,
    /// The number of bytes taken from the input, which is the position of the next byte in the
    /// stream.
    read: u64,
    /// The position of the first byte of the value that is being read.
    value_start: u64,
    /// Whether a value must come before the stream may end.
    owes_value: bool,
    written: u64,
    /// Type definitions of a value that was not written. They go before the next value.
    unsent: Vec<u8>,
    /// The error that ended the decoding.
    failed: Option<CodecError>,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out, In: Decode> Gob<Out, In> {
    /// Makes a codec with the default limit for the beginning of a stream.
    pub fn new() -> Gob<Out, In> {
        let none = TypeTable::default();
        let any = In::compatible(&none, ids::BOOL) && In::compatible(&none, ids::STRING);
        Gob {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            gate: Gate::new(DEFAULT_MAX_MESSAGE_SIZE, any),
            decoder: gobwire::Decoder::new(),
            encoder: gobwire::Encoder::new(),
            read: 0,
            value_start: 0,
            owes_value: false,
            written: 0,
            unsent: Vec::new(),
            failed: None,
            types: PhantomData,
        }
    }
}

impl<Out, In> Gob<Out, In> {
    /// The most bytes that a value may have when it is read or written, without the lengths and
    /// type definitions before it. All type definitions that are read in a stream may have the same
    /// number of bytes. Default: 1 MiB.
    ///
    /// A message that is being read is buffered up to this size, so a peer can make each connection
    /// hold this much. While a value is complete, the connection holds a few times as much, and the
    /// types. The parsed value needs memory too: your own types take their size, where an element
    /// may have come as one byte, and [`gobwire::Interface`] and [`gobwire::Dynamic`] take about 64
    /// times this limit at most.
    pub fn max_message_size(mut self, bytes: usize) -> Gob<Out, In> {
        self.gate.set_limit(bytes);
        Gob { max_message_size: bytes, ..self }
    }

    fn poison(&mut self, error: CodecError) -> CodecError {
        self.failed.insert(error).clone()
    }

    /// The length at the beginning and the width of that length, if they are there.
    fn prefix(&self, src: &[u8]) -> Result<Option<(usize, usize)>, CodecError> {
        match parse_length_prefix(src) {
            Ok(Some((_, length))) if length > self.max_message_size => {
                let what = if self.gate.is_within_a_value() { self.value_start } else { self.read };
                Err(self.too_large(what, self.read))
            }
            Ok(prefix) => Ok(prefix),
            Err(error) => {
                let message = format!("malformed gob at byte {}: expected a length", self.read);
                Err(CodecError::new(CodecErrorKind::Malformed, self.read, message)
                    .with_source(error))
            }
        }
    }

    /// Makes the error for a fault in the message whose first byte stands at `start`.
    fn fault(&self, fault: Fault, start: u64) -> CodecError {
        let at = start + fault.at as u64;
        let limit = self.max_message_size;
        let value = self.value_start;
        match fault.what {
            What::Malformed(expected) => {
                let message = format!("malformed gob at byte {at}: expected {expected}");
                CodecError::new(CodecErrorKind::Malformed, at, message)
            }
            What::Refused(source) => {
                let message = format!("malformed gob at byte {at}");
                CodecError::new(CodecErrorKind::Malformed, at, message).with_source(source)
            }
            What::TooDeep => {
                let message = format!(
                    "the gob value at byte {value} nests deeper than {MAX_DEPTH}, at byte {at}"
                );
                CodecError::new(CodecErrorKind::TooDeep, at, message)
            }
            What::TooLarge => self.too_large(value, value),
            What::TooManyTypes => {
                let message = format!(
                    "the type definitions up to byte {at} are larger than the limit of {limit} bytes"
                );
                CodecError::new(CodecErrorKind::TooLarge, at, message)
            }
            What::Expands => {
                let message = format!(
                    "the gob value at byte {value} takes too much memory for the limit of {limit} bytes"
                );
                CodecError::new(CodecErrorKind::TooLarge, value, message)
            }
        }
    }

    fn too_large(&self, value: u64, position: u64) -> CodecError {
        let message = format!(
            "the gob value at byte {value} is larger than the limit of {} bytes",
            self.max_message_size
        );
        CodecError::new(CodecErrorKind::TooLarge, position, message)
    }

    fn truncated(&self, rest: usize) -> CodecError {
        let position = self.read + rest as u64;
        let message = format!("the stream ended at byte {position}, before the end of a gob value");
        CodecError::new(CodecErrorKind::Truncated, position, message)
    }
}

impl<Out, In: Decode + Default> Gob<Out, In> {
    fn parse(&mut self) -> Result<In, CodecError> {
        let pushed = self.decoder.push_message(self.gate.value());
        self.gate.clear();
        let parsed = match pushed {
            Ok(Progress::Ready) => self.decoder.decode(),
            Ok(_) => Err(gobwire::Error::UnexpectedEof),
            Err(error) => Err(error),
        };
        parsed.map_err(|error| {
            use gobwire::Error::{InvalidUtf8, Marshal, Overflow, TypeMismatch, Unsupported};
            let position = self.value_start;
            match error {
                InvalidUtf8 | Marshal(_) | Overflow(_) | TypeMismatch(_) | Unsupported(_) => {
                    let message = format!("the gob value at byte {position} does not fit its type");
                    CodecError::new(CodecErrorKind::Mismatch, position, message).with_source(error)
                }
                error => {
                    let message = format!("malformed gob in the value at byte {position}");
                    let error = CodecError::new(CodecErrorKind::Malformed, position, message)
                        .with_source(error);
                    self.poison(error)
                }
            }
        })
    }
}

impl<Out, In: Decode + Default> Decoder for Gob<Out, In> {
    type Item = In;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        loop {
            if let Some(error) = &self.failed {
                src.clear();
                return Err(error.clone());
            }
            let (width, length) = match self.prefix(src) {
                Ok(Some(prefix)) => prefix,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.poison(error)),
            };
            let missing = length.saturating_add(width).saturating_sub(src.len());
            if missing > 0 {
                src.reserve(READ_SIZE.min(missing));
                return Ok(None);
            }
            if !self.gate.is_within_a_value() {
                self.value_start = self.read;
            }
            let start = self.read + width as u64;
            let step = self.gate.message(&src[width..width + length], &mut self.decoder);
            src.advance(width + length);
            self.read = start + length as u64;
            self.owes_value = !matches!(step, Ok(Step::Value));
            match step {
                Ok(Step::Definition | Step::Part) => {}
                Ok(Step::Value) => return self.parse().map(Some),
                Err(fault) => {
                    let error = self.fault(fault, start);
                    return Err(self.poison(error));
                }
            }
        }
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        match self.decode(src)? {
            None if src.is_empty() && !self.owes_value => Ok(None),
            None => Err(self.poison(self.truncated(src.len()))),
            value => Ok(value),
        }
    }
}

impl<Out: Encode, In> Encoder<Out> for Gob<Out, In> {
    type Error = CodecError;

    fn encode(&mut self, item: Out, dst: &mut BytesMut) -> Result<(), CodecError> {
        let mut messages = std::mem::take(&mut self.unsent);
        let before = messages.len();
        if let Err(error) = self.encoder.encode_into(&item, &mut messages) {
            self.unsent = messages;
            let message = format!("the value for byte {} cannot be written as gob", self.written);
            return Err(CodecError::new(CodecErrorKind::Mismatch, self.written, message)
                .with_source(error)
                .of_writing());
        }
        let (value, size) = last_message(&messages, before);
        if size > self.max_message_size {
            // The encoder does not repeat the definitions of this value, so keep them for the next.
            messages.truncate(value);
            messages.shrink_to_fit();
            self.unsent = messages;
            return Err(self.too_large(self.written, self.written).of_writing());
        }
        dst.extend_from_slice(&messages);
        self.written += messages.len() as u64;
        Ok(())
    }
}

/// The start of the last message, and the length of its body.
fn last_message(messages: &[u8], mut at: usize) -> (usize, usize) {
    while let Ok(Some((width, length))) = parse_length_prefix(&messages[at..]) {
        let end = at + width + length;
        if end >= messages.len() {
            return (at, length);
        }
        at = end;
    }
    (at, 0)
}

impl<Out, In: Decode> Default for Gob<Out, In> {
    fn default() -> Gob<Out, In> {
        Gob::new()
    }
}

impl<Out, In> fmt::Debug for Gob<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gob")
            .field("max_message_size", &self.max_message_size)
            .field("read", &self.read)
            .field("written", &self.written)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
