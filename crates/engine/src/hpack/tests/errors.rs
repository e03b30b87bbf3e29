//! Refused blocks, and odd blocks that are not refused.

use super::{decoded, encoded, fields, hex};
use crate::hpack::{Decoder, Encoder, Error, Field};

/// The result of a fresh decoder, or of one with an entry: a field `a: b`.
fn outcome(block: &str, entry: bool) -> Result<usize, Error> {
    let mut decoder = Decoder::new(4096);
    if entry {
        assert_eq!(decoded(&mut decoder, &hex("4001 6101 62")), Ok(fields(&[("a", "b")])));
    }
    decoded(&mut decoder, &hex(block)).map(|fields| fields.len())
}

#[test]
fn an_index_without_an_entry_is_an_error() {
    for zero in ["80", "82 80"] {
        assert_eq!(outcome(zero, true), Err(Error::IndexZero), "{zero}");
    }
    // As an indexed field, and as the name of each form of literal.
    for beyond in ["bf", "7f0001 62", "0f3001 62", "1f3001 62"] {
        assert_eq!(outcome(beyond, true), Err(Error::Index { index: 63, last: 62 }), "{beyond}");
    }
    for first in ["be", "7e01 62", "0f2f01 62", "1f2f01 62"] {
        assert_eq!(outcome(first, false), Err(Error::Index { index: 62, last: 61 }), "{first}");
        assert_eq!(outcome(first, true), Ok(1), "{first}");
    }
    let largest = Error::Index { index: u32::MAX, last: 61 };
    assert_eq!(outcome("ff80 ffff ff0f", false), Err(largest));
    assert_eq!(outcome("ff81 ffff ff0f", false), Err(Error::Integer));
}

#[test]
fn a_block_that_is_cut_anywhere_in_a_field_is_an_error() {
    // An update, a literal with two strings, a literal with a coded value, and a long index.
    let block = hex("3fe1 1f40 0161 0162 048c f1e3 c2e5 f23a 6ba0 ab90 f4ff 0f2f 0162 be");
    let whole = [0, 3, 8, 22, 26, 27];
    for cut in 0..=block.len() {
        let decoded = decoded(&mut Decoder::new(4096), &block[..cut]);
        if let Some(fields) = whole.iter().position(|&end| end == cut) {
            // The update is not a field.
            assert_eq!(decoded.map(|list| list.len()), Ok(fields.saturating_sub(1)), "{cut}");
        } else {
            assert_eq!(decoded, Err(Error::Truncated), "{cut}");
        }
    }
}

#[test]
fn a_string_longer_than_its_block_is_an_error_and_takes_no_room() {
    for long in ["007f ffff ff0f", "00ff 80ff ffff 0f", "007f 80ff ffff 0f61"] {
        let mut decoder = Decoder::new(4096);
        assert_eq!(decoded(&mut decoder, &hex(long)), Err(Error::Truncated), "{long}");
        assert_eq!(decoder.room(), 0);
    }
}

#[test]
fn a_string_that_is_wrongly_coded_is_an_error_as_name_and_as_value() {
    for first in ["40", "00", "10"] {
        for (coded, error) in [
            ("84ff ffff ff", Error::HuffmanEos),
            ("8106", Error::HuffmanPadding),
            ("8207 ff", Error::HuffmanPadding),
            ("81ff", Error::HuffmanPadding),
        ] {
            assert_eq!(outcome(&format!("{first}{coded}0161"), false), Err(error));
            assert_eq!(outcome(&format!("{first}0161{coded}"), false), Err(error));
        }
    }
}

#[test]
fn updates_of_the_size_are_taken_at_the_beginning_only() {
    assert_eq!(outcome("2082", false), Ok(1));
    assert_eq!(outcome("20", false), Ok(0));
    assert_eq!(outcome("203f e11f 82", false), Ok(1));
    assert_eq!(outcome("8220", false), Err(Error::UpdateLate));
    assert_eq!(outcome("2082 20", false), Err(Error::UpdateLate));
    // The literal evicts.
    assert_eq!(outcome("be", true), Ok(1));
    assert_eq!(outcome("20be", true), Err(Error::Index { index: 62, last: 61 }));
    assert_eq!(outcome("22be", true), Err(Error::Index { index: 62, last: 61 }));
    assert_eq!(outcome("3f03 be", true), Ok(1));
}

#[test]
fn an_update_above_the_limit_is_an_error() {
    let (at_limit, above) = (hex("3fe1 1f"), hex("3fe2 1f"));
    let mut decoder = Decoder::new(4096);
    assert_eq!(decoded(&mut decoder, &at_limit), Ok(vec![]));
    let error = Error::UpdateLarge { size: 4097, limit: 4096 };
    assert_eq!(decoded(&mut decoder, &above), Err(error));
    assert_eq!(decoded(&mut Decoder::new(4097), &above), Ok(vec![]));
}

