//! Caps on what strangers can have opened, and the descriptors behind them.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::served::Tool;
use crate::support::h2conn;

/// The soft limit in what /proc says of a process.
fn soft_limit(limits: &str) -> u64 {
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_server_may_open_as_much_as_the_system_allows_and_its_commands_as_much_as_before() {
    const FEW: &str = "ulimit -S -n 123";
    let args = ["listen", "127.0.0.1:0", "--cleartext", "-k", "--exec"];
    // The shell that --exec starts is another than the one that is asked here.
    let exec = "ulimit -S -n; grep 'Max open files' /proc/$PPID/limits";
    let mut listen = Tool::start_after(FEW, &[&args[..], &[exec]].concat());
    let line = listen.says("listening on ").await;
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    let output = tokio::task::spawn_blocking(move || h2conn(["connect", &url]).output());
    let said = String::from_utf8(output.await.unwrap().unwrap().stdout).unwrap();
    let (own, of_parent) = said.split_once('\n').unwrap();
    assert_eq!(own, "123");
    assert!(soft_limit(of_parent) > 123, "{said}");
}
