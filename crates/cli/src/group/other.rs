//! Systems without process groups: only the shell is ended.

use std::io;
use std::process;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Ends the program at once.
pub(crate) fn exit(code: i32) -> ! {
    process::exit(code)
}

/// A shell that runs `command`.
pub(crate) fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

/// Whether a process can still read from this pipe. The system cannot tell, and processes that the
/// shell left running could not be ended here.
pub(crate) fn has_reader(_: &ChildStdin) -> bool {
    false
}

/// The most bytes that this pipe can hold.
pub(crate) fn unread(_: &ChildStdout) -> io::Result<u64> {
    Ok(64 << 10)
}

/// A running command. Its `Child` kills it when dropped.
#[derive(Debug)]
pub(crate) struct Group;

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
        Ok((command.spawn()?, Group))
    }

    pub(crate) fn terminate(&self, child: &mut Child) {
        let _ = child.start_kill();
    }

    pub(crate) async fn gone(&mut self) {}

    pub(crate) fn release(&mut self) {}
}