#[test]
fn a_peer_may_use_4096_bytes_until_it_has_acknowledged_less() {
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(0));
    let list = [("a", "b")];
    for _ in 0..2 {
        let block = encoded(&mut encoder, &list);
        assert_eq!(decoded(&mut decoder, &block), Ok(fields(&list)));
    }
    assert_eq!(decoder.table_size(), 34);
    encoder.set_limit(0);
    decoder.set_limit(0);
    let block = encoded(&mut encoder, &list);
    assert_eq!(decoded(&mut decoder, &block), Ok(fields(&list)));
    assert_eq!(decoder.table_size(), 0);
}

#[test]
fn a_block_after_a_lowered_limit_begins_with_an_update() {
    let lowered = |limits: &[u32], block: &str| {
        let mut decoder = Decoder::new(4096);
        for &limit in limits {
            decoder.set_limit(limit);
        }
        decoded(&mut decoder, &hex(block)).map(|fields| fields.len())
    };
    let missing = |limit| Err(Error::UpdateMissing { limit });
    assert_eq!(lowered(&[30], "82"), missing(30));
    assert_eq!(lowered(&[30], "3e82"), Ok(1));
    assert_eq!(lowered(&[30], "2082"), Ok(1));
    assert_eq!(lowered(&[30], "3f00 82"), Err(Error::UpdateLarge { size: 31, limit: 30 }));
    // Down and up in between. The lowest must be among the updates.
    assert_eq!(lowered(&[30, 60], "82"), missing(30));
    assert_eq!(lowered(&[30, 60], "3f1d 82"), missing(30));
    assert_eq!(lowered(&[30, 60], "3e3f 1d82"), Ok(1));
    assert_eq!(lowered(&[60, 30], "3e82"), Ok(1));
    // No limit was lowered.
    assert_eq!(lowered(&[4096], "82"), Ok(1));
    assert_eq!(lowered(&[5000, 4096], "82"), Ok(1));
}

#[test]
fn a_block_without_fields_may_leave_the_update_to_the_next() {
    let mut decoder = Decoder::new(4096);
    decoder.set_limit(30);
    assert_eq!(decoded(&mut decoder, &[]), Ok(vec![]));
    let error = Error::UpdateMissing { limit: 30 };
    assert_eq!(decoded(&mut decoder, &hex("82")), Err(error));
}

#[test]
fn a_lowered_limit_is_no_news_to_a_peer_that_uses_less() {
    let mut decoder = Decoder::new(4096);
    assert_eq!(decoded(&mut decoder, &hex("3e")), Ok(vec![]));
    decoder.set_limit(30);
    assert_eq!(decoded(&mut decoder, &hex("82")), Ok(fields(&[(":method", "GET")])));
    decoder.set_limit(29);
    let error = Error::UpdateMissing { limit: 29 };
    assert_eq!(decoded(&mut decoder, &hex("82")), Err(error));
}

#[test]
fn a_bomb_takes_no_more_room_than_the_table() {
    let value = vec![b'x'; 4000];
    let mut block = hex("4001 617f a11e");
    block.extend_from_slice(&value);
    block.resize(16 << 10, 0xbe);
    let mut decoder = Decoder::new(4096);
    let (mut fields, mut bytes) = (0, 0);
    let mut sink = |field: Field<'_>| {
        assert_eq!((field.name, field.value), (&b"a"[..], &value[..]));
        fields += 1;
        bytes += field.size();
    };
    assert_eq!(decoder.decode(&block, &mut sink), Ok(()));
    assert_eq!((fields, bytes), (12_379, 12_379 * 4033));
    assert_eq!(decoder.table_size(), 4033);
    assert!(decoder.room() <= 4096, "{}", decoder.room());
}

#[test]
fn a_large_coded_string_leaves_no_large_room_behind() {
    // A MB of zeros, each in five bits.
    let coded = 640 << 10;
    let mut block = hex("0001 61");
    crate::hpack::integer::write(coded, 7, 0x80, &mut block);
    block.resize(block.len() + coded, 0);
    let mut decoder = Decoder::new(4096);
    let mut largest = 0;
    let mut sink = |field: Field<'_>| largest = field.value.len();
    assert_eq!(decoder.decode(&block, &mut sink), Ok(()));
    assert_eq!(largest, 1 << 20);
    assert!(decoder.room() <= 16 << 10, "{}", decoder.room());
}

#[test]
fn every_error_says_what_was_seen_and_cites_the_rfc() {
    for (error, words) in [
        (Error::Truncated, "ends inside a field"),
        (Error::Integer, "too large"),
        (Error::IndexZero, "index 0"),
        (Error::Index { index: 70, last: 61 }, "index 70, expected at most 61"),
        (Error::HuffmanEos, "contains EOS"),
        (Error::HuffmanPadding, "wrong padding"),
        (Error::UpdateLate, "behind a field"),
        (Error::UpdateLarge { size: 5000, limit: 4096 }, "to 5000 bytes, expected at most 4096"),
        (Error::UpdateMissing { limit: 100 }, "at most 100 bytes"),
    ] {
        let text = error.to_string();
        assert!(text.contains(words), "{text}");
        assert!(text.contains("expected") && text.contains(" (RFC "), "{text}");
    }
}
