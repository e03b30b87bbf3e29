//! The same bytes have the same effect, wherever they are cut.

use h2conn_engine::{Config, Connection, Reason};

use proptest::prelude::*;

use crate::support::*;

/// The effect of bytes: the outcome, the events, the output, the credit, and the unreleased bytes.
type Played = (Result<(), (Reason, String)>, Vec<Heard>, Vec<u8>, i64, usize);

/// Feeds bytes in pieces to a new server, and returns their effect.
fn play<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Played {
    let config = Config { extended_connect: true, max_fields: 10, ..Config::default() };
    let mut end = End::new(Connection::server(&config));
    let mut sent = end.take();
    let mut outcome = Ok(());
    for piece in pieces {
        // Compare only the reason and the text. The error also holds the first bytes of a peer
        // without HTTP/2, and the cut decides how many have arrived.
        outcome = end.feed(piece).map_err(|error| (error.reason(), error.what().to_owned()));
        sent.extend(end.take());
    }
    let credit = end.connection.connection_credit();
    (outcome, end.heard(), sent, credit, end.connection.unreleased())
}

fn scripts() -> Vec<Vec<u8>> {
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &setting(4, 70_000))].concat();
    let good = [
        frame(SETTINGS, ACK, 0, &[]),
        open(1, false),
        data(1, false, b"content"),
        frame(DATA, PADDED, 1, b"\x03more\0\0\0"),
        frame(PING, 0, 0, b"12345678"),
        frame(HEADERS, END_STREAM, 3, &GET[..3]),
        frame(CONTINUATION, 0, 3, &GET[3..]),
        frame(CONTINUATION, END_HEADERS, 3, &[]),
        frame(
            HEADERS,
            END_HEADERS | PADDED | 0x20,
            5,
            &[b"\x02\0\0\0\x01\x05", POST, b"\0\0"].concat(),
        ),
        frame(0xbb, 0xff, 9, b"nobody knows this"),
        window_update(0, 7),
        window_update(1, 7),
        frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x05u=1"),
        rst(5, CANCEL),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, TRAILERS),
        frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0bye"),
    ];
    let bad = [
        frame(HEADERS, END_HEADERS, 7, &[GET, &b"\x00\x01x\x01y".repeat(9)[..]].concat()),
        data(7, true, b"for nobody"),
        frame(HEADERS, END_HEADERS | END_STREAM, 9, b"\x82"),
        open(11, true),
        data(11, false, b"after the end"),
        frame(PING, 0, 3, b"12345678"),
        b"rest".to_vec(),
    ];
    let whole = [begin.clone(), good.concat()].concat();
    vec![
        whole.clone(),
        [whole, bad.concat()].concat(),
        b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n and more".to_vec(),
        [begin, frame(DATA, PADDED, 0, &[])].concat(),
    ]
}

#[test]
fn two_pieces_mean_the_same_wherever_the_cut_is() {
    for script in scripts() {
        let whole = play([&script[..]].into_iter());
        for cut in 1..script.len() {
            let (one, two) = script.split_at(cut);
            assert_eq!(play([one, two].into_iter()), whole, "cut at {cut} of {script:?}");
        }
    }
}

#[test]
fn pieces_of_every_size_mean_the_same() {
    for script in scripts() {
        let whole = play([&script[..]].into_iter());
        for size in 1..60 {
            assert_eq!(play(script.chunks(size)), whole, "pieces of {size}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Frames of any type on a few streams, in pieces: no panic, and a bounded memory.
    #[test]
    fn no_bytes_make_it_panic_or_hold_more_than_a_frame(
        at_server: bool,
        frames in prop::collection::vec((kinds(), any::<u8>(), 0..12_u32, payloads()), 0..60),
        size in 1..200_usize,
    ) {
        let mut end = if at_server { End::server() } else { End::client() };
        for _ in 0..3 {
            if !at_server {
                end.request(false);
            }
        }
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
        for piece in bytes.chunks(size) {
            let outcome = end.feed(piece);
            prop_assert!(end.connection.held() <= 200_000);
            let sent = end.sent();
            if outcome.is_err() {
                prop_assert_eq!(sent.last().map(|sent| sent.kind), Some(GOAWAY));
                return Ok(());
            }
        }
    }
}

fn kinds() -> impl Strategy<Value = u8> {
    prop_oneof![20 => 0..10_u8, 1 => Just(0x10), 1 => any::<u8>()]
}

/// Some payloads of the right size, and some that are field blocks.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = |len| prop::collection::vec(any::<u8>(), len);
    prop_oneof![
        any_bytes(0..20),
        any_bytes(4..9),
        any_bytes(8..9),
        Just(GET.to_vec()),
        Just(POST.to_vec()),
        Just(OK.to_vec()),
        Just(TRAILERS.to_vec()),
        (0..10_u16, any::<u32>()).prop_map(|(id, value)| setting(id, value)),
    ]
}
