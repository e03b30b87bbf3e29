//! A shell in which the commands of documents run as their readers type them.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::support::{Server, TestResult, program};

/// A folder in which a shell knows the program.
pub(crate) struct Shell(TempDir);

impl Shell {
    pub(crate) fn new() -> TestResult<Shell> {
        Ok(Shell(tempfile::tempdir()?))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> TestResult {
        Ok(std::fs::write(self.path().join(name), text)?)
    }

    pub(crate) fn read(&self, name: &str) -> TestResult<String> {
        std::fs::read_to_string(self.path().join(name)).context(name.to_owned())
    }

    pub(crate) fn command(&self, shell: &str, line: &str) -> TestResult<Command> {
        let program = program();
        let bin = Path::new(program.get_program()).parent().context("the program has no folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(shell);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.args(["-c", line]).current_dir(self.path());
        command.env("PATH", format!("{}:{path}", bin.display())).stdin(Stdio::null());
        // The certificates that the program trusts without --cacert.
        command.env("SSL_CERT_FILE", self.path().join("cert.pem"));
        Ok(command)
    }

    /// Runs a line to its end, with this input, and gives its output.
    pub(crate) fn run(&self, line: &str, input: &str) -> TestResult<String> {
        Ok(self.output(line, input)?.0)
    }

    /// Like [`Shell::run`], with the messages on standard error too.
    pub(crate) fn output(&self, line: &str, input: &str) -> TestResult<(String, String)> {
        let mut command = self.command("sh", line)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("a pipe")?.write_all(input.as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{line}: {}: {said}", output.status);
        Ok((String::from_utf8(output.stdout)?, said))
    }

    /// Whether there is such a program.
    pub(crate) fn has(&self, program: &str) -> bool {
        self.run(&format!("command -v {program} >/dev/null"), "").is_ok()
    }

    /// Runs a line that listens.
    pub(crate) fn listen(&self, line: &str) -> TestResult<Server> {
        Server::run(&mut self.command("sh", &format!("exec {line}"))?)
    }

    /// Writes the certificate of `identity.pem` to `cert.pem`, by the example for it where there is an openssl.
    pub(crate) fn certificate(&self, example: &str) -> TestResult {
        if self.has("openssl") {
            self.run(example, "")?;
            ensure!(!self.read("cert.pem")?.contains("PRIVATE KEY"));
            return Ok(());
        }
        self.write("cert.pem", &self.read("identity.pem")?)
    }
}

/// The port that a server listens on.
pub(crate) fn port(server: &Server) -> TestResult<String> {
    let port = server.url.trim_end_matches('/').rsplit_once(':').context("a URL")?.1;
    Ok(port.to_owned())
}

/// A TCP server that sends back what comes. It ends with the test.
pub(crate) fn echo() -> TestResult<String> {
    let listener = TcpListener::bind("localhost:0")?;
    let port = listener.local_addr()?.port().to_string();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut &socket, &mut &socket));
        }
    });
    Ok(port)
}
