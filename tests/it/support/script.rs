//! Scripts in another language at the other end. They play scenarios by name: a server plays the
//! one that each path names, a client plays one.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use super::process::{Output, output};
use super::{Over, Site, TestResult};

/// A script, and its interpreter.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) interpreter: PathBuf,
    /// The path below the folder `interop`.
    pub(crate) path: &'static str,
}

impl Script {
    /// Starts a server.
    pub(crate) async fn serve(&self, over: Over) -> TestResult<(Process, Site)> {
        let mut arguments = vec!["serve"];
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".into()])?;
        let certificate = (over == Over::Tls).then(|| made.cert.pem());
        let identity = match &certificate {
            Some(pem) => Some(Scratch::new(&format!("{pem}{}", made.signing_key.serialize_pem()))?),
            None => None,
        };
        arguments.extend(identity.as_ref().map(Scratch::path).transpose()?);
        let mut process = self.start(&arguments)?;
        // The script has read the file when it reports its address.
        let line = process.line().await?;
        let (_, addr) = line.split_once("://").with_context(|| line.clone())?;
        let site = Site { addr: addr.parse()?, certificate };
        Ok((process, site))
    }

    /// Starts a client of our server.
    pub(crate) fn connect(&self, scenario: &str, site: &Site) -> TestResult<Process> {
        let url = site.url("/a/path");
        let mut arguments = vec!["connect", scenario, &url];
        let roots = site.certificate.as_deref().map(Scratch::new).transpose()?;
        arguments.extend(roots.as_ref().map(Scratch::path).transpose()?);
        let mut process = self.start(&arguments)?;
        process.reads = roots;
        Ok(process)
    }

    fn start(&self, arguments: &[&str]) -> TestResult<Process> {
        let what = format!("{} {}", self.path, arguments.join(" "));
        let mut child = Command::new(&self.interpreter)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(self.path))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| what.clone())?;
        let output = output(&mut child)?;
        Ok(Process { child, output, what, reads: None })
    }
}

/// A running script. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: Output,
    what: String,
    /// A client reads this file after its start.
    reads: Option<Scratch>,
}

impl Process {
    async fn line(&mut self) -> TestResult<String> {
        let line = self.output.next_line().await?;
        line.with_context(|| format!("{} has ended its output", self.what))
    }

    /// Waits for the result of a scenario.
    pub(crate) async fn result(&mut self, scenario: &str) -> TestResult<String> {
        let line = self.line().await?;
        let result = line.strip_prefix(scenario).and_then(|rest| rest.strip_prefix(": "));
        Ok(result.with_context(|| format!("{} said {line:?}", self.what))?.to_owned())
    }

    /// Waits until a client has ended well.
    pub(crate) async fn exit(mut self) -> TestResult {
        let line = self.output.next_line().await?;
        let status = self.child.wait().await?;
        ensure!(line.is_none() && status.success(), "{}: {status}, {line:?}", self.what);
        Ok(())
    }

    /// Kills the script.
    pub(crate) async fn kill(mut self) -> TestResult {
        Ok(self.child.kill().await?)
    }
}

/// A file that is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(content: &str) -> TestResult<Scratch> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("script-{}-{number}.pem", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, content)?;
        Ok(Scratch(path))
    }

    pub(crate) fn path(&self) -> TestResult<&str> {
        self.0.to_str().context("a path in Unicode")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that cannot be removed does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
