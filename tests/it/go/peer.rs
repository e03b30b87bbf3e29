//! The Go program of `interop/go`: built once, run once a connection.

use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::{Over, Site, TestResult, run, skipped};

/// The Go program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Go(&'static Path);

enum Built {
    Program(PathBuf),
    /// Go, or the modules that the program takes, are not to be had here.
    Missing(String),
}

/// Compiling Go's library for the first time takes a while.
const BUILDING: Duration = Duration::from_secs(300);

/// Runs a test with the Go program and a watchdog; says aloud if there is no Go.
pub(super) fn with_go<Fut>(test: impl FnOnce(Go) -> Fut) -> TestResult
where
    Fut: Future<Output = TestResult>,
{
    static BUILT: OnceLock<Result<Built, String>> = OnceLock::new();
    match BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(Built::Program(program)) => run(test(Go(program))),
        Ok(Built::Missing(why)) => {
            skipped(why);
            Ok(())
        }
        Err(error) => bail!("{error}"),
    }
}

fn build() -> TestResult<Built> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        timeout(BUILDING, build_program()).await.context("building the Go program")?
    })
}

async fn build_program() -> TestResult<Built> {
    // What cannot be found is missing here; what cannot be compiled is a fault.
    match go().args(["list", "-deps", "."]).output().await {
        Err(error) if error.kind() == NotFound => {
            return Ok(Built::Missing("no Go: there is no program `go`".into()));
        }
        Err(error) => return Err(error).context("running Go"),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " | ");
            return Ok(Built::Missing(format!("Go has not all it takes: {said}")));
        }
        Ok(_) => {}
    }
    let name = format!("go-peer{}", std::env::consts::EXE_SUFFIX);
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let output = go().args(["build", "-o"]).arg(&program).output().await?;
    ensure!(output.status.success(), "go build: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Built::Program(program))
}

fn go() -> Command {
    let mut go = Command::new("go");
    go.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/go"))
        // The version that is here, and no other.
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    go
}

impl Go {
    /// A server that plays one end of a connection.
    pub(super) async fn serve(self, over: Over, arguments: &[&str]) -> TestResult<(Process, Site)> {
        let flags: &[&str] = if over == Over::Tls { &["-tls"] } else { &[] };
        let mut process = Process::start(self.0, &[flags, arguments].concat())?;
        let mut certificate = String::new();
        let addr = loop {
            let line = process.line().await?;
            match line.split_once("://") {
                Some((_, addr)) => break addr.trim_end_matches('/').parse()?,
                None => certificate.push_str(&format!("{line}\n")),
            }
        };
        let certificate = (over == Over::Tls).then_some(certificate);
        Ok((process, Site { addr, certificate }))
    }

    /// A client that connects to a server of ours and plays its end.
    pub(super) fn connect(self, site: &Site, arguments: &[&str]) -> TestResult<Process> {
        let url = site.url("/a/path");
        let roots = site.certificate.as_deref().unwrap_or_default();
        Process::start(self.0, &[&["-roots", roots], arguments, &[&url]].concat())
    }
}

/// The Go program as it runs. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// A client stays for as long as this is open.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    what: String,
}

impl Process {
    fn start(program: &Path, arguments: &[&str]) -> TestResult<Process> {
        let what = format!("the Go peer {}", arguments.join(" "));
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| what.clone())?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Process { child, input, output, what })
    }

    /// Lets a client exit as soon as it has played its end.
    pub(super) fn may_exit(&mut self) {
        self.input = None;
    }

    async fn line(&mut self) -> TestResult<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        ensure!(line.ends_with('\n'), "{} has ended its output", self.what);
        Ok(line.trim_end().to_owned())
    }

    /// Waits until it has ended well, and gives what else it printed.
    pub(super) async fn finish(mut self) -> TestResult<String> {
        self.may_exit();
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).await?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "{}: {status}, after {printed:?}", self.what);
        let printed = printed.strip_suffix("ok\n");
        Ok(printed.with_context(|| format!("{} did not say ok", self.what))?.to_owned())
    }

    /// Ends it as the system would.
    pub(super) async fn kill(mut self) -> TestResult {
        Ok(self.child.kill().await?)
    }
}
