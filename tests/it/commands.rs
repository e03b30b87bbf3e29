//! Each command and each piece of code in the documents: what runs it, or the reason why nothing does.
//!
//! The tool's tests run the commands of `docs/cli.md` from the document itself.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{Over, TestResult, check_echo, echo, listen, run, serve};
use crate::{node, python};

/// The way in which a command or a piece of code is run.
#[derive(Clone, Copy, Debug)]
enum Run {
    /// `.ci/run`, which contains this text.
    Ci(&'static str),
    /// The test of this name in this file.
    Test(&'static str, &'static str),
    /// Nothing, for this reason. It was typed by hand.
    Hand(&'static str),
}

use Run::{Ci, Hand, Test};

const MEASURES: Run =
    Hand("an optimized build and a measurement, which need an idle machine for minutes");
const INSTALLS: &str = "it installs programs on the machine";

const TOOL: Run = Test(
    "crates/cli/tests/it/document.rs",
    "those_of_the_quick_start_and_of_the_options_do_what_the_document_shows",
);
const BROWSER: Run =
    Test("examples/browser/tests/it/main.rs", "a_browser_has_its_conn_over_http_2");
const CHAT: Run =
    Test("examples/chat/tests/it/web.rs", "a_page_over_http_2_and_go_and_we_hear_each_other");
const TERMINAL: Run =
    Test("examples/chat/tests/it/client.rs", "the_host_hints_at_a_command_that_joins");

/// The commands, without the remarks behind `#`.
const COMMANDS: [(&str, Run); 51] = [
    // README.md, CONTRIBUTING.md
    ("cargo run -p echo", Ci("cargo run -q -p echo")),
    ("cargo test --workspace", Ci("tests cargo test --workspace\n")),
    ("cargo install --path crates/cli", Hand(INSTALLS)),
    ("h2conn listen 127.0.0.1:9445 --echo --keep-open &", TOOL),
    ("echo hello | h2conn connect -k localhost:9445", TOOL),
    (".ci/run", Hand("it runs this test")),
    // docs/guide.md
    (
        r"printf 'hi\n' | curl -skN --http2 -T . https://127.0.0.1:8000/",
        Ci("curl -kN --no-progress-meter --max-time 20 --http2 -T . \"$url\""),
    ),
    // docs/tls.md
    (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost \
         -addext subjectAltName=DNS:localhost",
        Test(
            "tests/it/openssl.rs",
            "a_certificate_of_plain_openssl_is_accepted_where_it_was_given",
        ),
    ),
    (
        "openssl x509 -noout -fingerprint -sha256 -in cert.pem",
        Test("tests/it/openssl.rs", "the_fingerprint_that_openssl_prints_can_be_pinned"),
    ),
    // docs/interop.md
    ("npm ci --prefix interop/browser", Ci("npm ci --prefix interop/browser\n")),
    ("cargo run -p browser", BROWSER),
    (
        "node interop/browser/echo.mjs --http2 --screenshot echo.png https://localhost:8000/",
        BROWSER,
    ),
    ("cargo run -p chat -- serve --cert cert.pem --key key.pem", CHAT),
    (
        "node interop/browser/chat.mjs --http2 --screenshot chat.png https://localhost:8000/ ada",
        CHAT,
    ),
    (
        "cd interop/go && go run . -roots \"$(cat ../../cert.pem)\" chat https://localhost:8000/ gopher",
        CHAT,
    ),
    // examples/chat/README.md
    ("cargo run -p chat", TERMINAL),
    ("cargo run -p chat -- connect https://localhost:8000/ --name ada -k", TERMINAL),
    (
        "curl -kNT . https://localhost:8000/json",
        Test("examples/chat/tests/it/web.rs", "curl_posts_in_json"),
    ),
    // docs/performance.md
    ("cargo bench --bench formats", MEASURES),
    ("cargo bench --bench json", MEASURES),
    ("cargo bench --bench idle", MEASURES),
    ("cd benches/peers", Ci("--manifest-path benches/peers/Cargo.toml")),
    ("cargo run --release -- run", Ci("benches/peers/Cargo.toml --target-dir target -- run")),
    (
        "cargo run --release -- run --workload bulk --peer h2conn --peer tonic --rounds 3",
        Ci("benches/peers/Cargo.toml --target-dir target -- run"),
    ),
    ("cargo run --release -- instructions", MEASURES),
    ("cargo run --release -- requests --rounds 3", MEASURES),
    (
        "head -c 1073741824 /dev/zero | h2conn connect --cacert c.pem https://127.0.0.1:7001/",
        MEASURES,
    ),
    (
        "cargo run --release -- run --workload bulk --round-trip 100 --rate 1000 --rounds 3 --millis 5000 --cleartext",
        MEASURES,
    ),
    ("H2CONN_LONG=1 cargo test --release -p chat --test it load -- --nocapture", MEASURES),
    // docs/testing.md
    (
        "H2CONN_LONG=1 cargo test --test it -- honest bulk churn hostile keep_alive slow_line nettest",
        Ci("honest bulk churn hostile keep_alive slow_line\n"),
    ),
    ("H2CONN_LONG=1 cargo test --release --test it -- model", MEASURES),
    (
        "RUSTFLAGS='--cfg h2conn_loom' CARGO_TARGET_DIR=target/loom cargo test --profile loom --lib loom",
        Ci("cargo test --profile loom --lib loom; }"),
    ),
    (
        "cargo test --lib --no-default-features",
        Ci("tests cargo test --lib --no-default-features\n"),
    ),
    (
        "cargo test --lib --no-default-features --features aws-lc-rs tls",
        Ci("tests cargo test --lib --no-default-features --features aws-lc-rs tls\n"),
    ),
    (
        "cargo test --manifest-path interop/axum-server/Cargo.toml --target-dir target",
        Ci("cargo test --manifest-path interop/axum-server/Cargo.toml --target-dir target)"),
    ),
    (
        "cargo test --manifest-path interop/grpc/Cargo.toml --target-dir target",
        Ci("tests cargo test --manifest-path interop/grpc/Cargo.toml --target-dir target\n"),
    ),
    (
        ".ci/windows",
        Hand("it builds all dependencies and std for Windows, which takes as long again"),
    ),
    (
        "cargo fuzz run --release --sanitizer none server_link -- -max_total_time=600 -timeout=20 \
         -rss_limit_mb=1024 -max_len=4096",
        Ci("cargo fuzz run --release --sanitizer none \"$1\""),
    ),
    ("cargo test -p browser -- --nocapture", Ci("tests cargo test --workspace\n")),
    ("apt-get install nginx haproxy apache2-bin nghttp2-proxy", Ci("missing+=(nginx)")),
    ("python3 -m venv interop/proxies/.venv", Ci("python3 -m venv interop/proxies/.venv\n")),
    (
        "interop/proxies/.venv/bin/pip install -r interop/proxies/requirements.txt",
        Ci("-r interop/proxies/requirements.txt\n"),
    ),
    (
        "cargo test -p h2conn-cli --test it proxies",
        Ci("cargo test -p h2conn-cli --test it proxies"),
    ),
    ("npm ci --prefix interop/websocket/node", Ci("npm ci --prefix interop/websocket/node\n")),
    (
        "python3 -m venv interop/websocket/python/.venv",
        Ci("python3 -m venv interop/websocket/python/.venv\n"),
    ),
    (
        "interop/websocket/python/.venv/bin/pip install -r interop/websocket/python/requirements.txt",
        Ci("-r interop/websocket/python/requirements.txt\n"),
    ),
    ("cargo test -p h2conn-cli --test it foreign", Ci("tests cargo test --workspace\n")),
    ("python3 -m venv interop/python/.venv", Ci("python3 -m venv interop/python/.venv\n")),
    (
        "interop/python/.venv/bin/pip install -r interop/python/requirements.txt",
        Ci("-r interop/python/requirements.txt"),
    ),
    (
        "RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo check -Zbuild-std \
         --target x86_64-unknown-freebsd -p h2conn -p h2conn-engine --no-default-features",
        Hand("it builds std from the sources of Debian's compiler"),
    ),
    (
        "RUSTC_BOOTSTRAP=1 RUSTC=/usr/bin/rustc /usr/bin/cargo check -Zbuild-std \
         --target aarch64-apple-darwin -p h2conn -p h2conn-engine --no-default-features",
        Hand("it builds std from the sources of Debian's compiler"),
    ),
];

const DOCTESTS: Run = Ci("tests cargo test --workspace\n");
const PROXIES: Run =
    Test("crates/cli/tests/it/proxies.rs", "the_document_shows_the_configurations_that_were_run");
const DEPENDENCIES: Run = Hand("lines of another crate's Cargo.toml");

/// The languages of the other pieces in each document.
const PIECES: [(&str, &str, Run); 22] = [
    ("README.md", "rust", DOCTESTS),
    ("README.md", "toml", DEPENDENCIES),
    ("docs/cli.md", "ini", Hand("a service of systemd, which a machine under test may not have")),
    ("docs/formats.md", "rust", DOCTESTS),
    ("docs/formats.md", "toml", DEPENDENCIES),
    ("docs/guide.md", "rust", DOCTESTS),
    ("docs/guide.md", "rust,no_run", DOCTESTS),
    (
        "docs/guide.md",
        "diff",
        Test("tests/it/commands.rs", "the_lines_for_a_router_are_those_of_the_example"),
    ),
    (
        "docs/guide.md",
        "js",
        Test(
            "examples/browser/tests/it/main.rs",
            "a_page_talks_in_json_and_shows_its_token_over_http_2",
        ),
    ),
    ("docs/guide.md", "go", Hand("Go's module proxy does not have the library that it uses")),
    (
        "docs/interop.md",
        "go",
        Test("tests/it/go.rs", "the_go_code_in_the_documents_is_what_is_tested"),
    ),
    (
        "docs/interop.md",
        "js",
        Test("tests/it/node.rs", "the_node_code_in_the_documents_is_what_is_tested"),
    ),
    (
        "docs/interop.md",
        "python",
        Test("tests/it/python.rs", "the_python_code_in_the_documents_is_what_is_tested"),
    ),
    ("docs/operations.md", "rust,no_run", DOCTESTS),
    ("docs/proxies.md", "apache", PROXIES),
    ("docs/proxies.md", "caddyfile", PROXIES),
    ("docs/proxies.md", "haproxy", PROXIES),
    ("docs/proxies.md", "ini", PROXIES),
    ("docs/proxies.md", "nginx", PROXIES),
    ("docs/proxies.md", "yaml", PROXIES),
    ("docs/tls.md", "rust", DOCTESTS),
    ("docs/tls.md", "toml", DEPENDENCIES),
];

/// A document's name, and its text.
type Document = (String, String);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> Result<String> {
    fs::read_to_string(root().join(name)).with_context(|| name.to_owned())
}

/// The documents for users and developers.
fn documents() -> Result<Vec<Document>> {
    let mut names = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/chat/README.md"]
        .map(str::to_owned)
        .to_vec();
    for entry in fs::read_dir(root().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names.sort();
    names.into_iter().map(|name| Ok((name.clone(), read(&name)?))).collect()
}

/// The pieces of code in a document: their language, and their lines without the indentation of the fence.
fn pieces(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut pieces: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut fence = None;
    for line in text.lines() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (bare.strip_prefix("```"), fence) {
            (Some(language), None) => {
                pieces.push((language, Vec::new()));
                fence = Some(indent);
            }
            (Some(""), Some(_)) => fence = None,
            (_, Some(indent)) => {
                let line = line.get(indent..).unwrap_or_default();
                pieces.last_mut().expect("a fence has begun").1.push(line);
            }
            (_, None) => {}
        }
    }
    pieces
}

/// The only piece in this language that contains `part`.
fn piece(document: &str, language: &str, part: &str) -> Result<String> {
    let text = read(document)?;
    let mut found = pieces(&text)
        .into_iter()
        .filter(|piece| piece.0 == language)
        .map(|piece| piece.1.join("\n"))
        .filter(|code| code.contains(part));
    let code = found.next().with_context(|| format!("{document} has no {language} with {part}"))?;
    ensure!(found.next().is_none(), "{document} has more than one {language} with {part}");
    Ok(code)
}

/// The commands of a document, without the remarks behind them.
fn commands(text: &str) -> Vec<&str> {
    let consoles = pieces(text).into_iter().filter(|piece| piece.0 == "console");
    let lines = consoles.flat_map(|piece| piece.1);
    let typed = lines.filter_map(|line| line.strip_prefix("$ "));
    typed
        .map(|line| {
            line.split("  ").next().unwrap_or(line).split(" #").next().unwrap_or(line).trim()
        })
        .collect()
}

/// Fails unless that which runs it is there.
fn check(what: &str, run: Run) -> Result<()> {
    match run {
        Ci(text) => ensure!(read(".ci/run")?.contains(text), "{what}: .ci/run has no {text:?}"),
        Test(file, name) => {
            let is_there = read(file)?.contains(&format!("fn {name}("));
            ensure!(is_there, "{what}: {file} has no test {name}");
        }
        Hand(reason) => ensure!(!reason.is_empty(), "{what}: a reason is missing"),
    }
    Ok(())
}

#[test]
fn each_command_of_the_documents_is_run_or_there_is_a_reason() -> Result<()> {
    let documents = documents()?;
    let others = documents.iter().filter(|(name, _)| name != "docs/cli.md");
    let typed: Vec<_> = others
        .flat_map(|(name, text)| commands(text).into_iter().map(move |line| (name, line)))
        .collect();
    for (name, line) in &typed {
        let is_known = COMMANDS.iter().any(|(command, _)| command == line);
        ensure!(is_known, "{name}: nothing is said here of what runs this: {line}");
    }
    for (command, run) in COMMANDS {
        ensure!(typed.iter().any(|(_, line)| *line == command), "no document has this: {command}");
        check(command, run)?;
    }
    Ok(())
}

#[test]
fn each_piece_of_code_in_the_documents_is_run_or_there_is_a_reason() -> Result<()> {
    let documents = documents()?;
    let mut seen = Vec::new();
    for (name, text) in &documents {
        for (language, _) in pieces(text) {
            if !["console", "text", ""].contains(&language) {
                seen.push((name.as_str(), language));
            }
        }
    }
    for place in &seen {
        let is_known = PIECES.iter().any(|(name, language, _)| (*name, *language) == *place);
        ensure!(is_known, "nothing is said here of what runs this: {place:?}");
    }
    for (name, language, run) in PIECES {
        ensure!(seen.contains(&(name, language)), "{name} has no {language}");
        check(name, run)?;
        if run_is_a_doctest(run) {
            let included = format!("include_str!(\"../{name}\")");
            ensure!(read("src/lib.rs")?.contains(&included), "src/lib.rs has no {included}");
        }
    }
    Ok(())
}

fn run_is_a_doctest(run: Run) -> bool {
    matches!((run, DOCTESTS), (Ci(text), Ci(doctests)) if text == doctests)
}

/// The two lines that a program has after it has moved from `axum::serve`.
#[test]
fn the_lines_for_a_router_are_those_of_the_example() -> Result<()> {
    let diff = piece("docs/guide.md", "diff", "axum::serve")?;
    let (before, after) =
        (read("examples/on-axum/src/main.rs")?, read("examples/serve/src/main.rs")?);
    for (sign, code, call) in
        [("-", before, "axum::serve(listener, app)"), ("+", after, "h2conn::serve(listener, app)")]
    {
        ensure!(diff.lines().any(|line| line.starts_with(sign) && line.contains(call)), "{diff}");
        let code: String = code.split_whitespace().collect();
        let signal = ".with_graceful_shutdown(interrupted())";
        ensure!(code.contains(&format!("{call}{signal}").replace(' ', "")), "no {call}{signal}");
    }
    Ok(())
}

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
    for part in ["http.DefaultClient", "http.HandleFunc"] {
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
