//! HPACK, the compression of field lists (RFC 7541). An [`Encoder`] and the [`Decoder`] at the
//! other end keep one dynamic table in step. So every block must be encoded and decoded in order,
//! even if its fields are not needed.

mod decoder;
mod dynamic;
mod encoder;
mod error;
mod huffman;
mod integer;
mod search;
mod statics;
mod string;
#[cfg(test)]
mod tests;

pub use self::decoder::Decoder;
pub use self::encoder::{Encoder, Indexing};
pub use self::error::Error;

/// The size of an entry beyond its bytes (RFC 7541 §4.1).
const OVERHEAD: usize = 32;

/// The size of both tables of a connection before any SETTINGS, in bytes as RFC 7541 §4.1 counts
/// them (RFC 9113 §6.5.2).
const DEFAULT_TABLE_SIZE: u32 = 4096;

/// A field as a [`Decoder`] hands it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as it was sent. HPACK does not check its characters.
    pub name: &'a [u8],
    /// The value, as it was sent.
    pub value: &'a [u8],
    /// Whether no further table may keep this field either (RFC 7541 §6.2.3).
    pub never_indexed: bool,
}

impl Field<'_> {
    /// The size of the field in a table and in a list, in bytes (RFC 7541 §4.1, RFC 9113 §6.5.2).
    pub fn size(&self) -> usize {
        size(self.name, self.value)
    }
}

fn size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// The same as `one == other`, without a call for short strings. Most names and values are short.
#[inline]
fn equal(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    let half = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
    match one.len() {
        0..4 => one.iter().zip(other).all(|(one, other)| one == other),
        4..8 => {
            one.first_chunk().map(half) == other.first_chunk().map(half)
                && one.last_chunk().map(half) == other.last_chunk().map(half)
        }
        8..=16 => {
            one.first_chunk().map(word) == other.first_chunk().map(word)
                && one.last_chunk().map(word) == other.last_chunk().map(word)
        }
        _ => one == other,
    }
}
