//! Help, completions and manual pages, which are all made from the same definitions.

use anyhow::ensure;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};

use crate::support::{TestResult, h2conn};

const COMMANDS: [&str; 5] = ["connect", "listen", "ping", "completions", "man"];

#[test]
fn help_and_version_are_data_and_no_failure() {
    for args in [&["--help"][..], &["-h"], &["help"]] {
        h2conn(args).assert().success().stderr("").stdout(contains("Exit codes:"));
    }
    h2conn(["--version"]).assert().success().stdout(starts_with("h2conn "));
    for command in COMMANDS {
        h2conn([command, "--help"]).assert().success().stdout(contains("Usage: h2conn"));
    }
}

#[test]
fn each_shell_has_a_script_that_knows_all_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let mut assert = h2conn(["completions", shell]).assert().success().stderr("");
        for command in COMMANDS {
            assert = assert.stdout(contains(command));
        }
    }
}

#[test]
fn each_command_has_a_page() -> TestResult {
    h2conn(["man"]).assert().success().stdout(contains(".TH h2conn 1").and(contains("Exit codes")));
    h2conn(["man", "connect"]).assert().success().stdout(contains("unix\\-socket"));
    let folder = tempfile::tempdir()?;
    // It need not be there.
    let pages = folder.path().join("man1");
    let path = pages.to_string_lossy().into_owned();
    h2conn(["man", "--dir", &path]).assert().success().stdout("");
    for command in COMMANDS {
        let page = std::fs::read_to_string(pages.join(format!("h2conn-{command}.1")))?;
        ensure!(page.contains(".TH"), "{command}");
    }
    Ok(())
}
