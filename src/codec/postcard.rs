//! Values in postcard's format, each after its length.

mod stack;

use std::fmt;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, BytesMut};
use postcard::Error;
use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, CodecErrorKind, DEFAULT_MAX_MESSAGE_SIZE, READ_SIZE};
use stack::Input;

/// The bytes of the length before each value.
const PREFIX: usize = size_of::<u32>();

/// A codec for values in the [postcard](https://postcard.jamesmunns.com/wire-format.html) format,
/// between two programs in Rust. It writes `Out` and reads `In`.
///
/// The format is compact and fast, but does not describe the values' types: both ends must have the
/// same types. The length of each value stands before it, in bytes:
///
/// ```text
/// +---------------------+-----------------+---------------------+--------
/// | length: 4 bytes,    | value: `length` | length: 4 bytes,    | value …
/// | unsigned,           | bytes           | unsigned,           |
/// | big-endian          |                 | big-endian          |
/// +---------------------+-----------------+---------------------+--------
/// ```
///
/// [`LengthDelimitedCodec`] with its defaults has the same frames, so a peer can also combine it
/// with any implementation of postcard. No byte is left over after a value.
///
/// A type that needs the data to describe itself can be written, but not read: for example
/// `serde_json::Value`, or an untagged or internally tagged enum. Reading it is a
/// [mismatch](CodecErrorKind::Mismatch).
///
/// # Errors
///
/// Decoding fails with a [`CodecError`] of these kinds:
///
/// - [`Malformed`](CodecErrorKind::Malformed): the bytes are not an `In`, or the frame has bytes
///   left after one, so both ends do not have the same type. The position is that of the last byte
///   that was looked at, of the end of a frame that is too short, or of the first byte that is
///   left.
/// - [`TooLarge`](CodecErrorKind::TooLarge): known from the length, before any of the value is
///   buffered.
/// - [`TooDeep`](CodecErrorKind::TooDeep): reading an `In` that contains itself, such as a tree of
///   boxes, took 256 KiB of the stack. The number of levels depends on the type and the compiler.
///   It is at least hundreds, except for huge types.
/// - [`Truncated`](CodecErrorKind::Truncated): the stream ended inside a frame.
/// - [`Mismatch`](CodecErrorKind::Mismatch): `In` refused its input, for example a variant that the
///   enum does not have.
///
/// After a mismatch, `decode` goes on with the next value. The other errors last: each call returns
/// the same error again and discards its input.
///
/// Encoding fails with `TooLarge`, or with `Mismatch` for a value that postcard cannot express,
/// such as a list whose length is not known beforehand. Then nothing of the value is written, and
/// the codec remains usable.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2conn::codec::{CodecError, Postcard};
///
/// # async fn example(conn: h2conn::Conn) -> Result<(), CodecError> {
/// // With serde's derive, any type of the program's own serves as well.
/// let mut conn = conn.framed(Postcard::<(u32, &str), Result<Vec<u64>, String>>::new());
/// conn.send((7, "primes below ten")).await?;
/// if let Some(Ok(primes)) = conn.next().await.transpose()? {
///     println!("{primes:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// [`LengthDelimitedCodec`]: tokio_util::codec::LengthDelimitedCodec
pub struct Postcard<Out, In = Out> {
    max_message_size: usize,
    /// The number of bytes taken from the input, which is the position of the next byte in the
    /// stream.
    read: u64,
    written: u64,
    /// The error that ended the decoding.
    failed: Option<CodecError>,
    types: PhantomData<fn(Out) -> In>,
}

impl<Out, In> Postcard<Out, In> {
    /// Makes a codec with the default limit for the beginning of a stream.
    pub fn new() -> Postcard<Out, In> {
        Postcard {
            max_message_size: DEFAULT_MAX_MESSAGE_SIZE,
            read: 0,
            written: 0,
            failed: None,
            types: PhantomData,
        }
    }

    /// The most bytes that a value may have when it is read or written, without its length.
    /// Default: 1 MiB. Never more than the length field can express, 4 GiB less one byte.
    ///
    /// A value that is being read is buffered up to this size, so a peer can make each connection
    /// hold this much. The parsed value needs memory in addition, and possibly much more: a list of
    /// empty lists takes 24 bytes for each of its own, a tree of lists about a hundred, and each
    /// `HashMap` reserves room for the entries that it claims to have, up to 1 MiB. A list of
    /// values without bytes, such as `Vec<()>`, is not bounded by any size. Do not read one from a
    /// peer that is not trusted.
    pub fn max_message_size(self, bytes: usize) -> Postcard<Out, In> {
        Postcard { max_message_size: bytes, ..self }
    }

    fn limit(&self) -> usize {
        self.max_message_size.min(u32::MAX as usize)
    }

    fn poison(&mut self, error: CodecError) -> CodecError {
        self.failed.insert(error).clone()
    }

