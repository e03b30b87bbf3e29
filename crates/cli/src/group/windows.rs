//! Windows has no process groups: `taskkill`, which is a part of it, ends the shell with all processes
//! that descend from it.

use std::io;
use std::os::windows::process::CommandExt;
use std::process::{self, Stdio};

use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A program that is started with this flag opens no window.
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// Ends the program at once. The console has sent the same Ctrl-C to its commands.
pub(crate) fn exit(code: i32) -> ! {
    process::exit(code)
}

/// A shell that runs `command`.
pub(crate) fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    // `cmd` does not know the escapes of `Command::arg`. After /S it takes away the first and the last
    // quotation mark, and leaves everything between them as it is.
    shell.args(["/D", "/S", "/C"]).raw_arg(format!("\"{command}\""));
    shell
}

/// Whether a process can still read from this pipe. The system cannot tell, and processes that an
/// ended shell left running can no longer be found.
pub(crate) fn has_reader(_: &ChildStdin) -> bool {
    false
}

/// The most bytes that this pipe can hold.
pub(crate) fn unread(_: &ChildStdout) -> io::Result<u64> {
    Ok(64 << 10)
}

/// The `taskkill` that ends a command, once it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Group(Option<Child>);

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<(Child, Group)> {
        Ok((command.spawn()?, Group::default()))
    }

    /// Begins to end the shell and its descendants. They are not asked: a program without a window
    /// would not be told.
    pub(crate) fn terminate(&mut self, child: &mut Child) {
        let Some(killer) = killer(child) else { return };
        match Command::from(killer).spawn() {
            Ok(killer) => self.0 = Some(killer),
            Err(_) => drop(child.start_kill()),
        }
    }

    /// Ends the shell and its descendants, and waits for it.
    pub(crate) fn kill(&mut self, child: &Child) {
        if let Some(mut killer) = killer(child) {
            // If this fails, at least the shell is killed when `child` is dropped.
            let _ = killer.status();
        }
    }

    /// Waits until the descendants are ended too, after `child` was waited for. Dropping the future
    /// changes nothing.
    pub(crate) async fn gone(&mut self) {
        if let Some(killer) = &mut self.0 {
            let _ = killer.wait().await;
        }
    }

    pub(crate) fn release(&mut self) {}
}

/// The command that ends `child` and its descendants. There is none once `child` was waited for: the
/// number could be another process's by then.
fn killer(child: &Child) -> Option<process::Command> {
    let mut killer = process::Command::new("taskkill");
    killer.args(["/F", "/T", "/PID", &child.id()?.to_string()]);
    killer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    killer.creation_flags(CREATE_NO_WINDOW);
    Some(killer)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::*;

    /// Nothing in these tests takes this long, unless it hangs.
    const WATCHDOG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn the_shell_gets_the_command_as_it_was_typed() {
        let output = shell(r#"echo "a  b"& echo "c""#).output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "\"a  b\"\r\n\"c\"\r\n");
    }

    /// A shell that waits for another one, which waits for a line of its input. Both have begun.
    async fn waiting() -> (Child, Group) {
        let mut outer = shell("cmd /D /C set /p line=ready");
        outer.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let (mut child, group) = Group::spawn(&mut outer).unwrap();
        let mut ready = [0; 5];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).await.unwrap();
        assert_eq!(&ready, b"ready");
        (child, group)
    }

    /// Waits until no process has the output open. The input is open, so none ends by itself.
    async fn no_process_is_left(mut child: Child) {
        let mut rest = Vec::new();
        let reading = child.stdout.as_mut().unwrap().read_to_end(&mut rest);
        timeout(WATCHDOG, reading).await.expect("a process still runs").unwrap();
    }

    #[tokio::test]
    async fn a_shell_is_ended_with_the_process_that_it_started() {
        let (mut child, mut group) = waiting().await;
        group.terminate(&mut child);
        // Unlike `Child::wait`, this leaves the input open.
        while child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        group.gone().await;
        no_process_is_left(child).await;
    }

    #[tokio::test]
    async fn a_shell_is_killed_with_the_process_that_it_started() {
        let (child, mut group) = waiting().await;
        group.kill(&child);
        no_process_is_left(child).await;
    }
}
