//! A process group for each command.

use std::io;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::sleep;

use crate::descriptors;

/// Those that are to be killed when the program ends where it stands, and runs no destructors.
static ALIVE: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// How often a group is looked at: the system tells of the end of a child only, and not of a group's.
const LOOK: Duration = Duration::from_millis(50);

fn alive() -> MutexGuard<'static, Vec<Pid>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the program at once, and with it all that it has started.
pub(crate) fn exit(code: i32) -> ! {
    // Locked to the end, so that no other is started. The commands are killed before the system closes the
    // pipes of their input.
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
        // Between fork and exec nothing can be done without unsafe code, and so a first shell does it.
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
        // Nobody is to read an end that there was not.
        Err(_) => true,
    }
}

/// How many bytes lie in this pipe.
pub(crate) fn unread(pipe: &ChildStdout) -> io::Result<u64> {
    Ok(ioctl_fionread(pipe)?)
}

/// A command with all that it has started. Dropping it kills them.
///
/// The group's number is that of the shell, and nobody else's while any of them is there.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Starts a command, in a group of its own: Ctrl-C is this program's to pass on.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
        let mut alive = alive();
        let child = command.process_group(0).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        alive.extend(group);
        Ok((child, Group(group)))
    }

    /// Asks all of them to end.
    pub(crate) fn terminate(&self, _: &mut Child) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }

    /// Waits until none is left, after `child` was waited for. Dropping the future changes nothing.
    pub(crate) async fn gone(&mut self) {
        while self.0.is_some_and(|group| test_kill_process_group(group).is_ok()) {
            sleep(LOOK).await;
        }
        self.release();
    }

    /// The command has ended by itself: what it has left running was left on purpose.
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
