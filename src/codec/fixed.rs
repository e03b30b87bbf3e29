//! Buffers of one size.

use bytes::{Buf, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::{CodecError, CodecErrorKind, READ_SIZE};

/// A codec for buffers of `N` bytes each.
///
/// Only the buffers go over the wire, so both ends must know `N`. This needs no feature. A buffer
/// is an array that is moved by value. Above a few kilobytes use [`LengthDelimitedCodec`], or read
/// and write without a codec.
///
/// [`LengthDelimitedCodec`]: tokio_util::codec::LengthDelimitedCodec
///
/// # Errors
///
/// Decoding fails with a [`CodecError`] of the kind [`Truncated`](CodecErrorKind::Truncated) when
/// the stream ends inside a buffer. Every further call fails in the same way. Encoding does not
/// fail.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2conn::codec::{CodecError, Fixed};
///
/// # async fn example(conn: h2conn::Conn) -> Result<(), CodecError> {
/// let mut samples = conn.framed(Fixed::<4>::new());
/// samples.send(1.5_f32.to_be_bytes()).await?;
/// while let Some(sample) = samples.next().await.transpose()? {
///     println!("{}", f32::from_be_bytes(sample));
/// }
/// # Ok(())
/// # }
/// ```
///
/// Buffers of zero bytes cannot be told apart, so they do not compile:
///
/// ```compile_fail
/// let codec = h2conn::codec::Fixed::<0>::new();
/// ```
#[derive(Clone, Debug)]
pub struct Fixed<const N: usize> {
    read: u64,
    /// The error that ended the decoding.
    failed: Option<CodecError>,
}

impl<const N: usize> Fixed<N> {
    /// Makes a codec for the beginning of a stream.
    pub fn new() -> Fixed<N> {
        const { assert!(N > 0, "buffers of no bytes cannot be told apart") };
        Fixed { read: 0, failed: None }
    }
}

impl<const N: usize> Default for Fixed<N> {
    fn default() -> Fixed<N> {
        Fixed::new()
    }
}

impl<const N: usize> Decoder for Fixed<N> {
    type Item = [u8; N];
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<[u8; N]>, CodecError> {
        if let Some(error) = &self.failed {
            src.clear();
            return Err(error.clone());
        }
        let Some(&buffer) = src.first_chunk::<N>() else {
            src.reserve(READ_SIZE.min(N - src.len()));
            return Ok(None);
        };
        src.advance(N);
        self.read += N as u64;
        Ok(Some(buffer))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<[u8; N]>, CodecError> {
        match self.decode(src)? {
            None if !src.is_empty() => {
                let position = self.read + src.len() as u64;
                let message = format!(
                    "the stream ended at byte {position}, inside the buffer of {N} bytes that \
                     began at byte {}",
                    self.read
                );
                let error = CodecError::new(CodecErrorKind::Truncated, position, message);
                Err(self.failed.insert(error).clone())
            }
            buffer => Ok(buffer),
        }
    }
}

// There is no impl for `&[u8; N]`: with two kinds of items, every call of a sink's `close` and
// `flush` would have to name one of them.
impl<const N: usize> Encoder<[u8; N]> for Fixed<N> {
    type Error = CodecError;

    fn encode(&mut self, item: [u8; N], dst: &mut BytesMut) -> Result<(), CodecError> {
        dst.extend_from_slice(&item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::{SinkExt, StreamExt};
    use proptest::prelude::*;
    use tokio_util::codec::Framed;

    use super::*;

    #[test]
    fn a_stream_that_ends_inside_a_buffer_is_truncated() {
        let mut codec = Fixed::<4>::new();
        let mut src = BytesMut::from("abcdef");
        assert_eq!(codec.decode_eof(&mut src).expect("four bytes"), Some(*b"abcd"));
        let error = codec.decode_eof(&mut src).expect_err("two bytes");
        assert_eq!((error.kind(), error.position()), (CodecErrorKind::Truncated, Some(6)));
        let message =
            "the stream ended at byte 6, inside the buffer of 4 bytes that began at byte 4";
        assert_eq!(error.to_string(), message);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::UnexpectedEof);

        src.extend_from_slice(b"abcdefgh");
        assert_eq!(codec.decode(&mut src).expect_err("the same").to_string(), message);
        assert!(src.is_empty());
    }

    #[test]
    fn a_large_buffer_takes_memory_as_it_arrives() {
        let mut codec = Fixed::<{ 1 << 16 }>::new();
        let mut src = BytesMut::from("a");
        assert!(codec.decode(&mut src).expect("no error").is_none());
        assert!(src.capacity() < 1 << 15, "{}", src.capacity());
    }

    #[tokio::test]
    async fn it_works_over_a_stream() {
        let (near, far) = tokio::io::duplex(7);
        let send = async move {
            let mut near = Framed::new(near, Fixed::<10>::new());
            for n in 0..100 {
                near.send([n; 10]).await.expect("it is read");
            }
            near.close().await.expect("it is open");
        };
        let receive = Framed::new(far, Fixed::<10>::new()).collect::<Vec<_>>();
        let ((), received) = tokio::join!(send, receive);
        let received: Vec<_> = received.into_iter().map(|item| item.expect("a buffer")).collect();
        assert_eq!(received, (0..100).map(|n| [n; 10]).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn buffers_are_the_same_wherever_their_bytes_are_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            pieces in prop::collection::vec(1..20_usize, 100),
        ) {
            let (mut codec, mut src) = (Fixed::<3>::new(), BytesMut::new());
            let (mut rest, mut out) = (&bytes[..], Vec::new());
            for piece in pieces {
                let (now, later) = rest.split_at(piece.min(rest.len()));
                src.extend_from_slice(now);
                rest = later;
                while let Some(buffer) = codec.decode(&mut src).expect("no error") {
                    out.extend(buffer);
                }
            }
            let end = codec.decode_eof(&mut src).map_err(|error| error.position());
            let whole = bytes.len() / 3 * 3;
            prop_assert_eq!(out, &bytes[..whole]);
            let expected = if whole == bytes.len() { Ok(None) } else { Err(Some(bytes.len() as u64)) };
            prop_assert_eq!(end, expected);
        }
    }
}
