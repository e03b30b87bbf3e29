//! Runs a process for each connection.

mod process;

use std::future::pending;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use h2conn::http::StatusCode;
use h2conn::{Conn, Incoming, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::service::accept;
use crate::dial::HEADERS_VARIABLE;
use crate::ending;
use crate::exit::{Code, Failure, Result};
use crate::group;
use crate::pump::{self, Broken};
use crate::report::Report;
use crate::tunnel::token::TOKEN_VARIABLE;
use process::Process;

/// How long the end of the output may take after the command has exited, if a process that it left
/// running still has the output open.
const GRACE: Duration = Duration::from_secs(1);

/// The warning for the first process of a container or a system.
pub(super) const WITHOUT_INIT: &str = "h2conn: warning: this is process 1, which must wait for all \
     processes that lose their parent, and h2conn waits only for the commands that it ends; run it under \
     an init (docker run --init)";

/// Variables in which this program finds secrets. A command that serves unknown clients does not
/// need them.
const SECRETS: [&str; 3] = [TOKEN_VARIABLE, HEADERS_VARIABLE, "H2CONN_PROXY"];

/// Runs `command` with the connection as its standard input and output. Exit code 0 closes the
/// connection, and any other code resets it.
///
/// The command reads the end of its input when the peer has ended its direction. If the connection
/// ends in any other way, the command is ended first, and its input stays open until it is gone.
///
/// # Cancel safety
///
/// Dropping the future kills the command with all processes that it has started.
pub(super) async fn serve(incoming: Incoming, command: &str, report: Report) -> Result {
    let mut process = match spawn(command, &incoming) {
        Ok(process) => process,
        Err(error) => {
            incoming.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Failure::local("cannot run the shell for --exec", error));
        }
    };
    let conn = accept(incoming, report)?;
    let result = match attend(&conn, &mut process).await {
        Ok(status) => {
            let left = process.release();
            let closed = close(&conn, status, command).await;
            if let Some(left) = left {
                left.end().await;
            }
            closed
        }
        Err(failure) => {
            process.end().await;
            Err(failure)
        }
    };
    report.stats(&conn);
    result
}

/// Carries bytes until the command has ended by itself.
async fn attend(conn: &Conn, process: &mut Process) -> Result<ExitStatus> {
    let Process { child, stdin, stdout, .. } = process;
    let answering = answer(conn, child, stdout.as_mut());
    tokio::select! {
        error = feed(conn, stdin) => Err(Failure::of_io("cannot read from the connection", error)),
        // A command that neither reads nor writes would not notice that the connection has ended.
        Err(error) = conn.closed() => Err(error.into()),
        status = answering => match status {
            Ok(status) => Ok(status),
            Err(Broken::Sink(error)) => {
                Err(Failure::of_io("cannot write to the connection", error))
            }
            Err(Broken::Source(error)) => {
                conn.reset(Reason::INTERNAL_ERROR);
                Err(Failure::local("cannot read what the command says", error))
            }
        },
    }
}

/// Passes bytes from the connection to the command. Only the peer's end closes the command's input.
/// This function returns only with an error, because the end of the process decides when the
/// connection is over.
async fn feed(conn: &Conn, stdin: &mut Option<ChildStdin>) -> io::Error {
    let fed = match stdin {
        Some(pipe) => pump::from_conn(conn, pipe).await,
        None => Ok(()),
    };
    match fed {
        Ok(()) => {}
        Err(Broken::Source(error)) => return error,
        // The command has read all that it wants. Drop the rest, so that the peer is not blocked.
        Err(Broken::Sink(_)) => {
            if let Err(error) = ending::discard(conn).await {
                return error.into();
            }
        }
    }
    *stdin = None;
    pending().await
}

/// Carries the command's output, to its end or for [`GRACE`] after the command has exited.
async fn answer(
    mut conn: &Conn,
    child: &mut Child,
    stdout: Option<&mut ChildStdout>,
) -> Result<ExitStatus, Broken> {
    let Some(stdout) = stdout else { return child.wait().await.map_err(Broken::Source) };
    let mut buffer = vec![0; pump::CHUNK];
    let status = loop {
        tokio::select! {
            read = stdout.read(&mut buffer) => match read.map_err(Broken::Source)? {
                0 => return child.wait().await.map_err(Broken::Source),
                n => conn.write_all(&buffer[..n]).await.map_err(Broken::Sink)?,
            },
            status = child.wait() => break status.map_err(Broken::Source)?,
        }
    };
    // The pipe now holds everything that the command itself has written. It is delivered however
    // slow the peer is. Processes that continue to write do not hold the connection any longer.
    let mut its_own = group::unread(stdout).map_err(Broken::Source)?;
    let mut deadline = Instant::now() + GRACE;
    while its_own > 0 || Instant::now() < deadline {
        match timeout_at(deadline, stdout.read(&mut buffer)).await {
            Ok(read) => match read.map_err(Broken::Source)? {
                0 => break,
                n => {
                    conn.write_all(&buffer[..n]).await.map_err(Broken::Sink)?;
                    if its_own > 0 {
                        its_own = its_own.saturating_sub(n as u64);
                        deadline = Instant::now() + GRACE;
                    }
                }
            },
            Err(_) => break,
        }
    }
    Ok(status)
}

