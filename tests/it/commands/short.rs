//! The short pieces of code in `docs/interop.md`, run as they stand there.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use super::{piece, read, root};
use crate::support::{Over, TestResult, check_echo, echo, listen, run, serve};
use crate::{node, python};

/// Starts an interpreter with a program on its input.
async fn start(
    mut interpreter: Command,
    program: &str,
) -> Result<(Child, BufReader<tokio::process::ChildStdout>)> {
    let mut child =
        interpreter.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    input.write_all(program.as_bytes()).await?;
    drop(input);
    let output = BufReader::new(child.stdout.take().context("a pipe")?);
    Ok((child, output))
}

/// A client that says hello to an echo, and prints what comes back.
async fn client(interpreter: Command, program: &str, printed: &str) -> TestResult {
    let (listener, site) = listen(Over::Cleartext).await?;
    serve(listener, echo);
    let program = program.replace("localhost:8000", &site.addr.to_string());
    let (mut child, mut output) = start(interpreter, &program).await?;
    let mut line = String::new();
    output.read_line(&mut line).await?;
    ensure!(line.trim_end() == printed, "{line:?}, from:\n{program}");
    ensure!(child.wait().await?.success(), "{program}");
    Ok(())
}

/// A server that prints its port and echoes.
async fn server(interpreter: Command, program: &str) -> TestResult {
    let (_child, mut output) = start(interpreter, program).await?;
    let mut line = String::new();
    output.read_line(&mut line).await?;
    let port: u16 =
        line.trim_end().parse().with_context(|| format!("{line:?}, from:\n{program}"))?;
    let (conn, _) = h2conn::connect(format!("http://localhost:{port}/")).await?;
    check_echo(conn, b"to a server of the document").await
}

#[test]
fn the_short_pieces_for_node_do_what_they_say() -> TestResult {
    run(async {
        if !node::is_here().await? {
            return Ok(());
        }
        let node = || {
            let mut node = Command::new("node");
            node.args(["--input-type=module", "-"]).current_dir(root().join("interop/node"));
            node
        };
        let code = piece("docs/interop.md", "js", "await connect(")?;
        let program = format!("import {{ connect }} from './client.mjs';\n{code}\nconsole.log();");
        client(node(), &program, "hello").await?;
        let code = piece("docs/interop.md", "js", "}).listen(8000);")?;
        let code = code.replace(
            ".listen(8000)",
            ".listen(0, function () { console.log(this.address().port); })",
        );
        let imports =
            "import { once } from 'node:events';\nimport { createServer } from './server.mjs';";
        server(node(), &format!("{imports}\n{code}")).await
    })
}

#[test]
fn the_short_pieces_for_python_do_what_they_say() -> TestResult {
    run(async {
        let Some(interpreter) = python::with_package("h2").await else { return Ok(()) };
        let python = || {
            let mut python = Command::new(&interpreter);
            python.args(["-u", "-"]).current_dir(root().join("interop/python"));
            python.env("PYTHONDONTWRITEBYTECODE", "1");
            python
        };
        let main = |imports: &str, code: &str| {
            let body = code.lines().map(|line| format!("    {line}\n")).collect::<String>();
            format!("import asyncio\n{imports}\nasync def main():\n{body}\nasyncio.run(main())\n")
        };
        let code = piece("docs/interop.md", "python", "async with connect(")?;
        client(python(), &main("from client import connect", &code), "b'hello'").await?;
        let code = piece("docs/interop.md", "python", "server = await serve(")?;
        let code = code.replace("8000)", "0)\nprint(server.sockets[0].getsockname()[1])");
        server(python(), &main("from server import serve", &code)).await
    })
}

#[test]
fn the_short_pieces_for_go_are_compiled() -> Result<()> {
    let compiled = read("interop/go/documented.go")?;
    for part in ["http.DefaultClient", "ForceAttemptHTTP2", "http.HandleFunc"] {
        let code = piece("docs/interop.md", "go", part)?;
        for line in code.lines().filter(|line| !line.contains("// [ ")) {
            ensure!(
                compiled.contains(line.trim()),
                "interop/go/documented.go has no line {line:?}"
            );
        }
    }
    Ok(())
}
