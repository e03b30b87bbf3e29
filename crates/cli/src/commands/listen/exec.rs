//! A process for a connection.

use std::future::pending;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use h2conn::http::StatusCode;
use h2conn::{Conn, Incoming, Reason};
use tokio::process::Child;
use tokio::time::timeout;

use super::service::accept;
use crate::exit::{Code, Failure, Result};
use crate::group::{self, Group};
use crate::pump::{self, Broken};
use crate::report::Report;

/// How long a process that is told to end may take before it is made to.
const TERMINATION: Duration = Duration::from_secs(5);

/// Runs `command` with the connection as its standard input and output. Exit code 0 closes the
/// connection, any other resets it.
///
/// # Cancel safety
///
/// Dropping the future kills the command with all that it has started.
pub(super) async fn serve(incoming: Incoming, command: &str, report: Report) -> Result {
    let (mut child, mut group) = match spawn(command, &incoming) {
        Ok(spawned) => spawned,
        Err(error) => {
            incoming.reject(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(Failure::local("cannot run the shell for --exec", error));
        }
    };
    let conn = accept(incoming, report)?;
    let result = match attend(&conn, &mut child).await {
        Ok(status) => {
            group.release();
            close(&conn, status, command).await
        }
        Err(failure) => {
            end(child, group).await;
            Err(failure)
        }
    };
    report.stats(&conn);
    result
}

/// Carries bytes until the command has ended by itself.
async fn attend(conn: &Conn, child: &mut Child) -> Result<ExitStatus> {
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
    tokio::select! {
        error = feeding => Err(Failure::of_io("cannot read from the connection", error)),
        // A command that neither reads nor writes would not notice.
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

fn spawn(command: &str, incoming: &Incoming) -> io::Result<(Child, Group)> {
    let mut shell = group::shell(command);
    let path = incoming.uri().path_and_query().map_or("/", |path| path.as_str());
    shell
        .env("H2CONN_PEER", incoming.peer_addr().to_string())
        .env("H2CONN_METHOD", incoming.method().as_str())
        .env("H2CONN_PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Group::spawn(&mut shell)
}

/// Ends a command whose connection is over, with all that it has started.
async fn end(mut child: Child, mut group: Group) {
    group.terminate(&mut child);
    let ended = async {
        // The shell may be gone before those who take longer.
        let _ = child.wait().await;
        group.gone().await;
    };
    // Dropping the group kills who is left.
    let _ = timeout(TERMINATION, ended).await;
}
