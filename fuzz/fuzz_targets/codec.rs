//! The properties that every codec must have, whatever bytes it is given.

use std::alloc::System;
use std::fmt::Debug;

use arbitrary::{Arbitrary, Result, Unstructured};
use bytes::BytesMut;
use h2conn::codec::{CodecError, CodecErrorKind};
use h2conn::tokio_util::codec::{Decoder, Encoder};
use peakmem_alloc::{INSTRUMENTED_SYSTEM, PeakMemAlloc, PeakMemAllocTrait};

#[global_allocator]
static ALLOCATOR: &PeakMemAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The memory of a codec that does not grow with the limit: room for a read, and texts of errors.
const CONSTANT: usize = 32 << 10;

/// A stream for a codec.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// The type that is read, and the way of reading it.
    pub(crate) choice: u8,
    /// The limit of a message.
    pub(crate) limit: usize,
    /// The sizes of the pieces in which the stream arrives, again and again.
    pieces: [u8; 4],
    /// Whether to write the stream from [`Input::rest`], and then damage it.
    pub(crate) written: bool,
    pub(crate) rest: Unstructured<'a>,
}

impl<'a> Arbitrary<'a> for Input<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Input<'a>> {
        let [choice, way]: [u8; 2] = u.arbitrary()?;
        let pieces = u.arbitrary()?;
        let limit = [16, 256, 4096, 1 << 20][usize::from(way >> 1) % 4];
        let rest = Unstructured::new(u.bytes(u.len())?);
        Ok(Input { choice, limit, pieces, written: way & 1 == 1, rest })
    }
}

/// A result of a codec: how many bytes it had taken by then, and a value or an error, as text.
type Outcome = (usize, std::result::Result<String, (CodecErrorKind, Option<u64>, String)>);

impl Input<'_> {
    /// The stream: the rest of the input, or values that `codec` writes and that the input then
    /// damages.
    pub(crate) fn stream<C, T>(
        &mut self,
        mut codec: C,
        mut value: impl FnMut(&mut Unstructured<'_>) -> Result<T>,
    ) -> Result<Vec<u8>>
    where
        C: Encoder<T, Error = CodecError>,
    {
        if !self.written {
            return Ok(self.rest.bytes(self.rest.len())?.to_vec());
        }
        let mut written = BytesMut::new();
        for _ in 0..self.rest.int_in_range(1..=4)? {
            // A value that cannot be expressed leaves nothing behind.
            let _ = codec.encode(value(&mut self.rest)?, &mut written);
        }
        let mut stream = written.to_vec();
        while !self.rest.is_empty() && !stream.is_empty() {
            let at = usize::from(self.rest.arbitrary::<u16>()?) % stream.len();
            match self.rest.int_in_range(0..=7)? {
                0 => drop(stream.remove(at)),
                1 => stream.truncate(at),
                2 => stream.insert(at, self.rest.arbitrary()?),
                3 if stream.len() < 1 << 14 => stream.extend_from_within(at..),
                4 => stream[at] ^= 1 << self.rest.int_in_range(0..=7)?,
                5 => stream[at] = stream[at].wrapping_add(1),
                6 => stream[at] = stream[at].wrapping_sub(1),
                _ => stream[at] = self.rest.arbitrary()?,
            }
        }
        Ok(stream)
    }

    /// Reads the stream in one piece and in many, and checks that the results are the same and that
    /// the memory is at most `factor` times the limit. `again` gets every value.
    pub(crate) fn check<C>(
        &self,
        stream: &[u8],
        factor: usize,
        codec: impl Fn() -> C,
        mut again: impl FnMut(C::Item),
    ) where
        C: Decoder<Error = CodecError>,
        C::Item: Debug,
    {
        let outcome = |at, item: std::result::Result<C::Item, CodecError>| -> Outcome {
            let item = item.map(|value| format!("{value:?}"));
            (at, item.map_err(|error| (error.kind(), error.position(), error.to_string())))
        };
        let mut whole = Vec::new();
        read(codec(), stream, [stream.len()].iter(), |at, item| whole.push(outcome(at, item)));

        let sizes: Vec<usize> =
            self.pieces.iter().map(|&size| usize::from(size) % 64 + 1).collect();
        let mut expected = whole.iter();
        read(codec(), stream, sizes.iter().cycle(), |at, item| {
            let item = outcome(at, item);
            assert_eq!(Some(&item), expected.next(), "in pieces of {sizes:?}");
        });
        assert_eq!(expected.next(), None, "in pieces of {sizes:?}");

        ALLOCATOR.reset_peak_memory();
        read(codec(), stream, sizes.iter().cycle(), |_, item| drop(item));
        let peak = ALLOCATOR.get_peak_memory();
        let most = factor.saturating_mul(self.limit.min(stream.len())).saturating_add(CONSTANT);
        assert!(peak <= most, "{peak} bytes for a limit of {} and {}", self.limit, stream.len());

        read(codec(), stream, [stream.len()].iter(), |_, item| {
            if let Ok(value) = item {
                again(value);
            }
        });
    }
}

/// All results of a codec, up to an error that is final, and how many bytes it has taken by then.
fn read<'a, C>(
    mut codec: C,
    stream: &[u8],
    mut pieces: impl Iterator<Item = &'a usize>,
    mut out: impl FnMut(usize, std::result::Result<C::Item, CodecError>),
) where
    C: Decoder<Error = CodecError>,
{
    let (mut src, mut given, mut eof) = (BytesMut::new(), 0, false);
    loop {
        let before = src.len();
        let result = if eof { codec.decode_eof(&mut src) } else { codec.decode(&mut src) };
        assert!(src.len() <= before, "there is more than there was");
        let taken = given - src.len();
        assert_eq!(src, stream[taken..given], "what is left is not what comes next");
        match result {
            Ok(None) if eof => {
                assert!(src.is_empty(), "bytes after the end");
                return;
            }
            Ok(None) if given == stream.len() => eof = true,
            Ok(None) => {
                let end = stream.len().min(given + pieces.next().map_or(1, |&size| size));
                src.extend_from_slice(&stream[given..end]);
                given = end;
            }
            Ok(Some(value)) => out(taken, Ok(value)),
            Err(error) if error.kind() == CodecErrorKind::Mismatch => out(taken, Err(error)),
            Err(error) => {
                src.extend_from_slice(b"1 ");
                let again = codec.decode(&mut src).err().expect("the error lasts");
                assert_eq!(again.to_string(), error.to_string());
                assert!(src.is_empty(), "bytes are kept after an error that lasts");
                // The position of the damage may be in a message that was not taken yet.
                return out(0, Err(error));
            }
        }
    }
}

/// Writes a value, reads it back, and writes the result. Returns the value that was read, if it can
/// be written.
pub(crate) fn write_and_read<C, T>(codec: impl Fn() -> C, value: T) -> Option<T>
where
    C: Encoder<T, Error = CodecError> + Decoder<Item = T, Error = CodecError>,
    T: Clone,
{
    let mut written = BytesMut::new();
    if let Err(error) = codec().encode(value, &mut written) {
        assert_eq!(error.kind(), CodecErrorKind::Mismatch, "{error}");
        assert!(written.is_empty(), "something was written");
        return None;
    }
    let (mut reader, mut src) = (codec(), written.clone());
    let back = reader.decode(&mut src).expect("it was written here").expect("all of it is here");
    assert_eq!(reader.decode_eof(&mut src).map(|more| more.is_some()).ok(), Some(false));
    let mut twice = BytesMut::new();
    codec().encode(back.clone(), &mut twice).expect("it could be written once");
    assert_eq!(written, twice);
    Some(back)
}