async fn close(conn: &Conn, status: ExitStatus, command: &str) -> Result {
    if status.success() {
        return Ok(ending::close(conn).await?);
    }
    // The peer must still get the output from before the failure.
    conn.sent().await?;
    let _ = ending::answered(conn).await;
    conn.reset(Reason::INTERNAL_ERROR);
    let error = anyhow::anyhow!("the command {command:?} failed: {status}");
    Err(Failure::new(Code::Local, error))
}

fn spawn(command: &str, incoming: &Incoming) -> io::Result<Process> {
    let mut shell = group::shell(command);
    let path = incoming.uri().path_and_query().map_or("/", |path| path.as_str());
    for secret in SECRETS {
        shell.env_remove(secret);
    }
    shell
        .env("H2CONN_PEER", incoming.peer_addr().to_string())
        .env("H2CONN_METHOD", incoming.method().as_str())
        .env("H2CONN_PATH", path);
    Process::spawn(piped(&mut shell))
}

fn piped(shell: &mut Command) -> &mut Command {
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true)
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::process::ChildStderr;

    use super::*;

    /// A command that reads to the end of its input, and then reports that on its standard error,
    /// which is open for as long as the command runs.
    fn command() -> (Process, ChildStderr) {
        let mut shell = group::shell("echo; while read -r line; do :; done; echo end >&2");
        let mut process = Process::spawn(piped(&mut shell).stderr(Stdio::piped())).unwrap();
        let said = process.child.stderr.take().unwrap();
        (process, said)
    }

    async fn says(mut stderr: ChildStderr) -> String {
        let mut said = String::new();
        stderr.read_to_string(&mut said).await.unwrap();
        said
    }

    #[tokio::test]
    async fn an_end_of_the_peer_is_one_of_the_commands_input() {
        let (mut process, said) = command();
        let (near, mut far) = h2conn::testing::pair().await.unwrap();
        far.shutdown().await.unwrap();
        assert!(attend(&near, &mut process).await.unwrap().success());
        assert!(process.release().is_none());
        assert_eq!(says(said).await, "end\n");
    }

    #[tokio::test]
    async fn a_command_whose_task_is_dropped_or_panics_reads_no_end_of_its_input() {
        for round in 0..100 {
            let (mut process, said) = command();
            let (near, mut far) = h2conn::testing::pair().await.unwrap();
            far.write_all(b"so far").await.unwrap();
            let (panic, panics) = tokio::sync::oneshot::channel::<()>();
            let task = tokio::spawn(async move {
                tokio::select! {
                    _ = attend(&near, &mut process) => {}
                    // This panic does not run the panic hook, which would print it.
                    _ = panics => std::panic::resume_unwind(Box::new("a panic")),
                }
            });
            // The command is running.
            far.read_exact(&mut [0]).await.unwrap();
            match round % 2 {
                0 => task.abort(),
                _ => drop(panic),
            }
            task.await.unwrap_err();
            assert_eq!(says(said).await, "", "round {round}");
        }
    }

    /// Only Linux has pipes of any size.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn all_that_a_command_has_said_is_delivered_however_slow_the_peer_is() {
        const SAID: usize = 900_000;
        let mut shell = group::shell(&format!("read -r go; head -c {SAID} /dev/zero"));
        let mut process = Process::spawn(piped(&mut shell).stderr(Stdio::piped())).unwrap();
        // The command can write all of it, and exit, before anything is read.
        let pipe = process.stdout.as_ref().unwrap();
        assert!(rustix::pipe::fcntl_setpipe_size(pipe, 1 << 20).unwrap() >= SAID);
        let said = process.child.stderr.take().unwrap();
        let (client, server) = tokio::io::duplex(64 << 10);
        let small =
            h2conn::testing::Pair::builder().initial_window_size(65_535).max_window_size(65_535);
        let mut pair = small.over(client, server).await.unwrap();
        let (mut far, near) = pair.open().await.unwrap();
        far.write_all(b"go\n").await.unwrap();
        let serving = tokio::spawn(async move {
            let status = attend(&near, &mut process).await.unwrap();
            near.close().await.unwrap();
            status
        });
        says(said).await;
        let mut heard = vec![0; SAID];
        for part in heard.chunks_mut(SAID / 3) {
            far.read_exact(part).await.unwrap();
            // This is longer than the grace period, and it is the peer that is slow.
            tokio::time::sleep(GRACE * 3 / 2).await;
        }
        far.shutdown().await.unwrap();
        assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
        assert!(serving.await.unwrap().success());
    }
}
