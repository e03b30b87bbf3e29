//! Random lists of fields and limits of tables.

use std::env::var_os;

use h2conn_engine::fuzzing::hpack::Indexing;
use proptest::prelude::*;
use proptest::test_runner::Config;
use proptest::{collection, sample};

/// A field of a list: its name, its value, and whether tables may hold it.
pub(crate) type Item = (Vec<u8>, Vec<u8>, Indexing);

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Block(Vec<Item>),
    /// The decoding end announces a limit, and the encoding end acknowledges it.
    Limit(u32),
}

/// Blocks of one direction, with new limits between some of them. There are never two limits in a
/// row: Python's encoder would announce both, even one that is too large by then.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = || collection::vec(item(), 0..15).prop_map(Step::Block);
    let step = prop_oneof![
        3 => block().prop_map(|block| vec![block]),
        1 => (limit(), block()).prop_map(|(limit, block)| vec![Step::Limit(limit), block]),
    ];
    collection::vec(step, 1..12).prop_map(|steps| steps.concat())
}

/// How many sequences are tried. There are fewer if each takes longer.
pub(crate) fn cases(few: u32) -> Config {
    let long = var_os("H2CONN_LONG").is_some();
    Config {
        cases: if long { few * 20 } else { few },
        failure_persistence: None,
        ..Config::default()
    }
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), 0..200_u32, 0..5000_u32, Just(4096), 5000..70_000_u32]
}

/// Names and values, many of which are equal, partly or completely.
fn item() -> impl Strategy<Value = Item> {
    const NAMES: [&str; 12] = [
        ":authority",
        ":method",
        ":path",
        ":scheme",
        ":status",
        "accept-encoding",
        "authorization",
        "content-type",
        "cookie",
        "x-a",
        "x-request-id",
        "x-another-name-that-is-longer",
    ];
    const VALUES: [&str; 10] = [
        "",
        "/",
        "200",
        "GET",
        "POST",
        "application/octet-stream",
        "gzip, deflate",
        "https",
        "www.example.com",
        "a value that is longer than a block of a cipher, to be found once more",
    ];
    let some = |texts: &[&str]| -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    };
    let how =
        [Indexing::Index, Indexing::Index, Indexing::Index, Indexing::Without, Indexing::Never];
    (
        prop_oneof![
            8 => sample::select(some(&NAMES)),
            2 => "[a-z-]{1,40}".prop_map(String::into_bytes),
            1 => collection::vec(any::<u8>(), 1..20),
        ],
        prop_oneof![
            8 => sample::select(some(&VALUES)),
            4 => "[a-z0-9/=;]{0,40}".prop_map(String::into_bytes),
            2 => "[ -~]{0,300}".prop_map(String::into_bytes),
            1 => collection::vec(any::<u8>(), 0..3000),
        ],
        sample::select(how.to_vec()),
    )
}
