//! A command with its pipes, and the order in which they end.

use std::io;
use std::time::Duration;

use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::group::{self, Group};

/// How long a command may take to end before it is killed.
const TERMINATION: Duration = Duration::from_secs(5);

/// How long killed processes may take to vanish. Some cannot: zombies of a process that does not wait
/// for them, and processes that wait for a disk.
const VANISHING: Duration = Duration::from_secs(1);

/// A running command. Dropping it kills the command with all processes that it has started.
///
/// The fields are dropped in order, and the group must be killed before the pipe of its input
/// closes. Otherwise a command that still runs would read the end of its input, and take a part of
/// the input for all of it.
#[derive(Debug)]
pub(super) struct Process {
    group: Group,
    pub(super) child: Child,
    /// `None` once the peer has ended its direction. Nothing else may close this pipe while a
    /// process reads it.
    pub(super) stdin: Option<ChildStdin>,
    /// Open until the command is told to end.
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

    /// Lets go of a command that has exited by itself. Processes that it left running continue to
    /// run.
    ///
    /// Returns the command if one of these processes can still read the input and the peer has not
    /// ended its direction. The caller must then [end](Process::end) that process, or it would take
    /// a part of the input for all of it.
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

    /// Ends the command with all processes that it has started: asks them to end, and kills those
    /// that are left after [`TERMINATION`]. The pipe of the input stays open until all of them have
    /// ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills them at once.
    pub(super) async fn end(mut self) {
        self.group.terminate(&mut self.child);
        // The output is no longer read. A full pipe must not keep the command from ending.
        self.stdout = None;
        if timeout(TERMINATION, self.gone()).await.is_err() {
            self.group.kill(&self.child);
            // As the first process of a container, this program must wait for all of them.
            let _ = timeout(VANISHING, self.gone()).await;
        }
    }

    async fn gone(&mut self) {
        // The shell may end before the processes that it has started.
        let _ = self.child.wait().await;
        self.group.gone().await;
    }
}

/// Windows has no groups that a number names for as long as one of their processes is left. Only the
/// child can be named, and only until it was waited for.
#[cfg(windows)]
impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill(&self.child);
    }
}
