//! The program as its users run it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

fn echo(arguments: &[&str]) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    Ok(command.spawn()?)
}

/// Gives a client these lines, and returns its answers.
fn answers(mut client: Child, lines: &str) -> Result<String> {
    client.stdin.take().context("it is piped")?.write_all(lines.as_bytes())?;
    let output = client.wait_with_output()?;
    ensure!(output.status.success(), "{}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn lines_come_back_in_capitals_from_the_same_process() -> Result<()> {
    let answers = answers(echo(&[])?, "hello\nwörld\n")?;
    ensure!(answers == "HELLO\nWÖRLD\n", "{answers:?}");
    Ok(())
}

#[test]
fn lines_come_back_in_capitals_from_another_process() -> Result<()> {
    let mut server = Server(echo(&["serve", "127.0.0.1:0"])?);
    let mut said = BufReader::new(server.0.stdout.take().context("it is piped")?);
    let mut first = String::new();
    said.read_line(&mut first)?;
    let url = first.trim_end().strip_prefix("listening on ").with_context(|| first.clone())?;
    let answers = answers(echo(&["connect", "-k", url])?, "hello\n")?;
    ensure!(answers == "HELLO\n", "{answers:?}");
    server.0.kill()?;
    let mut rest = String::new();
    said.read_to_string(&mut rest)?;
    ensure!(rest.is_empty(), "{rest:?}");
    Ok(())
}

/// A server that a failed test ends too.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
