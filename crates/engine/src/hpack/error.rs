//! The errors of a block.

use std::fmt;

/// A block that cannot be decoded. The tables are out of step after it, so the connection must end
/// with COMPRESSION_ERROR (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The block ends inside a field.
    Truncated,
    /// An integer is above 2³² − 1, or has more bytes than such an integer needs.
    Integer,
    /// A field refers to index 0.
    IndexZero,
    /// A field refers to an index beyond both tables.
    Index {
        /// The index.
        index: u32,
        /// The last one that has an entry.
        last: u32,
    },
    /// A Huffman-coded string contains the symbol EOS.
    HuffmanEos,
    /// A Huffman-coded string ends in a byte of padding, or in padding other than ones.
    HuffmanPadding,
    /// A table size update comes after a field.
    UpdateLate,
    /// A table size update is above the limit.
    UpdateLarge {
        /// The size that the peer has chosen, in bytes.
        size: u32,
        /// The largest size that the peer may choose, in bytes.
        limit: u32,
    },
    /// The limit was lowered, and the next block does not begin with an update to it.
    UpdateMissing {
        /// The largest size that an update had to choose, in bytes.
        limit: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Truncated => f.write_str(
                "a field block ends inside a field, expected all of its bytes (RFC 7541 §6)",
            ),
            Error::Integer => f.write_str(
                "an integer in a field block is too large, expected less than 2^32 in at most \
                 six bytes (RFC 7541 §5.1)",
            ),
            Error::IndexZero => {
                f.write_str("a field has index 0, expected one from the tables (RFC 7541 §6.1)")
            }
            Error::Index { index, last } => write!(
                f,
                "a field has index {index}, expected at most {last}, where the tables end \
                 (RFC 7541 §2.3.3)",
            ),
            Error::HuffmanEos => f.write_str(
                "a Huffman-coded string contains EOS, expected only bytes (RFC 7541 §5.2)",
            ),
            Error::HuffmanPadding => f.write_str(
                "a Huffman-coded string ends in wrong padding, expected less than eight ones \
                 (RFC 7541 §5.2)",
            ),
            Error::UpdateLate => f.write_str(
                "a table size update comes behind a field, expected at the beginning of a block \
                 (RFC 7541 §4.2)",
            ),
            Error::UpdateLarge { size, limit } => write!(
                f,
                "a table size update to {size} bytes, expected at most {limit} (RFC 7541 §6.3)",
            ),
            Error::UpdateMissing { limit } => write!(
                f,
                "a field block begins without a table size update, expected one to at most \
                 {limit} bytes (RFC 9113 §4.3.1)",
            ),
        }
    }
}

impl std::error::Error for Error {}
