//! Go's transports. Both of their ends are in one Go process: `go/`.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::Name;
use crate::measure::{Measured, Setup, Terms};
use crate::run::Case;
use crate::workload::Workload;

/// The source of the program.
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/go");

/// Whether Go is installed.
pub(crate) fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| Command::new("go").arg("version").output().is_ok())
}

/// Whether the Go program supports this case. Other cases are left out.
pub(crate) fn is_comparable(peer: Name, case: Case) -> bool {
    let known = match case.workload {
        Workload::Bulk | Workload::BothWays => true,
        Workload::Messages64 | Workload::Messages1k => true,
        Workload::PingPong64 | Workload::PingPong16k => true,
        Workload::Hundred | Workload::Opening | Workload::Beside | Workload::Thousand => false,
    };
    let go = matches!(peer, Name::GoHttp | Name::GoWebsocket);
    !go || (known && is_there() && case.setup == Setup::Runtime)
}

pub(crate) fn measure(name: &str, terms: Terms) -> Result<Measured> {
    let program = Path::new(SOURCE).join("peers");
    if !program.exists() {
        let mut build = Command::new("go");
        let built = build.args(["build", "-o", "peers", "."]).current_dir(SOURCE).output()?;
        let said = String::from_utf8_lossy(&built.stderr);
        ensure!(built.status.success(), "go build: {said}");
    }
    let workload = terms.workload.to_possible_value().context("each workload has a name")?;
    let mut command = Command::new(program);
    command.args(["-peer", name, "-workload", workload.get_name()]);
    command.args(["-millis", &terms.millis.to_string()]);
    command.args(terms.tls.then_some("-tls"));
    command.args(["-round-trip", &terms.line.round_trip.to_string()]);
    command.args(["-rate", &terms.line.rate.to_string()]);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {said}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{command:?} said no JSON"))
}
