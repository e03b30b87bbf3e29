//! A command with its pipes, and the order in which they end.

use std::io;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::group::{self, Group};

/// How long a command that is told to end may take before it is killed.
const TERMINATION: Duration = Duration::from_secs(5);

/// A command that runs. Dropping it kills the command with all that it has started.
///
/// The fields are dropped from the first to the last. The group must be killed before the pipe of its
/// input closes: a command that still runs then would read the end of its input, and take what has come
/// for the whole.
#[derive(Debug)]
pub(super) struct Process {
    group: Group,
    pub(super) child: Child,
    /// `None` once the peer has ended its side. Nothing else may close it while a process reads it.
    pub(super) stdin: Option<ChildStdin>,
    /// Until the command is told to end.
    pub(super) stdout: Option<ChildStdout>,
}

impl Process {
    /// Starts `command`, whose standard input and output are pipes.
    pub(super) fn spawn(command: &mut Command) -> io::Result<Process> {
        let (mut child, group) = Group::spawn(command)?;
        match (child.stdin.take(), child.stdout.take()) {
            (stdin @ Some(_), stdout @ Some(_)) => Ok(Process { group, child, stdin, stdout }),
            _ => Err(io::Error::other("the process has no pipes")),
        }
    }

    /// Lets go of a command that has exited by itself. Processes that it has left running go on.
    ///
    /// Gives the command back if one of them can still read the input and the peer has not ended its
    /// side. That process must be [ended](Process::end), or it would take what has come for the whole.
    #[must_use]
    pub(super) fn release(mut self) -> Option<Process> {
        match &self.stdin {
            Some(stdin) if group::has_reader(stdin) => Some(self),
            _ => {
                self.group.release();
                None
            }
        }
    }

    /// Ends the command with all that it has started: asks them to, and kills those that have not ended
    /// after [`TERMINATION`]. The pipe of the input stays open until none of them is left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills them at once.
    pub(super) async fn end(mut self) {
        self.group.terminate(&mut self.child);
        // Nobody reads what it says now. A full pipe must not keep it from its end.
        self.stdout = None;
        let ended = async {
            // The shell may end before the processes that it has started.
            let _ = self.child.wait().await;
            self.group.gone().await;
        };
        let _ = timeout(TERMINATION, ended).await;
    }
}
