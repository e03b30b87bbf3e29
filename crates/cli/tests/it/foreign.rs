//! `connect` to servers of WebSockets that others wrote (`interop/websocket`): coder/websocket and gorilla in Go, ws in Node,
//! and websockets in Python.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context, ensure};
use h2conn::{Client, Reach};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::support::{TestResult, WATCHDOG, connected, h2conn, noise, wait};
use crate::tools::{Outcome, go_program, interop, skipped};

/// A library for servers of WebSockets.
#[derive(Clone, Copy, Debug)]
enum Library {
    Coder,
    Gorilla,
    Ws,
    Websockets,
}

/// A running server. It ends with its input.
struct Server {
    child: Child,
    address: String,
    _input: ChildStdin,
}

impl Library {
    /// The command that runs the server, if this machine has what it needs. Prints a message otherwise.
    fn command(self) -> TestResult<Option<Command>> {
        let folder = interop("websocket")?;
        Ok(match self {
            Library::Coder => in_go()?.map(|program| with(program, "coder")),
            Library::Gorilla => in_go()?.map(|program| with(program, "gorilla")),
            Library::Ws => {
                let is_there = folder.join("node/node_modules/ws").exists();
                let node = if is_there { Some(Path::new("node")) } else { missing("ws of Node") };
                node.map(|node| with(node, folder.join("node/server.mjs")))
            }
            Library::Websockets => {
                let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
                let python = folder.join("python/.venv").join(program);
                let python =
                    if python.exists() { Some(python) } else { missing("websockets of Python") };
                python.map(|python| with(&python, folder.join("python/server.py")))
            }
        })
    }

    fn serve(self) -> TestResult<Option<Server>> {
        let Some(mut command) = self.command()? else { return Ok(None) };
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{self:?}"))?;
        let input = child.stdin.take().context("a pipe")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on http://").context(line.clone())?;
        Ok(Some(Server { child, address: address.to_owned(), _input: input }))
    }
}

/// The servers in Go, built once.
fn in_go() -> TestResult<Option<&'static Path>> {
    static BUILT: OnceLock<Outcome> = OnceLock::new();
    go_program(&BUILT, "websocket/go", ".", "go-websockets")
}

fn with(program: &Path, argument: impl Into<PathBuf>) -> Command {
    let mut command = Command::new(program);
    command.arg(argument.into());
    command
}

fn missing<T>(what: &str) -> Option<T> {
    skipped(format_args!("no {what}: .ci/run installs it"));
    None
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn url(&self, path: &str) -> String {
        format!("ws://{}/{path}", self.address)
    }
}

/// A client with its input and output.
fn talk(args: &[&str]) -> TestResult<(Child, ChildStdin, BufReader<ChildStdout>)> {
    let mut client = connected(args)?;
    let input = client.stdin.take().context("a pipe")?;
    let output = BufReader::new(client.stdout.take().context("a pipe")?);
    Ok((client, input, output))
}

fn ends_well(mut client: Child, input: ChildStdin, mut output: impl Read) -> TestResult {
    drop(input);
    let mut rest = Vec::new();
    output.read_to_end(&mut rest)?;
    ensure!(rest.is_empty(), "{} bytes more", rest.len());
    ensure!(wait(&mut client)?.success());
    Ok(())
}

/// Lines come back one by one, and the pings of both ends are answered.
fn lines(server: &Server) -> TestResult {
    let url = server.url("echo");
    let (client, mut input, mut output) = talk(&[&url])?;
    let long = "long ".repeat(2_000_000);
    for line in ["a line", "", "wörld ☃", &long, "the last"] {
        writeln!(input, "{line}")?;
        let mut back = String::new();
        output.read_line(&mut back)?;
        ensure!(back.trim_end_matches('\n') == line, "{} bytes came back", back.len());
    }
    ends_well(client, input, output)?;
    h2conn(["connect", "-q", "1h", &server.url("pinged")])
        .write_stdin("are you there?\n")
        .assert()
        .success()
        .stdout("are you there?\n");
    Ok(())
}

/// So many bytes go there and back at once.
fn bytes(server: &Server, many: usize) -> TestResult {
    const PIECE: usize = 1 << 20;
    let (client, mut input, mut output) = talk(&["--binary", &server.url("echo")])?;
    let piece = noise(PIECE);
    let said = piece.clone();
    let writing = thread::spawn(move || {
        for _ in 0..many / PIECE {
            input.write_all(&said)?;
        }
        std::io::Result::Ok(input)
    });
    let mut back = vec![0; PIECE];
    for number in 0..many / PIECE {
        output.read_exact(&mut back)?;
        ensure!(back == piece, "megabyte {number} is not the same");
    }
    let input = writing.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    ends_well(client, input, output)
}

/// The server's status decides on the exit code, and is named.
fn statuses(server: &Server) -> TestResult {
    for (status, code) in [(1000, 0), (1001, 0), (1008, 5), (1011, 5), (3000, 5), (4321, 5)] {
        let url = server.url(&format!("close?status={status}"));
        let client = h2conn(["connect", "-q", "1h", &url]).write_stdin("a line\n").assert();
        let client = client.code(code).stdout("");
        if code != 0 {
            client.stderr(contains(format!("{status}")).and(contains("the test says so")));
        }
    }
    Ok(())
}

/// The first offered subprotocol that the server knows is chosen, and not ours.
fn subprotocol(server: &Server) -> TestResult {
    let args = ["connect", "-v", "--subprotocol", "chat", "-q", "1h"];
    let url = server.url("close?status=1000");
    h2conn(args.iter().copied().chain([&*url]))
        .write_stdin("a line\n")
        .assert()
        .success()
        .stderr(contains("< sec-websocket-protocol: chat"));
    Ok(())
}

/// The library's own ping is answered.
fn ping(server: &Server) -> TestResult {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let pinging = async {
            let client = Client::builder().reach(Reach::WebSocket).build()?;
            let (conn, _) = client.connect(format!("http://{}/echo", server.address)).await?;
            for _ in 0..3 {
                conn.ping().await?;
            }
            conn.close().await?;
            client.close().await?;
            TestResult::Ok(())
        };
        tokio::time::timeout(WATCHDOG, pinging).await?
    })
}

fn with_server(library: Library) -> TestResult {
    let Some(server) = library.serve()? else { return Ok(()) };
    lines(&server)?;
    let many = if std::env::var_os("H2CONN_LONG").is_some() { 512 << 20 } else { 20 << 20 };
    bytes(&server, many)?;
    statuses(&server)?;
    subprotocol(&server)?;
    ping(&server)
}

#[test]
fn coder_in_go() -> TestResult {
    with_server(Library::Coder)
}

#[test]
fn gorilla_in_go() -> TestResult {
    with_server(Library::Gorilla)
}

#[test]
fn ws_in_node() -> TestResult {
    with_server(Library::Ws)
}

#[test]
fn websockets_in_python() -> TestResult {
    with_server(Library::Websockets)
}
