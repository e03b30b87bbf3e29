//! Each command and each piece of code in the documents: how it is run, or the reason why it is not.
//!
//! The tool's tests run the commands of `docs/cli.md` from the document itself.

mod short;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use table::Run::{self, Ci, Hand, Test};
use table::{COMMANDS, DOCTESTS, PIECES};

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
