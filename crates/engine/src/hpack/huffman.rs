//! The Huffman code of strings (RFC 7541 §5.2, Appendix B).

use super::Error;

/// The number of bits of each byte's code, and last that of EOS. The code is canonical: codes
/// ascend with the symbols' lengths, and within one length with the symbols' values. So these
/// lengths define the whole code.
#[rustfmt::skip]
static LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;
/// The bits of the first look-up. A longer code belongs to a rare byte.
const SHORT: usize = 9;

static CODE: Code = Code::new();

struct Code {
    /// The code of each byte, and its number of bits.
    codes: [(u32, u8); 256],
    /// For each value of the next [`SHORT`] bits: the byte, and above it the length of its code. 0
    /// for longer codes.
    short: [u16; 1 << SHORT],
    /// The bytes in the order of their codes. EOS would be next.
    symbols: [u8; 256],
    /// For each length, the first longer code, as the first bits of 32.
    ends: [u64; LONGEST + 1],
    /// For each length, the number to add to a code to get its place in `symbols`.
    places: [i32; LONGEST + 1],
}

impl Code {
    const fn new() -> Code {
        let mut all = Code {
            codes: [(0, 0); 256],
            short: [0; 1 << SHORT],
            symbols: [0; 256],
            ends: [0; LONGEST + 1],
            places: [0; LONGEST + 1],
        };
        let mut code = 0_u32;
        let mut place = 0;
        let mut length = 1;
        while length <= LONGEST {
            code <<= 1;
            all.places[length] = place as i32 - code as i32;
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    if symbol < 256 {
                        all.take(symbol as u8, code, length, place);
                    }
                    code += 1;
                    place += 1;
                }
                symbol += 1;
            }
            all.ends[length] = (code as u64) << (32 - length);
            length += 1;
        }
        assert!(place == 257 && all.ends[LONGEST] == 1 << 32, "the code is complete");
        all
    }

    const fn take(&mut self, symbol: u8, code: u32, length: usize, place: usize) {
        self.codes[symbol as usize] = (code, length as u8);
        self.symbols[place] = symbol;
        if length <= SHORT {
            let first = (code as usize) << (SHORT - length);
            let mut at = first;
            while at < first + (1 << (SHORT - length)) {
                self.short[at] = (length as u16) << 8 | symbol as u16;
                at += 1;
            }
        }
    }
}

/// The number of bytes of a string in the code.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[usize::from(byte)])).sum();
    bits.div_ceil(8)
}

/// Appends a string in the code.
pub(super) fn encode(text: &[u8], into: &mut Vec<u8>) {
    // The last `have` bits wait. They are fewer than 32, so any code fits.
    let mut bits = 0_u64;
    let mut have = 0;
    for &byte in text {
        let (code, length) = CODE.codes[usize::from(byte)];
        bits = bits << length | u64::from(code);
        have += u32::from(length);
        if have >= 32 {
            have -= 32;
            into.extend_from_slice(&((bits >> have) as u32).to_be_bytes());
        }
    }
    let ones = u64::MAX >> 32;
    let last = (bits << 32 | ones) >> have;
    into.extend_from_slice(&(last as u32).to_be_bytes()[..have.div_ceil(8) as usize]);
}

/// Appends the decoded string.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), Error> {
    let start = into.len();
    // No code has less than five bits.
    into.resize(start + coded.len() * 8 / 5, 0);
    let len = decode_to(coded, &mut into[start..])?;
    into.truncate(start + len);
    Ok(())
}

fn decode_to(coded: &[u8], text: &mut [u8]) -> Result<usize, Error> {
    let mut len = 0;
    let mut input = coded;
    // The first `have` bits are valid, and zeros follow.
    let mut bits = 0_u64;
    let mut have = 0;
    while let Some((next, rest)) = input.split_first_chunk() {
        bits |= u64::from(u32::from_be_bytes(*next)) << (32 - have);
        have += 32;
        input = rest;
        // No code has more bits.
        while have >= 32 {
            let (length, byte) = symbol(bits)?;
            text[len] = byte;
            len += 1;
            bits <<= length;
            have -= length;
        }
    }
    for &byte in input {
        bits |= u64::from(byte) << (56 - have);
        have += 8;
    }
    loop {
        let (length, byte) = symbol(bits)?;
        // The zeros have completed a code from the padding, or from nothing.
        if length > have {
            break;
        }
        text[len] = byte;
        len += 1;
        bits <<= length;
        have -= length;
    }
    let ones = !(u64::MAX >> have);
    if have < 8 && bits == ones { Ok(len) } else { Err(Error::HuffmanPadding) }
}

/// The length of the first code, and its byte.
#[inline]
fn symbol(bits: u64) -> Result<(u32, u8), Error> {
    let short = CODE.short[(bits >> (64 - SHORT)) as usize];
    if short != 0 { Ok((u32::from(short >> 8), short as u8)) } else { long(bits) }
}

