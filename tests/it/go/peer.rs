//! The Go program of `interop/go`: built once, and run once for each connection.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::support::tools::go_peer;
use crate::support::{Over, Site, TestResult, run};

/// The Go program.
#[derive(Clone, Copy, Debug)]
pub(super) struct Go(&'static Path);

/// Runs a test with the Go program and a watchdog. Prints a message if there is no Go.
pub(super) fn with_go<Fut>(test: impl FnOnce(Go) -> Fut) -> TestResult
where
    Fut: Future<Output = TestResult>,
{
    match go_peer()? {
        Some(program) => run(test(Go(program))),
        None => Ok(()),
    }
}

impl Go {
    /// Starts a server that plays one end of a connection.
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

    /// Starts a client that connects to a server of ours and plays one end.
    pub(super) fn connect(self, site: &Site, arguments: &[&str]) -> TestResult<Process> {
        let url = site.url("/a/path");
        let roots = site.certificate.as_deref().unwrap_or_default();
        Process::start(self.0, &[&["-roots", roots], arguments, &[&url]].concat())
    }
}

/// The running Go program. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// A client runs for as long as this is open.
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

    /// Allows a client to exit as soon as it has played its end.
    pub(super) fn may_exit(&mut self) {
        self.input = None;
    }

    async fn line(&mut self) -> TestResult<String> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        ensure!(line.ends_with('\n'), "{} has ended its output", self.what);
        Ok(line.trim_end().to_owned())
    }

    /// Waits until the program has ended well, and returns the rest of its output.
    pub(super) async fn finish(mut self) -> TestResult<String> {
        self.may_exit();
        let mut printed = String::new();
        self.output.read_to_string(&mut printed).await?;
        let status = self.child.wait().await?;
        ensure!(status.success(), "{}: {status}, after {printed:?}", self.what);
        let printed = printed.strip_suffix("ok\n");
        Ok(printed.with_context(|| format!("{} did not say ok", self.what))?.to_owned())
    }

    /// Kills the program.
    pub(super) async fn kill(mut self) -> TestResult {
        Ok(self.child.kill().await?)
    }
}
