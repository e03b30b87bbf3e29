//! The examples of RFC 7541, Appendix C. Those of integers are in `integer.rs`.

use super::{decoded, encoded, fields, hex};
use crate::hpack::{Decoder, Encoder, Field};

/// Blocks of the RFC's examples, the lists that they encode, and the sizes of the table afterwards.
type Examples<'a> = [(&'a str, &'a [(&'a str, &'a str)], usize); 3];

const C_3: Examples<'_> = [
    (
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
        ],
        57,
    ),
    (
        "8286 84be 5808 6e6f 2d63 6163 6865",
        &[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "www.example.com"),
            ("cache-control", "no-cache"),
        ],
        110,
    ),
    (
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
        &[
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            (":authority", "www.example.com"),
            ("custom-key", "custom-value"),
        ],
        164,
    ),
];

/// The blocks of C.4, for the lists of C.3.
const C_4: [&str; 3] = [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
];

const C_5: Examples<'_> = [
    (
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 \
         303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 \
         6f6d",
        &[
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ],
        222,
    ),
    (
        "4803 3330 37c1 c0bf",
        &[
            (":status", "307"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ],
        222,
    ),
    (
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 \
         5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 \
         5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
        &[
            (":status", "200"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:22 GMT"),
            ("location", "https://www.example.com"),
            ("content-encoding", "gzip"),
            ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
        ],
        215,
    ),
];

/// The blocks of C.6, for the lists of C.5.
const C_6: [&str; 3] = [
    "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e \
     919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    "4883 640e ffc1 c0bf",
    "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 \
     821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed \
     4ee5 b106 3d50 07",
];

/// A decoder whose table has `size` bytes, as the RFC's examples assume.
fn decoder_of(size: u32) -> Decoder {
    let mut decoder = Decoder::new(size);
    let mut encoder = Encoder::new();
    encoder.set_limit(size);
    assert_eq!(decoded(&mut decoder, &encoded(&mut encoder, &[])), Ok(vec![]));
    decoder
}

/// An encoder that has already announced its table's size.
fn encoder_of(size: u32) -> Encoder {
    let mut encoder = Encoder::new();
    encoder.set_limit(size);
    encoded(&mut encoder, &[]);
    encoder
}

#[test]
fn each_form_of_a_literal_is_decoded() {
    // C.2.1 to C.2.4.
    for (block, name, value, never_indexed, size) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key",
            "custom-header",
            false,
            55,
        ),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path", "/sample/path", false, 0),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "password", "secret", true, 0),
        ("82", ":method", "GET", false, 0),
    ] {
        let mut decoder = Decoder::new(4096);
        let mut calls = 0;
        let mut sink = |field: Field<'_>| {
            calls += 1;
            let (name, value) = (name.as_bytes(), value.as_bytes());
            assert_eq!(field, Field { name, value, never_indexed });
        };
        assert_eq!(decoder.decode(&hex(block), &mut sink), Ok(()));
        assert_eq!((calls, decoder.table_size()), (1, size), "{name}");
    }
}

#[test]
fn the_rfcs_requests_are_decoded() {
    let (mut plain, mut coded) = (Decoder::new(4096), Decoder::new(4096));
    for ((block, list, size), coded_block) in C_3.into_iter().zip(C_4) {
        assert_eq!(decoded(&mut plain, &hex(block)), Ok(fields(list)));
        assert_eq!(decoded(&mut coded, &hex(coded_block)), Ok(fields(list)));
        assert_eq!((plain.table_size(), coded.table_size()), (size, size));
    }
}

#[test]
fn the_rfcs_responses_are_decoded_and_evict() {
    let (mut plain, mut coded) = (decoder_of(256), decoder_of(256));
    for ((block, list, size), coded_block) in C_5.into_iter().zip(C_6) {
        assert_eq!(decoded(&mut plain, &hex(block)), Ok(fields(list)));
        assert_eq!(decoded(&mut coded, &hex(coded_block)), Ok(fields(list)));
        assert_eq!((plain.table_size(), coded.table_size()), (size, size));
    }
}

#[test]
fn lists_are_encoded_byte_by_byte_as_in_the_rfc() {
    for (mut encoder, examples, blocks) in [(Encoder::new(), C_3, C_4), (encoder_of(256), C_5, C_6)]
    {
        for ((plain, list, _), coded) in examples.into_iter().zip(blocks) {
            // The RFC's encoder uses the Huffman code even when it is as long as the string.
            let expected = if plain.len() <= coded.len() { plain } else { coded };
            assert_eq!(encoded(&mut encoder, list), hex(expected));
        }
    }
}
