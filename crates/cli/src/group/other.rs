//! Where there are no process groups: the shell alone is ended.

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

/// Whether a process can still read from this pipe. The system does not say; and what a shell has left running
/// could not be ended here.
pub(crate) fn has_reader(_: &ChildStdin) -> bool {
    false
}

/// How many bytes lie in this pipe, at most.
pub(crate) fn unread(_: &ChildStdout) -> io::Result<u64> {
    Ok(64 << 10)
}

/// A command, whose `Child` kills it when it is dropped.
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
