//! Python's `h2` package at the other end, as a client and as a server (`interop/python`).

use std::env::var_os;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::support::scenarios;
use crate::support::script::Script;
use crate::support::{Over, TestResult, accept, listen, run, skipped};

/// Runs a test with a watchdog. Prints a message if there is no Python with the package.
fn with_python<Fut>(test: impl FnOnce(Script) -> Fut) -> TestResult
where
    Fut: Future<Output = TestResult>,
{
    run(async {
        match with_package("h2").await {
            Some(interpreter) => test(Script { interpreter, path: "python/peer.py" }).await,
            None => Ok(()),
        }
    })
}

/// A Python that has this package. Prints a message if there is none.
pub(crate) async fn with_package(package: &str) -> Option<PathBuf> {
    for interpreter in interpreters() {
        if has(&interpreter, package).await {
            return Some(interpreter);
        }
    }
    skipped(format!("no Python with the package {package}: see docs/testing.md"));
    None
}

/// The places where Python may be: `$PYTHON` if it is set, otherwise the one that CI makes, or the
/// system's.
fn interpreters() -> Vec<PathBuf> {
    if let Some(python) = var_os("PYTHON") {
        return vec![python.into()];
    }
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python/.venv");
    let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
    vec![made.join(program), "python3".into()]
}

/// Whether this is Python 3.11 with the package.
async fn has(interpreter: &Path, package: &str) -> bool {
    let code = format!("import sys, {package}; sys.exit(sys.version_info < (3, 11))");
    let mut python = Command::new(interpreter);
    python.args(["-c", &code]).stdin(Stdio::null()).kill_on_drop(true);
    python.output().await.is_ok_and(|output| output.status.success())
}

#[test]
fn what_we_say_comes_back_from_python() -> TestResult {
    with_python(|python| async move { scenarios::echo(&python).await })
}

#[test]
fn python_counts_our_json_values() -> TestResult {
    with_python(|python| async move { scenarios::json(&python).await })
}

#[test]
fn an_answer_comes_after_the_end_of_the_question_with_python() -> TestResult {
    with_python(|python| async move { scenarios::half_close(&python).await })
}

#[test]
fn python_and_we_write_more_than_the_windows_both_ways_at_once() -> TestResult {
    with_python(|python| async move { scenarios::transfer(&python).await })
}

#[test]
fn python_that_gives_up_is_a_reset_here_with_its_reason() -> TestResult {
    with_python(|python| async move { scenarios::their_reset(&python).await })
}

#[test]
fn our_reset_is_an_error_for_python_with_its_reason() -> TestResult {
    with_python(|python| async move { scenarios::our_reset(&python).await })
}

#[test]
fn a_python_process_that_is_killed_is_an_error_here_and_not_an_end() -> TestResult {
    with_python(|python| async move { scenarios::killed(&python).await })
}

/// Fails when h2 has learned to go on after GOAWAY; docs/interop.md says that it cannot.
#[test]
fn a_listener_that_drains_cuts_python_off() -> TestResult {
    with_python(|python| async move {
        let (mut listener, site) = listen(Over::Cleartext).await?;
        let mut process = python.connect("hold", &site)?;
        let mut conn = accept(&mut listener).await?;
        conn.read_exact(&mut [0; 6]).await?;
        conn.write_all(b"!").await?;
        let draining = tokio::spawn(listener.drain(Duration::from_secs(20)));
        conn.draining().await;
        // The PING after the GOAWAY may already have cut it off.
        let _ = conn.write_all(b"more").await;
        let result = process.result("hold").await?;
        ensure!(result.contains("ConnectionState.CLOSED"), "{result}");
        ensure!(conn.read(&mut [0; 1]).await.is_err(), "it ended well");
        draining.await?;
        Ok(())
    })
}

#[test]
fn the_python_code_in_the_documents_is_what_is_tested() {
    let document = include_str!("../../docs/interop.md");
    for (name, code) in [
        ("client.py", include_str!("../../interop/python/client.py")),
        ("server.py", include_str!("../../interop/python/server.py")),
    ] {
        let block = format!("```python\n{code}```\n");
        assert!(document.contains(&block), "docs/interop.md has other code than {name}");
    }
}
