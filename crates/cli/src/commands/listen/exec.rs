//! A process for a connection.

use std::future::pending;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use h2conn::http::StatusCode;
use h2conn::{Conn, Incoming, Reason};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::service::accept;
use crate::exit::{Code, Failure, Result};
use crate::pump::{self, Broken};
use crate::report::Report;

/// How long a process that is told to end may take before it is made to.
const TERMINATION: Duration = Duration::from_secs(5);

/// Runs `command` with the connection as its standard input and output. Exit code 0 closes the
/// connection, any other resets it.
pub(super) async fn serve(incoming: Incoming, command: &str, report: Report) -> Result {
    let mut child = match spawn(command, &incoming) {
        Ok(child) => child,
        Err(error) => {
            incoming.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Failure::local("cannot run the shell for --exec", error));
        }
    };
    let conn = accept(incoming, report)?;
    let result = attend(&conn, &mut child, command).await;
    if result.is_err() {
        end(&mut child).await;
    }
    report.stats(&conn);
    result
}

async fn attend(conn: &Conn, child: &mut Child, command: &str) -> Result {
    let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        let error = io::Error::other("the process has no pipes");
        return Err(Failure::local("cannot talk to the command", error));
    };
    // Ends only by an error: the process says when it is over.
    let feeding = async move {
        let fed = pump::from_conn(conn, &mut stdin).await;
        drop(stdin);
        match fed {
            Ok(()) => pending().await,
            Err(Broken::Source(error)) => error,
            // It has read what it wants. The rest is dropped, so that the peer is not held up.
            Err(Broken::Sink(_)) => loop {
                match conn.read_chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => pending().await,
                    Err(error) => break error.into(),
                }
            },
        }
    };
    let answering = async {
        pump::to_conn(&mut stdout, conn).await?;
        child.wait().await.map_err(Broken::Source)
    };
    let status = tokio::select! {
        error = feeding => return Err(Failure::of_io("cannot read from the connection", error)),
        // A command that neither reads nor writes would not notice.
        Err(error) = conn.closed() => return Err(error.into()),
        status = answering => match status {
            Ok(status) => status,
            Err(Broken::Sink(error)) => {
                return Err(Failure::of_io("cannot write to the connection", error));
            }
            Err(Broken::Source(error)) => {
                conn.reset(Reason::INTERNAL_ERROR);
                return Err(Failure::local("cannot read what the command says", error));
            }
        },
    };
    close(conn, status, command).await
}

async fn close(conn: &Conn, status: ExitStatus, command: &str) -> Result {
    if status.success() {
        return Ok(conn.close().await?);
    }
    // What it has said before it failed is still told.
    conn.sent().await?;
    conn.reset(Reason::INTERNAL_ERROR);
    let error = anyhow::anyhow!("the command {command:?} failed: {status}");
    Err(Failure::new(Code::Local, error))
}

fn spawn(command: &str, incoming: &Incoming) -> io::Result<Child> {
    let mut shell = shell(command);
    let path = incoming.uri().path_and_query().map_or("/", |path| path.as_str());
    shell
        .env("H2CONN_PEER", incoming.peer_addr().to_string())
        .env("H2CONN_METHOD", incoming.method().as_str())
        .env("H2CONN_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// In a process group of its own: Ctrl-C is this program's to pass on, and what the shell has started
/// ends with it.
#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).process_group(0);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.arg("/C").arg(command);
    shell
}

/// Ends a process whose connection is over.
async fn end(child: &mut Child) {
    terminate(child);
    if timeout(TERMINATION, child.wait()).await.is_err() {
        // Dropping it does the same, without waiting for it.
        let _ = child.kill().await;
    }
}

#[cfg(unix)]
fn terminate(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    // It has no number when it was waited for, and another process may have it then.
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn terminate(child: &mut Child) {
    let _ = child.start_kill();
}
