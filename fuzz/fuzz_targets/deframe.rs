//! Arbitrary bytes, whole and in pieces: the deframer has the same results, holds little, and does
//! not panic.

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use h2conn_engine::fuzzing::Transcript;
use libfuzzer_sys::fuzz_target;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Small values, so that a fuzzer reaches both.
const MAX_FRAME_SIZE: u32 = 256;
const MAX_BLOCK: usize = 512;

#[derive(Debug)]
struct Input {
    server: bool,
    /// The lengths of the pieces, in turn. 0 stands for an empty piece.
    pieces: Vec<u8>,
    bytes: Vec<u8>,
}

impl<'a> Arbitrary<'a> for Input {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Input> {
        let (server, pieces) = (u.arbitrary()?, u.arbitrary()?);
        let mut bytes = Vec::new();
        // Otherwise the fuzzer must find the preface and SETTINGS by itself.
        if u.ratio(7, 8)? {
            bytes.extend_from_slice(if server { PREFACE } else { &[] });
            bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
        }
        while !u.is_empty() {
            match u.int_in_range(0..=8)? {
                0 => bytes.extend_from_slice(u.arbitrary()?),
                1 => bytes.extend_from_slice(&u.arbitrary::<[u8; 9]>()?),
                _ => frame(u, &mut bytes)?,
            }
        }
        Ok(Input { server, pieces, bytes })
    }
}

/// A frame that is likely to be accepted: of a known type, PRIORITY_UPDATE, or of an unknown type.
fn frame(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    let (kind, flags) = (u.int_in_range(0..=17)?, u.arbitrary()?);
    let stream = u.int_in_range(0..=3)?;
    let len = match u.int_in_range(0..=15)? {
        15 => u.int_in_range(0..=300)?,
        short => short,
    };
    let len = len.min(u.len());
    let [_, a, b, c] = (len as u32).to_be_bytes();
    bytes.extend_from_slice(&[a, b, c, kind, flags, 0, 0, 0, stream]);
    bytes.extend_from_slice(u.bytes(len)?);
    Ok(())
}

impl Input {
    fn pieces(&self) -> Vec<&[u8]> {
        let mut bytes = self.bytes.as_slice();
        let mut pieces = Vec::new();
        for &len in &self.pieces {
            let (piece, rest) = bytes.split_at(bytes.len().min(len.into()));
            pieces.push(piece);
            bytes = rest;
        }
        // The rest, byte by byte.
        pieces.extend(bytes.chunks(1));
        pieces
    }
}

fuzz_target!(|input: Input| {
    let new = || Transcript::new(input.server, MAX_FRAME_SIZE, MAX_BLOCK);
    let (mut whole, mut cut) = (new(), new());
    whole.feed(&input.bytes);
    input.pieces().into_iter().for_each(|piece| cut.feed(piece));
    assert!(cut.most_held() <= MAX_FRAME_SIZE as usize + MAX_BLOCK, "{}", cut.most_held());
    assert!(whole.most_held() <= MAX_FRAME_SIZE as usize + MAX_BLOCK, "{}", whole.most_held());
    let between = (whole.is_between_frames(), cut.is_between_frames());

    let ((told, error), (told_cut, error_cut)) = (whole.end(), cut.end());
    assert_eq!(told, told_cut);
    assert_eq!(error.is_some(), error_cut.is_some());
    let (Some(error), Some(error_cut)) = (error, error_cut) else {
        assert_eq!(between.0, between.1);
        return;
    };
    assert_eq!((error.reason(), error.what()), (error_cut.reason(), error_cut.what()));
    // An error in the first bytes is reported at once, whatever would follow.
    let (seen, seen_cut) = (error.first_bytes(), error_cut.first_bytes());
    assert_eq!(seen.is_some(), seen_cut.is_some());
    assert!(seen.unwrap_or_default().starts_with(seen_cut.unwrap_or_default()));
});
