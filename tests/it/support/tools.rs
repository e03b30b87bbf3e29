//! Programs that the tests need and cargo does not build. The tests of `examples/chat` include this
//! file too, so it must not use other files.

use std::env::consts::EXE_SUFFIX;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// Compiling the standard library of Go for the first time takes minutes on a loaded machine. This limit only ends a
/// build that hangs.
const BUILDING: Duration = Duration::from_secs(3600);

/// Prints that a test cannot run here.
pub(crate) fn skipped(why: impl Display) {
    aloud(format_args!("SKIPPED: {why}"));
}

/// Prints a line even for a test that passes. The test harness captures the macros of `std`, and
/// may have begun a line.
pub(crate) fn aloud(what: impl Display) {
    let line = format!("\n{what}\n");
    // If standard error is closed, no one can be told.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// A folder below `interop`.
pub(crate) fn interop(name: &str) -> Result<PathBuf> {
    let mut roots = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = roots.find_map(|root| root.join("interop").canonicalize().ok());
    Ok(found.context("there is no folder interop")?.join(name))
}

/// The program of `interop/go`, built once. Prints a message if there is no Go. Blocks.
pub(crate) fn go_peer() -> Result<Option<&'static Path>> {
    static BUILT: OnceLock<Outcome> = OnceLock::new();
    go_program(&BUILT, "go", ".", "go-peer")
}

/// The result of building a program once.
pub(crate) type Outcome = Result<Built, String>;

#[derive(Debug)]
pub(crate) enum Built {
    Program(PathBuf),
    /// Go, or modules that the program needs, cannot be found here.
    Missing(String),
}

/// A package in or required by the module in a folder below `interop`, built once as `name`. Prints
/// a message if there is no Go. Blocks.
pub(crate) fn go_program(
    built: &'static OnceLock<Outcome>,
    folder: &str,
    package: &str,
    name: &str,
) -> Result<Option<&'static Path>> {
    let outcome =
        built.get_or_init(|| build(folder, package, name).map_err(|error| format!("{error:#}")));
    match outcome {
        Ok(Built::Program(program)) => Ok(Some(program)),
        Ok(Built::Missing(why)) => {
            skipped(why);
            Ok(None)
        }
        Err(error) => bail!("{error}"),
    }
}

fn build(folder: &str, package: &str, name: &str) -> Result<Built> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let building = build_program(folder, package, name);
        timeout(BUILDING, building).await.with_context(|| format!("building {name}"))?
    })
}

async fn build_program(folder: &str, package: &str, name: &str) -> Result<Built> {
    // A module that cannot be found is missing here. A package that cannot be compiled is an error.
    match go(folder)?.args(["list", "-deps", package]).output().await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Built::Missing("no Go: there is no program `go`".into()));
        }
        Err(error) => return Err(error).context("running Go"),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
            return Ok(Built::Missing(format!("Go has not all it takes: {said}")));
        }
        Ok(_) => {}
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{EXE_SUFFIX}"));
    let output = go(folder)?.args(["build", "-o"]).arg(&program).arg(package).output().await?;
    ensure!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Built::Program(program))
}

fn go(folder: &str) -> Result<Command> {
    let mut go = Command::new("go");
    go.current_dir(interop(folder)?)
        // Use the installed version, and download no other.
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(go)
}
