//! Integers with a prefix (RFC 7541 §5.1), and the rest of a block's bytes.

use super::Error;

/// After the prefix, five groups of seven bits are more than a number below 2³² needs.
const MOST_SHIFT: u32 = 28;

/// Appends `value` with a prefix of `bits` bits. `pattern` has the bits before the prefix.
#[inline]
pub(super) fn write(value: usize, bits: u32, pattern: u8, into: &mut Vec<u8>) {
    let most = (1 << bits) - 1;
    if value < most {
        into.push(pattern | value as u8);
    } else {
        into.push(pattern | most as u8);
        write_rest(value - most, into);
    }
}

fn write_rest(mut rest: usize, into: &mut Vec<u8>) {
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// The rest of a block.
#[derive(Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(block: &'a [u8]) -> Input<'a> {
        Input(block)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn take(&mut self, len: u32) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(len as usize).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The integer whose prefix is the low `bits` bits of `first`, a byte that was already taken.
    #[inline]
    pub(super) fn integer(&mut self, first: u8, bits: u32) -> Result<u32, Error> {
        let most = (1 << bits) - 1;
        let prefix = u32::from(first) & most;
        if prefix < most { Ok(prefix) } else { self.long_integer(prefix) }
    }

    fn long_integer(&mut self, prefix: u32) -> Result<u32, Error> {
        let mut value = u64::from(prefix);
        let mut shift = 0;
        loop {
            let byte = self.byte().ok_or(Error::Truncated)?;
            value += u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| Error::Integer);
            }
            if shift == MOST_SHIFT {
                return Err(Error::Integer);
            }
            shift += 7;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], bits: u32) -> Result<(u32, usize), Error> {
        let mut input = Input::new(bytes);
        let first = input.byte().ok_or(Error::Truncated)?;
        let value = input.integer(first, bits)?;
        Ok((value, input.0.len()))
    }

    fn written(value: usize, bits: u32) -> Vec<u8> {
        let mut into = Vec::new();
        write(value, bits, 0, &mut into);
        into
    }

    #[test]
    fn the_examples_of_the_rfc_are_read_and_written() {
        // C.1.1 to C.1.3.
        for (value, bits, bytes) in [
            (10, 5, &[0b01010][..]),
            (1337, 5, &[0b11111, 0b1001_1010, 0b0000_1010]),
            (42, 8, &[0b0010_1010]),
        ] {
            assert_eq!(written(value, bits), bytes);
            assert_eq!(read(bytes, bits), Ok((value as u32, 0)));
        }
    }

    #[test]
    fn numbers_around_every_edge_come_back() {
        for bits in 1..=8 {
            let edge = (1_usize << bits) - 1;
            let edges = [0, edge, edge + 127, edge + 128, edge + (1 << 14), u32::MAX as usize];
            for value in edges.into_iter().flat_map(|edge| edge.saturating_sub(1)..=edge) {
                let bytes = written(value, bits);
                assert_eq!(read(&bytes, bits), Ok((value as u32, 0)), "{value}, {bits} bits");
                for cut in 0..bytes.len() {
                    assert_eq!(read(&bytes[..cut], bits), Err(Error::Truncated));
                }
            }
        }
    }

    #[test]
    fn a_number_above_32_bits_is_an_error() {
        let largest = written(u32::MAX as usize, 5);
        assert_eq!(read(&largest, 5), Ok((u32::MAX, 0)));
        let mut above = largest;
        above[1] += 1;
        assert_eq!(read(&above, 5), Err(Error::Integer));
        assert_eq!(read(&[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f], 5), Err(Error::Integer));
    }

    #[test]
    fn a_number_may_have_zeros_in_front_but_not_without_end() {
        assert_eq!(read(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x00, 0x11], 5), Ok((31, 1)));
        assert_eq!(read(&[0x1f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 5), Err(Error::Integer));
        assert_eq!(read(&[0x1f; 1], 5), Err(Error::Truncated));
        assert_eq!(read(&[0xff; 1000], 5), Err(Error::Integer));
    }
}
