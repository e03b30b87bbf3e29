//! Programs that the tests take and cargo does not build. The tests of `examples/chat` have this file
//! as well, so it uses no other.

use std::env::consts::EXE_SUFFIX;
use std::env::var_os;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::time::timeout;

/// Compiling Go's library for the first time takes a while.
const BUILDING: Duration = Duration::from_secs(300);

/// Says aloud that a test cannot run here. The test harness keeps to itself what the macros of
/// `std` print in a test that passes, and may have begun a line.
pub(crate) fn skipped(why: impl Display) {
    let line = format!("\nSKIPPED: {why}\n");
    // There is nobody to tell when the error output is closed.
    let _ = io::stderr().write_all(line.as_bytes());
}

/// A folder below `interop`.
pub(crate) fn interop(name: &str) -> Result<PathBuf> {
    let mut roots = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let found = roots.find_map(|root| root.join("interop").canonicalize().ok());
    Ok(found.context("there is no folder interop")?.join(name))
}

/// The program of `interop/go`, built once; says aloud if there is no Go. Blocks.
pub(crate) fn go_peer() -> Result<Option<&'static Path>> {
    static BUILT: OnceLock<Result<Built, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(Built::Program(program)) => Ok(Some(program)),
        Ok(Built::Missing(why)) => {
            skipped(why);
            Ok(None)
        }
        Err(error) => bail!("{error}"),
    }
}

enum Built {
    Program(PathBuf),
    /// Go, or the modules that the program takes, are not to be had here.
    Missing(String),
}

fn build() -> Result<Built> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        timeout(BUILDING, build_program()).await.context("building the Go program")?
    })
}

async fn build_program() -> Result<Built> {
    // What cannot be found is missing here; what cannot be compiled is a fault.
    match go()?.args(["list", "-deps", "."]).output().await {
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
    let name = format!("go-peer{EXE_SUFFIX}");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = go()?.args(["build", "-o"]).arg(&program).output().await?;
    ensure!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Built::Program(program))
}

fn go() -> Result<Command> {
    let mut go = Command::new("go");
    go.current_dir(interop("go")?)
        // The version that is here, and no other.
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    Ok(go)
}

/// The scripts that drive Chromium; says aloud if there is something that they lack.
pub(crate) async fn browser_scripts() -> Result<Option<PathBuf>> {
    let scripts = interop("browser")?;
    let node = Command::new("node").arg("--version").output().await;
    let chromium = var_os("CHROMIUM").unwrap_or_else(|| "/usr/bin/chromium".into());
    let missing = [
        (node.is_ok_and(|output| output.status.success()), "program `node`"),
        (Path::new(&chromium).exists(), "Chromium at /usr/bin/chromium or $CHROMIUM"),
        (
            scripts.join("node_modules/playwright-core").exists(),
            "Playwright, which `npm ci` gets in interop/browser",
        ),
    ]
    .into_iter()
    .find_map(|(here, what)| (!here).then_some(what));
    Ok(match missing {
        None => Some(scripts),
        Some(what) => {
            skipped(format!("no browser: there is no {what}"));
            None
        }
    })
}