/// The same for a code above [`SHORT`] bits.
#[cold]
fn long(bits: u64) -> Result<(u32, u8), Error> {
    let window = bits >> 32;
    let mut length = SHORT + 1;
    while window >= CODE.ends[length] {
        length += 1;
    }
    let code = (window >> (32 - length)) as i32;
    let place = code + CODE.places[length];
    let byte = CODE.symbols.get(place as usize).ok_or(Error::HuffmanEos)?;
    Ok((length as u32, *byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut into = Vec::new();
        encode(text, &mut into);
        assert_eq!(into.len(), encoded_len(text));
        into
    }

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Error> {
        let mut into = Vec::new();
        decode(coded, &mut into).map(|()| into)
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // From Appendix B: some codes of each length.
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b' ', 0x14, 6),
            (b'u', 0x2d, 6),
            (b':', 0x5c, 7),
            (b'z', 0x7b, 7),
            (b'&', 0xf8, 8),
            (b'Z', 0xfd, 8),
            (b'!', 0x3f8, 10),
            (b'?', 0x3fc, 10),
            (b'|', 0x7fc, 11),
            (b'#', 0xffa, 12),
            (0, 0x1ff8, 13),
            (b'~', 0x1ffd, 13),
            (b'}', 0x3ffd, 14),
            (b'<', 0x7ffc, 15),
            (b'\\', 0x7fff0, 19),
            (128, 0xfffe6, 20),
            (153, 0x1fffdc, 21),
            (129, 0x3fffd2, 22),
            (1, 0x7fffd8, 23),
            (9, 0xffffea, 24),
            (199, 0x1ffffec, 25),
            (192, 0x3ffffe0, 26),
            (203, 0x7ffffde, 27),
            (2, 0xfffffe2, 28),
            (249, 0xffffffe, 28),
            (10, 0x3ffffffc, 30),
            (22, 0x3ffffffe, 30),
        ] {
            assert_eq!(CODE.codes[usize::from(symbol)], (code, length), "{symbol}");
        }
    }

    #[test]
    fn every_byte_comes_back_behind_and_before_any_other() {
        for first in 0..=255 {
            for second in 0..=255 {
                let text = [first, second];
                assert_eq!(decoded(&encoded(&text)).as_deref(), Ok(&text[..]));
            }
        }
    }

    #[test]
    fn eos_is_an_error_wherever_it_stands() {
        for before in 0..64 {
            // Some zeros, EOS, and ones that are padding.
            let mut bits = vec![0; before * 5];
            bits.resize(bits.len() + 30, 1);
            bits.resize(bits.len().next_multiple_of(8), 1);
            let coded: Vec<u8> = bits
                .chunks(8)
                .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit))
                .collect();
            assert_eq!(decoded(&coded), Err(Error::HuffmanEos), "behind {before} zeros");
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_and_all_ones() {
        // `0` is 00000, `&` is 11111000.
        assert_eq!(decoded(&[]), Ok(vec![]));
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        assert_eq!(decoded(&[0b1111_1000]), Ok(b"&".to_vec()));
        for padding in 0..0b111 {
            assert_eq!(decoded(&[padding]), Err(Error::HuffmanPadding), "{padding:#b}");
        }
        for ones in 1..4 {
            for mut coded in [vec![], vec![0b0000_0111], vec![0b1111_1000]] {
                coded.resize(coded.len() + ones, 0xff);
                // 27 to 29 ones are not EOS yet.
                assert_eq!(decoded(&coded), Err(Error::HuffmanPadding), "{coded:x?}");
            }
        }
    }

    /// Decodes bit by bit, from the codes alone.
    fn decoded_slowly(coded: &[u8]) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        // Begin with a one, because codes of different lengths can have the same value.
        let mut code = 1_u64;
        for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
            code = code << 1 | u64::from(bit);
            if code == (2 << LONGEST) - 1 {
                return Err(Error::HuffmanEos);
            }
            let same = |&(bits, length): &(u32, u8)| 1 << length | u64::from(bits) == code;
            if let Some(byte) = CODE.codes.iter().position(same) {
                text.push(byte as u8);
                code = 1;
            }
        }
        let padding = code.ilog2();
        let ones = code + 1 == 2 << padding;
        if padding < 8 && ones { Ok(text) } else { Err(Error::HuffmanPadding) }
    }

    proptest! {
        #[test]
        fn any_string_comes_back(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }

        #[test]
        fn any_bytes_are_decoded_as_bit_by_bit(mut coded: Vec<u8>, ones in 0..5_usize) {
            coded.resize(coded.len() + ones, 0xff);
            prop_assert_eq!(decoded(&coded), decoded_slowly(&coded));
        }
    }
}