    fn too_large(&self, position: u64) -> CodecError {
        let limit = self.limit();
        let message =
            format!("the value at byte {position} is larger than the limit of {limit} bytes");
        CodecError::new(CodecErrorKind::TooLarge, position, message)
    }

    fn truncated(&self, src: &[u8]) -> CodecError {
        let position = self.read + src.len() as u64;
        let message = format!(
            "the stream ended at byte {position}, inside the frame that began at byte {}",
            self.read
        );
        CodecError::new(CodecErrorKind::Truncated, position, message)
    }
}

impl<Out, In: DeserializeOwned> Postcard<Out, In> {
    fn parse(&self, value: &[u8]) -> Result<In, CodecError> {
        let start = self.read;
        let (result, input) = Input::parse::<In>(value);
        let end = start + (PREFIX + value.len()) as u64;
        let next = end - input.rest.len() as u64;
        match result {
            Ok(item) if input.rest.is_empty() => Ok(item),
            Ok(_) => {
                let message = format!(
                    "malformed frame at byte {start}: the value ends at byte {next} of {end}"
                );
                Err(CodecError::new(CodecErrorKind::Malformed, next, message))
            }
            Err(_) if input.too_deep => {
                let message = format!("the value at byte {start} nests too deep, at byte {next}");
                Err(CodecError::new(CodecErrorKind::TooDeep, next, message))
            }
            Err(error @ (Error::SerdeDeCustom | Error::WontImplement)) => {
                let message = format!("the value at byte {start} does not fit its type");
                let error =
                    CodecError::new(CodecErrorKind::Mismatch, start, message).with_source(error);
                Err(error)
            }
            Err(error) => {
                let position = match error {
                    Error::DeserializeUnexpectedEnd => end,
                    _ => next.saturating_sub(1),
                };
                let message = format!("malformed value at byte {position}");
                let error = CodecError::new(CodecErrorKind::Malformed, position, message)
                    .with_source(error);
                Err(error)
            }
        }
    }
}

impl<Out, In: DeserializeOwned> Decoder for Postcard<Out, In> {
    type Item = In;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        if let Some(error) = &self.failed {
            src.clear();
            return Err(error.clone());
        }
        let Some((&prefix, rest)) = src.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        // A length that does not fit in memory is too large under every limit.
        let len = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
        if len > self.limit() {
            return Err(self.poison(self.too_large(self.read)));
        }
        let Some(value) = rest.get(..len) else {
            let missing = len - rest.len();
            src.reserve(READ_SIZE.min(missing));
            return Ok(None);
        };
        let result = self.parse(value);
        src.advance(PREFIX + len);
        self.read += (PREFIX + len) as u64;
        result.map(Some).map_err(|error| match error.kind() {
            CodecErrorKind::Mismatch => error,
            _ => self.poison(error),
        })
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        match self.decode(src)? {
            None if !src.is_empty() => Err(self.poison(self.truncated(src))),
            value => Ok(value),
        }
    }
}

impl<Out: Serialize, In> Encoder<Out> for Postcard<Out, In> {
    type Error = CodecError;

    fn encode(&mut self, item: Out, dst: &mut BytesMut) -> Result<(), CodecError> {
        let start = dst.len();
        dst.put_bytes(0, PREFIX);
        let limited = Limited { dst: &mut *dst, room: self.limit() };
        if let Err(error) = postcard::serialize_with_flavor(&item, limited) {
            dst.truncate(start);
            if error == Error::SerializeBufferFull {
                return Err(self.too_large(self.written).of_writing());
            }
            let message =
                format!("the value for byte {} cannot be written in postcard", self.written);
            return Err(CodecError::new(CodecErrorKind::Mismatch, self.written, message)
                .with_source(error)
                .of_writing());
        }
        let len = dst.len() - start - PREFIX;
        let prefix = u32::try_from(len).expect("the limit is at most `u32::MAX`");
        dst[start..start + PREFIX].copy_from_slice(&prefix.to_be_bytes());
        self.written += (PREFIX + len) as u64;
        Ok(())
    }
}

impl<Out, In> Clone for Postcard<Out, In> {
    fn clone(&self) -> Postcard<Out, In> {
        Postcard { failed: self.failed.clone(), types: PhantomData, ..*self }
    }
}

impl<Out, In> Default for Postcard<Out, In> {
    fn default() -> Postcard<Out, In> {
        Postcard::new()
    }
}

impl<Out, In> fmt::Debug for Postcard<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postcard")
            .field("max_message_size", &self.max_message_size)
            .field("read", &self.read)
            .field("written", &self.written)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// Stops a value that gets too large while it is written, not after.
struct Limited<'a> {
    dst: &'a mut BytesMut,
    room: usize,
}

impl Flavor for Limited<'_> {
    type Output = ();

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.room = self.room.checked_sub(bytes.len()).ok_or(Error::SerializeBufferFull)?;
        self.dst.extend_from_slice(bytes);
        Ok(())
    }

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
