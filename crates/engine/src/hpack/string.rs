//! Strings (RFC 7541 §5.2).

use std::ops::Range;

use super::integer::{self, Input};
use super::{Error, huffman};

/// The bit before the length that marks a Huffman-coded string.
const CODED: u8 = 0x80;

/// Appends a string, Huffman-coded if that is shorter.
pub(super) fn write(text: &[u8], into: &mut Vec<u8>) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        integer::write(coded, 7, CODED, into);
        huffman::encode(text, into);
    } else {
        integer::write(text.len(), 7, 0, into);
        into.extend_from_slice(text);
    }
}

/// A string of a block.
#[derive(Debug)]
pub(super) enum Text<'a> {
    /// The string as it stands in the block.
    Plain(&'a [u8]),
    /// A decoded or copied string: its place in the room for such strings.
    Within(Range<usize>),
}

impl<'a> Text<'a> {
    /// Takes a string from the input. A Huffman-coded string is appended to `room`.
    pub(super) fn read(input: &mut Input<'a>, room: &mut Vec<u8>) -> Result<Text<'a>, Error> {
        let first = input.byte().ok_or(Error::Truncated)?;
        let len = input.integer(first, 7)?;
        let bytes = input.take(len)?;
        if first & CODED == 0 {
            return Ok(Text::Plain(bytes));
        }
        let start = room.len();
        huffman::decode(bytes, room)?;
        Ok(Text::Within(start..room.len()))
    }

    pub(super) fn bytes<'b>(&'b self, room: &'b [u8]) -> &'b [u8] {
        match self {
            Text::Plain(bytes) => bytes,
            Text::Within(range) => &room[range.clone()],
        }
    }
}
