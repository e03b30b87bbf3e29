//! A process group for each command.

use std::io;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid,
};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::sleep;

use crate::descriptors;

/// The groups that [`exit`] must kill, because it runs no destructors.
static ALIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// How often a group is checked: the system reports the end of a child, but not of a group.
const LOOK: Duration = Duration::from_millis(50);

fn alive() -> MutexGuard<'static, Vec<Pid>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program at once, together with all processes that it has started.
pub(crate) fn exit(code: i32) -> ! {
    // The lock is held to the end, so that no other command starts. The commands are killed before
    // the system closes the pipes of their input.
    let alive = alive();
    for group in &*alive {
        let _ = kill_process_group(*group, Signal::KILL);
    }
    process::exit(code)
}

/// A shell that runs `command`, with the limit of descriptors that this program was started with.
pub(crate) fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    match descriptors::before() {
        // Only unsafe code can set the limit between fork and exec, so a first shell sets it.
        Some(limit) => shell
            .args(["-c", r#"ulimit -S -n "$1"; exec /bin/sh -c "$2""#, "sh"])
            .arg(limit.to_string())
            .arg(command),
        None => shell.arg("-c").arg(command),
    };
    shell
}

/// Whether a process can still read from this pipe.
pub(crate) fn has_reader(pipe: &ChildStdin) -> bool {
    let mut pipes = [PollFd::new(pipe, PollFlags::OUT)];
    match poll(&mut pipes, Some(&Timespec::default())) {
        Ok(_) => !pipes[0].revents().intersects(PollFlags::ERR | PollFlags::HUP),
        // If unsure, say yes: no process may read an end that the peer did not send.
        Err(_) => true,
    }
}

/// The number of bytes in this pipe.
pub(crate) fn unread(pipe: &ChildStdout) -> io::Result<u64> {
    Ok(ioctl_fionread(pipe)?)
}

/// A command with all processes that it has started. Dropping it kills them.
///
/// The group has the number of the shell. No other group can have that number while one of its
/// processes is left.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Starts a command in a group of its own, so that this program decides what happens on Ctrl-C.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
        let mut alive = alive();
        let child = command.process_group(0).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        alive.extend(group);
        Ok((child, Group(group)))
    }

    /// Asks all processes of the group to end.
    pub(crate) fn terminate(&mut self, _: &mut Child) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// Kills all processes of the group.
    pub(crate) fn kill(&mut self, _: &Child) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Waits until no process of the group is left, after `child` was waited for. Dropping the
    /// future changes nothing.
    pub(crate) async fn gone(&mut self) {
        while let Some(group) = self.0 {
            // The first process of a container is the parent of all that lose theirs. Nothing else
            // waits for these, and one that nothing has waited for still counts as one of the group.
            while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
            match test_kill_process_group(group) {
                Ok(()) => sleep(LOOK).await,
                Err(_) => break,
            }
        }
        self.release();
    }

    /// The command has ended by itself, so the processes that it left running may go on.
    pub(crate) fn release(&mut self) {
        if let Some(group) = self.0.take() {
            alive().retain(|other| *other != group);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.release();
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::process::Stdio;

    use rustix::process::{getpid, set_child_subreaper};
    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    /// Makes this process the parent of all that lose theirs, like the first one of a container, until
    /// it is dropped: other tests run in the same process.
    struct Adopting;

    impl Adopting {
        fn begin() -> Adopting {
            set_child_subreaper(Some(getpid())).unwrap();
            Adopting
        }
    }

    impl Drop for Adopting {
        fn drop(&mut self) {
            let _ = set_child_subreaper(None);
        }
    }

    #[tokio::test]
    async fn processes_that_lose_their_parent_to_this_one_are_waited_for() {
        let _adopting = Adopting::begin();
        let mut shell = shell("sleep 1000 & echo; exec sleep 1000");
        shell.stdout(Stdio::piped()).kill_on_drop(true);
        let (mut child, mut group) = Group::spawn(&mut shell).unwrap();
        let its = group.0.unwrap();
        // The other process is there.
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).await.unwrap();
        group.terminate(&mut child);
        child.wait().await.unwrap();
        timeout(Duration::from_secs(300), group.gone()).await.expect("a zombie holds the group");
        assert!(waitpgid(its, WaitOptions::NOHANG).is_err(), "a process is left");
    }
}
