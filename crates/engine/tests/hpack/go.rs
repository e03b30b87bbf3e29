//! Go's `golang.org/x/net/http2/hpack` (`interop/go`).

use anyhow::Result;
use h2conn_engine::fuzzing::hpack::Error;
use tokio::process::Command;

use crate::peer::{self, Peer};
use crate::{tools, verdicts};

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

#[test]
fn go_and_we_refuse_the_same_damaged_blocks() -> Result<()> {
    // Go also accepts updates behind fields while its table is empty, and integers of up to 63
    // bits.
    let stricter = |error| matches!(error, Error::UpdateLate | Error::Integer);
    go()?.map_or(Ok(()), |go| verdicts::are_equal(&go, stricter))
}
