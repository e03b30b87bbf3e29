//! Node's own `http2` at the other end, as a client and as a server (`interop/node`).

use std::io::ErrorKind::NotFound;

use tokio::process::Command;

use crate::support::scenarios;
use crate::support::script::Script;
use crate::support::{TestResult, run, skipped};

/// Runs a test with a watchdog. Prints a message if there is no Node.
fn with_node<Fut>(test: impl FnOnce(Script) -> Fut) -> TestResult
where
    Fut: Future<Output = TestResult>,
{
    run(async {
        match is_here().await? {
            true => test(Script { interpreter: "node".into(), path: "node/peer.mjs" }).await,
            false => Ok(()),
        }
    })
}

/// Whether there is Node. Prints a message if not.
pub(crate) async fn is_here() -> TestResult<bool> {
    match Command::new("node").arg("--version").output().await {
        Err(error) if error.kind() == NotFound => {
            skipped("no Node: there is no program `node`");
            Ok(false)
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(true),
    }
}

#[test]
fn what_we_say_comes_back_from_node() -> TestResult {
    with_node(|node| async move { scenarios::echo(&node).await })
}

#[test]
fn node_counts_our_json_values() -> TestResult {
    with_node(|node| async move { scenarios::json(&node).await })
}

#[test]
fn an_answer_comes_after_the_end_of_the_question_with_node() -> TestResult {
    with_node(|node| async move { scenarios::half_close(&node).await })
}

#[test]
fn node_and_we_write_more_than_the_windows_both_ways_at_once() -> TestResult {
    with_node(|node| async move { scenarios::transfer(&node).await })
}

#[test]
fn node_that_gives_up_is_a_reset_here_with_its_reason() -> TestResult {
    with_node(|node| async move { scenarios::their_reset(&node).await })
}

#[test]
fn our_reset_is_an_error_for_node_with_its_reason() -> TestResult {
    with_node(|node| async move { scenarios::our_reset(&node).await })
}

#[test]
fn a_node_process_that_is_killed_is_an_error_here_and_not_an_end() -> TestResult {
    with_node(|node| async move { scenarios::killed(&node).await })
}

#[test]
fn the_node_code_in_the_documents_is_what_is_tested() {
    let document = include_str!("../../docs/interop.md");
    for (name, code) in [
        ("client.mjs", include_str!("../../interop/node/client.mjs")),
        ("server.mjs", include_str!("../../interop/node/server.mjs")),
    ] {
        let block = format!("```js\n{code}```\n");
        assert!(document.contains(&block), "docs/interop.md has other code than {name}");
    }
}
