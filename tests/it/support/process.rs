//! Ends that run in processes of their own: this same program, which is told to run one of its
//! tests.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::TestResult;

/// The variable that tells the program its role.
const ROLE: &str = "H2CONN_TEST_ROLE";

/// The role of this process, if [`spawn`] started it.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// Starts this program to run only `test`, which finds its role with [`role`].
pub(crate) fn spawn(test: &str, role: &str) -> TestResult<Child> {
    start(Command::new(std::env::current_exe()?), test, role)
}

/// Like [`spawn`], for a process that may have this many files open.
#[cfg(unix)]
pub(crate) fn spawn_with_files(files: usize, test: &str, role: &str) -> TestResult<Child> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &files.to_string()]);
    spawn_by(shell, test, role)
}

/// Like [`spawn`], through `wrapper`, which runs the program in its last arguments.
pub(crate) fn spawn_by(mut wrapper: Command, test: &str, role: &str) -> TestResult<Child> {
    wrapper.arg(std::env::current_exe()?);
    start(wrapper, test, role)
}

fn start(mut program: Command, test: &str, role: &str) -> TestResult<Child> {
    let child = program
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// The lines that a process prints.
pub(crate) type Output = tokio::io::Lines<BufReader<ChildStdout>>;

/// The output of a process, from its first line.
pub(crate) fn output(child: &mut Child) -> TestResult<Output> {
    Ok(BufReader::new(child.stdout.take().context("its output is piped")?).lines())
}

/// The rest of the next line that begins with `@what `.
pub(crate) async fn said(output: &mut Output, what: &str) -> TestResult<String> {
    while let Some(line) = output.next_line().await? {
        if let Some(rest) = line.strip_prefix(&format!("@{what} ")) {
            return Ok(rest.to_owned());
        }
        if let Some(error) = line.strip_prefix("@error ") {
            anyhow::bail!("instead of {what} the process said: {error}");
        }
    }
    anyhow::bail!("the process said no {what}")
}

/// Tells a failure to the process that reads this one's output.
pub(crate) fn tell(result: TestResult) -> TestResult {
    if let Err(error) = &result {
        println!("\n@error {}", format!("{error:#}").replace('\n', " "));
    }
    result
}

/// This process's memory in KiB, as the system reports it: `VmRSS` is the present memory, `VmHWM`
/// its peak. 0 if the system does not tell.
pub(crate) fn memory(field: &str) -> u64 {
    memory_of("self", field)
}

/// Like [`memory`], for the process with this id.
pub(crate) fn memory_of(process: &str, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The processor time of the process with this id, to a hundredth of a second. 0 if the system does
/// not tell.
pub(crate) fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The fields are counted from behind the name, which may contain anything but this.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The number of files and sockets that this process has open. 0 if the system does not tell.
pub(crate) fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
