//! Python's package `hpack` (`interop/python`).

use std::env::var_os;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Result;
use h2conn_engine::fuzzing::hpack::Error;
use tokio::process::Command;

use crate::peer::{self, Peer};
use crate::tools;
use crate::verdicts::{self, Known};

/// Prints a message if there is no Python with the package.
fn python() -> Result<Option<Peer>> {
    let folder = tools::interop("python")?;
    for interpreter in interpreters()? {
        let mut python = std::process::Command::new(&interpreter);
        python.args(["-c", "import hpack"]).stdin(Stdio::null()).stderr(Stdio::null());
        if python.status().is_ok_and(|status| status.success()) {
            let script = folder.join("hpack_peer.py");
            return Peer::start(Command::new(interpreter).arg(script)).map(Some);
        }
    }
    tools::skipped("no Python with the package hpack: see docs/testing.md");
    Ok(None)
}

/// The places where Python may be: `$PYTHON` if it is set, otherwise the one that CI makes, or the
/// system's.
fn interpreters() -> Result<Vec<PathBuf>> {
    if let Some(python) = var_os("PYTHON") {
        return Ok(vec![python.into()]);
    }
    let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    Ok(vec![tools::interop("python/.venv")?.join(program), "python3".into()])
}

#[test]
fn python_decodes_our_blocks() -> Result<()> {
    python()?.map_or(Ok(()), |python| peer::their_decoder_takes_our_blocks(&python))
}

#[test]
fn we_decode_pythons_blocks() -> Result<()> {
    python()?.map_or(Ok(()), |python| peer::our_decoder_takes_their_blocks(&python))
}

#[test]
fn python_and_we_refuse_the_same_damaged_blocks() -> Result<()> {
    let known = Known {
        refused_by_us: |error| matches!(error, Error::Integer),
        refused_by_them: |_| false,
    };
    python()?.map_or(Ok(()), |python| verdicts::are_equal(&python, &known))
}
