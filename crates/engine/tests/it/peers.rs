//! The examples against other programs: h2spec, curl, h2load, nghttpd, Go, Node. Prints which of
//! them are missing.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

/// Prints a line even for a test that passes.
fn aloud(what: impl Display) {
    // If standard error is closed, no one can be told.
    let _ = std::io::stderr().write_all(format!("\n{what}\n").as_bytes());
}

fn skipped(why: impl Display) {
    aloud(format_args!("SKIPPED: {why}"));
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program whose first line ends with the address that it listens on.
fn listening(command: &mut Command) -> Result<(Running, String)> {
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut running = Running(child);
    let stdout = running.0.stdout.take().context("its output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let address = line.split_whitespace().last().context("it says where it listens")?.to_owned();
    Ok((running, address))
}

/// The path of an example, which `cargo test` has built.
fn example(name: &str) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("the folder of the build")?;
    let path = target.join("examples").join(name);
    ensure!(path.exists(), "no {}: `cargo test` of all targets builds it", path.display());
    Ok(path)
}

fn echo() -> Result<(Running, String)> {
    listening(Command::new(example("engine_server")?).arg("127.0.0.1:0"))
}

/// Runs the client of the examples, which fails unless all answers are good.
fn client(words: &[&str]) -> Result<()> {
    let output = run(Command::new(example("engine_client")?).args(words))?;
    ensure!(output.status.success(), "{}", text(&output));
    aloud(format_args!("client {}: {}", words.join(" "), text(&output)));
    Ok(())
}

/// Runs a program for at most a minute.
fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_owned();
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(program).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    Ok(limited.stdin(Stdio::null()).output()?)
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).trim().to_owned()
}

fn is_here(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        skipped(format_args!("there is no program `{program}`"));
    }
    found
}

fn interop(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../interop").join(folder)
}

/// Builds a Go program. Prints a message if something is missing.
fn go(folder: &Path, package: &str, name: &str) -> Result<Option<PathBuf>> {
    if !is_here("go", "version") {
        return Ok(None);
    }
    let go = || {
        let mut go = Command::new("go");
        go.current_dir(folder).env("GOTOOLCHAIN", "local").stdin(Stdio::null());
        go
    };
    // A module that cannot be found is missing here. A module that cannot be compiled is an error.
    let listed = go().args(["list", "-deps", package]).output()?;
    if !listed.status.success() {
        skipped(format_args!("Go has not all it takes: {}", text(&listed).replace('\n', " | ")));
        return Ok(None);
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let built = go().args(["build", "-o"]).arg(&program).arg(package).output()?;
    ensure!(built.status.success(), "{}", text(&built));
    Ok(Some(program))
}

#[test]
fn all_cases_of_h2spec_pass() -> Result<()> {
    let package = "github.com/summerwind/h2spec/cmd/h2spec";
    let Some(h2spec) = go(&interop("h2spec"), package, "engine-h2spec")? else { return Ok(()) };
    let (_server, address) = echo()?;
    let port = address.rsplit(':').next().unwrap_or_default();
    let mut command = Command::new(h2spec);
    command.args(["--strict", "--host", "127.0.0.1", "--port", port]);
    // One field of this length must fit into SETTINGS_MAX_HEADER_LIST_SIZE, 16 KiB, and five must
    // exceed SETTINGS_MAX_FRAME_SIZE, 64 KiB.
    command.args(["--max-header-length", "15200"]);
    // No case that passes waits this long. h2spec's own 2 s are too short on a loaded machine.
    let output = run(command.args(["--timeout", "60"]))?;
    let said = text(&output);
    let last = said.lines().last().unwrap_or_default();
    aloud(format_args!("h2spec: {last}"));
    ensure!(last == "146 tests, 146 passed, 0 skipped, 0 failed", "{said}");
    Ok(())
}

#[test]
fn curl_gets_and_gets_back_what_it_posts() -> Result<()> {
    if !is_here("curl", "--version") {
        return Ok(());
    }
    let (_server, address) = echo()?;
    let url = format!("http://{address}/");
    let output = run(Command::new("curl").args(["-sS", "--http2-prior-knowledge", &url]))?;
    ensure!(text(&output) == "This server sends back what it gets.", "{}", text(&output));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-curl");
    let content: Vec<u8> =
        (0..5_000_000_u32).map(|number| (number ^ (number >> 9)) as u8).collect();
    std::fs::write(&path, &content)?;
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--http2-prior-knowledge", &url, "--data-binary"]);
    let output = run(curl.arg(format!("@{}", path.display())))?;
    ensure!(output.stdout == content, "{} bytes came back", output.stdout.len());
    Ok(())
}

#[test]
fn h2load_is_answered_each_of_its_requests() -> Result<()> {
    if !is_here("h2load", "--version") {
        return Ok(());
    }
    let (_server, address) = echo()?;
    let url = format!("http://{address}/");
    let output = run(Command::new("h2load").args(["-n", "10000", "-c", "4", "-m", "100", &url]))?;
    ensure!(text(&output).contains("10000 succeeded, 0 failed, 0 errored"), "{}", text(&output));
    Ok(())
}

#[test]
fn the_client_gets_back_what_it_sends_to_the_server_of_the_examples() -> Result<()> {
    let (_server, address) = echo()?;
    client(&[&address, "/", "3", "3000000", "--echo"])?;
    client(&[&address, "/", "2000", "100", "--echo"])?;
    client(&[&address, "/", "1", "0", "--echo"])
}

#[test]
fn the_client_gets_a_file_of_nghttpd() -> Result<()> {
    if !is_here("nghttpd", "--version") {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-nghttpd");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("file"), vec![7; 3_000_000])?;
    // nghttpd does not print its port.
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let mut nghttpd = Command::new("nghttpd");
    nghttpd.arg("--no-tls").arg("-d").arg(&folder).arg(&port);
    let child = nghttpd.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let _server = Running(child);
    let address = format!("127.0.0.1:{port}");
    wait_for(&address)?;
    client(&[&address, "/file", "10"])
}

/// Waits until a server that prints nothing listens.
fn wait_for(address: &str) -> Result<()> {
    for _ in 0..500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("nobody listens at {address}")
}

#[test]
fn the_client_gets_back_what_it_sends_to_node() -> Result<()> {
    if !is_here("node", "--version") {
        return Ok(());
    }
    let script = "const server = require('http2').createServer();\
        server.on('stream', (stream) => { stream.respond(); stream.pipe(stream); });\
        server.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`));";
    let (_server, address) = listening(Command::new("node").args(["-e", script]))?;
    client(&[&address, "/", "3", "2000000", "--echo"])?;
    client(&[&address, "/", "300", "50", "--echo"])
}

#[test]
fn a_client_and_a_server_of_gos_get_back_what_they_send() -> Result<()> {
    let Some(peer) = go(&interop("go"), "./engine", "engine-go")? else { return Ok(()) };
    let (_server, address) = listening(Command::new(&peer).arg("serve"))?;
    client(&[&address, "/", "3", "2000000", "--echo"])?;
    client(&[&address, "/", "200", "50", "--echo"])?;
    let (_server, address) = echo()?;
    let output = run(Command::new(&peer).args(["send", &format!("http://{address}/")]))?;
    ensure!(output.status.success(), "{}", text(&output));
    aloud(format_args!("Go's client: {}", text(&output)));
    Ok(())
}
