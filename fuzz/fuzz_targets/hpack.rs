//! Arbitrary bytes as field blocks, with limits that change between them. Fields that can be
//! decoded are encoded and decoded once more, and must stay the same.

#![no_main]

use arbitrary::{Result, Unstructured};
use h2conn_engine::fuzzing::hpack::{Decoder, Encoder, Error, Field, Indexing};
use libfuzzer_sys::fuzz_target;

type Fields = Vec<(Vec<u8>, Vec<u8>, bool)>;

/// An encoder with the decoder at its other end.
struct Pair {
    encoder: Encoder,
    decoder: Decoder,
    block: Vec<u8>,
}

fn decode(decoder: &mut Decoder, block: &[u8]) -> (Fields, std::result::Result<(), Error>) {
    let mut fields = Vec::new();
    let result = decoder.decode(block, &mut |field: Field<'_>| {
        fields.push((field.name.to_vec(), field.value.to_vec(), field.never_indexed));
    });
    (fields, result)
}

impl Pair {
    fn set_limit(&mut self, limit: u32) {
        self.encoder.set_limit(limit);
        self.decoder.set_limit(limit);
    }

    fn pass_on(&mut self, fields: &Fields, without: u8) {
        self.block.clear();
        self.encoder.begin(&mut self.block);
        for (at, (name, value, never_indexed)) in fields.iter().enumerate() {
            let how = match never_indexed {
                true => Indexing::Never,
                false if without >> (at % 8) & 1 == 1 => Indexing::Without,
                false => Indexing::Index,
            };
            self.encoder.field(name, value, how, &mut self.block);
        }
        let (passed, result) = decode(&mut self.decoder, &self.block);
        assert_eq!(result, Ok(()));
        assert!(passed == *fields, "{fields:?} became {passed:?}");
    }
}

fn play(input: &[u8]) -> Result<()> {
    let mut u = Unstructured::new(input);
    let mut decoder = Decoder::new(u.arbitrary()?);
    let mut pair = Pair { encoder: Encoder::new(), decoder: Decoder::new(4096), block: Vec::new() };
    while !u.is_empty() {
        match u.int_in_range(0..=7)? {
            0 => decoder.set_limit(u.arbitrary::<u16>()?.into()),
            1 => pair.set_limit(u.arbitrary::<u16>()?.into()),
            _ => {
                let without = u.arbitrary()?;
                let len = u.arbitrary::<u8>()?.into();
                let block = u.bytes(u.len().min(len))?;
                let (fields, result) = decode(&mut decoder, block);
                pair.pass_on(&fields, without);
                if let Err(error) = result {
                    assert!(error.to_string().contains("(RFC "), "{error}");
                    break;
                }
            }
        }
    }
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    // An input that is too short is ignored.
    let _ = play(input);
});
