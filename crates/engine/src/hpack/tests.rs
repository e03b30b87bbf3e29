//! Encoder and decoder together.

mod errors;
mod examples;
mod sequences;

use super::{Decoder, Encoder, Error, Field, Indexing};

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |field: Field<'_>| {
        fields.push((field.name.to_vec(), field.value.to_vec()));
    })?;
    Ok(fields)
}

fn fields(list: &[(&str, &str)]) -> Fields {
    list.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn encoded(encoder: &mut Encoder, list: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    encoder.begin(&mut block);
    for (name, value) in list {
        encoder.field(name.as_bytes(), value.as_bytes(), Indexing::Index, &mut block);
    }
    block
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn strings_are_equal_only_if_all_bytes_are() {
    for len in 0..40 {
        let one: Vec<u8> = (0..len).collect();
        assert!(super::equal(&one, &one.clone()));
        assert!(!super::equal(&one, &[&one[..], b"x"].concat()));
        for at in 0..one.len() {
            let mut other = one.clone();
            other[at] ^= 0x40;
            assert!(!super::equal(&one, &other), "{at} of {len}");
        }
    }
}
