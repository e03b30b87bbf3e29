//! Programs that are independent of this one, at either end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

use crate::support::{Server, TestResult, h2conn, noise, wait};
use crate::tools::{go_peer, skipped};

#[test]
fn curl_has_its_bytes_sent_back() -> TestResult {
    let version = Command::new("curl").arg("-V").output();
    if !version.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains("HTTP2")) {
        skipped("no curl with HTTP/2");
        return Ok(());
    }
    let server = Server::start(&["--echo"])?;
    let mut curl = Command::new("curl");
    curl.args(["-q", "-skN", "--noproxy", "*", "--http2", "-T", ".", &server.url]);
    let bytes = noise(300_000);
    let assert = assert_cmd::Command::from_std(curl).write_stdin(bytes.clone()).assert().success();
    ensure!(assert.get_output().stdout == bytes, "they are not the same");
    ensure!(server.wait()?.code == Some(0));
    Ok(())
}

/// A Go program that plays one end of a connection. It ends with the test.
struct Go(Child);

impl Go {
    fn new(program: &Path, args: &[&str]) -> TestResult<Go> {
        let mut go = Command::new(program);
        go.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        Ok(Go(go.spawn()?))
    }

    /// Checks that the program reports success.
    fn check(mut self, mut lines: impl BufRead) -> TestResult {
        let mut line = String::new();
        lines.read_line(&mut line)?;
        ensure!(line == "ok\n", "{line:?}");
        // A client stays as long as its input is open.
        drop(self.0.stdin.take());
        ensure!(wait(&mut self.0)?.success());
        Ok(())
    }

    fn lines(&mut self) -> TestResult<impl BufRead + use<>> {
        Ok(BufReader::new(self.0.stdout.take().context("a pipe")?))
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_client_in_go_is_served() -> TestResult {
    let Some(program) = go_peer()? else { return Ok(()) };
    let mut services = vec![("both-ways", vec!["--cleartext", "--echo"])];
    if cfg!(unix) {
        let answer = "test \"$(cat)\" = question && printf answer";
        services.push(("ask", vec!["--cleartext", "--exec", answer]));
    }
    for (scenario, args) in services {
        let server = Server::start(&args)?;
        let mut go = Go::new(program, &["client", scenario, &server.url])?;
        let lines = go.lines()?;
        go.check(lines).with_context(|| scenario.to_owned())?;
        let ended = server.wait()?;
        ensure!(ended.code == Some(0), "{scenario}: {ended:?}");
    }
    Ok(())
}

#[test]
fn a_server_in_go_is_talked_to() -> TestResult {
    let Some(program) = go_peer()? else { return Ok(()) };
    let serve = |scenario| -> TestResult<_> {
        let mut go = Go::new(program, &["server", scenario])?;
        let mut lines = go.lines()?;
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let url = line.trim_end().strip_prefix("listening on ").context("a place")?.to_owned();
        Ok((go, lines, url))
    };
    let bytes = noise(3_000_000);
    let (go, lines, url) = serve("echo")?;
    let assert = h2conn(["connect", &url]).write_stdin(bytes.clone()).assert().success();
    ensure!(assert.get_output().stdout == bytes, "they are not the same");
    go.check(lines)?;

    let (go, lines, url) = serve("answer")?;
    h2conn(["connect", &url]).write_stdin("question").assert().success().stdout("answer");
    go.check(lines)
}
