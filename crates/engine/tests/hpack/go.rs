//! Go's `golang.org/x/net/http2/hpack` (`interop/go`).

use anyhow::Result;
use h2conn_engine::fuzzing::hpack::{Decoder, Error};
use tokio::process::Command;

use crate::peer::{self, Order, Peer, decoded};
use crate::tools;
use crate::verdicts::{self, Known};

/// Prints a message if there is no Go.
fn go() -> Result<Option<Peer>> {
    match tools::go_peer()? {
        Some(program) => Peer::start(Command::new(program).arg("hpack")).map(Some),
        None => Ok(None),
    }
}

#[test]
fn go_decodes_our_blocks() -> Result<()> {
    go()?.map_or(Ok(()), |go| peer::their_decoder_takes_our_blocks(&go))
}

#[test]
fn we_decode_gos_blocks() -> Result<()> {
    go()?.map_or(Ok(()), |go| peer::our_decoder_takes_their_blocks(&go))
}

/// Go also accepts updates behind fields while its table is empty, and integers of up to 63 bits.
/// It refuses a second update in front of the first field while its table has entries, which
/// RFC 7541 §4.2 allows.
const KNOWN: Known = Known {
    refused_by_us: |error| matches!(error, Error::UpdateLate | Error::Integer),
    refused_by_them: begins_with_two_updates,
};

/// Two table size updates (RFC 7541 §6.3) are in front of the first field.
fn begins_with_two_updates(block: &[u8]) -> bool {
    const LONG: u8 = 0x3f;
    let is_update = |byte: u8| byte >> 5 == 1;
    let behind = match block {
        [LONG, rest @ ..] => rest.iter().skip_while(|byte| **byte & 0x80 != 0).nth(1),
        [first, rest @ ..] if is_update(*first) => rest.first(),
        _ => None,
    };
    behind.is_some_and(|byte| is_update(*byte))
}

#[test]
fn two_updates_are_recognized() {
    for block in [&[0x20, 0x20][..], &[0x20, 0x3f, 0xe1, 0x1f], &[0x3f, 0x7f, 0x20, 0x82]] {
        assert!(begins_with_two_updates(block), "{block:x?}");
    }
    for block in [&[][..], &[0x82, 0x20, 0x20], &[0x20, 0x82, 0x20], &[0x3f, 0x81, 0x20, 0x82]] {
        assert!(!begins_with_two_updates(block), "{block:x?}");
    }
}

#[test]
fn go_and_we_read_two_updates_in_front_of_an_empty_table() -> Result<()> {
    let Some(go) = go()? else { return Ok(()) };
    let block = [0x3f, 0x7f, 0x20, 0x82];
    let theirs = go.play(&[Order::Decode(&block)])?.remove(0).fields()?;
    let ours = decoded(&mut Decoder::new(4096), &block)?;
    assert_eq!((ours.len(), &ours), (1, &theirs));
    Ok(())
}

#[test]
fn go_and_we_refuse_the_same_damaged_blocks() -> Result<()> {
    go()?.map_or(Ok(()), |go| verdicts::are_equal(&go, &KNOWN))
}
