//! Standard input and output over one connection.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use h2conn::{Conn, Error, ErrorKind, Reason};
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use crate::ending::{PARTING, hang_up, has_half_close, is_a_goodbye};
use crate::exit::{Failure, Result};
use crate::signals::Interrupt;
use crate::stdio::{Input, Output};

/// How a conversation has ended, unless it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer has ended the conversation.
    Peer,
    /// The linger time after the end of the input has passed.
    Linger,
    /// The reader of the output has gone.
    Reader,
}

impl End {
    /// The text that `-v` prints.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            End::Peer => "the peer has ended it",
            End::Linger => "the time after the end of the input has passed",
            End::Reader => "nobody reads the output any more",
        }
    }
}

/// Talks until the peer ends the connection, and then closes the connection.
///
/// The end of the input is passed on, and the peer's answer is still printed after that. If the
/// peer ends its direction first, the rest of the input is still sent, unless the peer has ended
/// the connection altogether.
///
/// # Errors
///
/// The error that ended the connection in any other way. When the user asks the program to end, the
/// connection is reset, because a part of the input must not look like all of it. The reason is
/// `CANCEL`, or `wanted_no_more` if an input and its end have been sent.
pub(crate) async fn talk(
    conn: &Conn,
    input: &mut Input,
    output: &mut Output,
    linger: Option<Duration>,
    interrupt: &Interrupt,
    wanted_no_more: Reason,
) -> Result<End> {
    let has_ended = AtomicBool::new(false);
    // An input that was empty is no answer, after which a peer could take its own bytes for wanted.
    let no_more = || match conn.stats().bytes_written {
        0 => Reason::CANCEL,
        _ => wanted_no_more,
    };
    let talking = async {
        let end = exchange(conn, input, output, linger, &has_ended).await?;
        if end == End::Reader {
            let _ = timeout(PARTING, conn.sent()).await;
            // A part of the input must not look like all of it.
            conn.reset(Reason::CANCEL);
            return Ok(end);
        }
        if end == End::Linger {
            hang_up(conn, no_more()).await?;
            return Ok(end);
        }
        match conn.close().await {
            Err(error) if is_a_goodbye(&error) => Ok(end),
            Err(error) if is_a_reset(&error) => Err(may_be_cut(error.into())),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(end),
        }
    };
    tokio::select! {
        // An end that is already there comes first.
        biased;
        end = talking => end,
        () = interrupt.asked() => {
            // The end may just be on its way.
            let is_said = has_ended.load(Relaxed)
                && timeout(PARTING, conn.sent()).await.is_ok_and(|sent| sent.is_ok());
            let (reason, what) = match is_said {
                false => (Reason::CANCEL, "the input had not ended; the connection was reset"),
                true => (no_more(), "the peer had not ended; the connection was reset"),
            };
            conn.reset(reason);
            Err(Failure::interrupted().context(what))
        }
    }
}

async fn exchange(
    conn: &Conn,
    input: &mut Input,
    output: &mut Output,
    linger: Option<Duration>,
    has_ended: &AtomicBool,
) -> Result<End> {
    let sending = async {
        send(conn, input).await?;
        // The end of one side of such a connection is that of both. The time is for the peer's answer.
        has_ended.store(true, Relaxed);
        if linger.is_none() || has_half_close(conn).await {
            let mut writer = conn;
            let ended = writer.shutdown().await;
            ended.map_err(|error| {
                Stopped::Conn(Failure::of_io("cannot end the connection", error))
            })?;
        }
        match linger {
            Some(time) => {
                sleep(time).await;
                Ok(Some(End::Linger))
            }
            None => Ok(None),
        }
    };
    tokio::pin!(sending);
    let receiving = receive(conn, output);
    tokio::pin!(receiving);

    // The result of sending, once it is known.
    let mut sent: Option<Result> = None;
    let received = loop {
        tokio::select! {
            received = &mut receiving => break received?,
            result = &mut sending, if sent.is_none() => match result {
                Ok(Some(end)) => return Ok(end),
                // A peer that takes no more may still send an answer.
                Err(Stopped::Conn(failure)) => sent = Some(Err(failure)),
                Err(Stopped::Input(error)) => return Err(no_input(conn, error)),
                Ok(None) => sent = Some(Ok(())),
            },
        }
    };
    if let Some(end) = received {
        return Ok(end);
    }
    let result = match sent {
        Some(result) => result,
        None => tokio::select! {
            result = &mut sending => match result {
                Ok(_) => Ok(()),
                Err(Stopped::Conn(failure)) => Err(failure),
                Err(Stopped::Input(error)) => return Err(no_input(conn, error)),
            },
            closed = conn.closed() => closed.map_err(Failure::from),
        },
    };
    match result {
        Err(failure) => match failure.library_error() {
            Some(error) if is_a_goodbye(error) => Ok(End::Peer),
            Some(error) if is_a_reset(error) => Err(may_be_cut(failure)),
            _ => Err(failure),
        },
        Ok(()) => Ok(End::Peer),
    }
}

/// The reason why no more was sent.
enum Stopped {
    Conn(Failure),
    Input(io::Error),
}

/// Resets the connection: a part of the input must not look like all of it.
fn no_input(conn: &Conn, error: io::Error) -> Failure {
    conn.reset(Reason::CANCEL);
    Failure::local("cannot read standard input", error)
}

/// Sends the input.
async fn send(conn: &Conn, input: &mut Input) -> Result<(), Stopped> {
    while let Some(chunk) = input.next().await {
        let chunk = chunk.map_err(Stopped::Input)?;
        // A write that fails or is cancelled has written nothing, so the next connection gets the
        // chunk.
        input.keep(chunk.clone());
        conn.write_chunk(chunk).await.map_err(|error| Stopped::Conn(error.into()))?;
        input.sent();
    }
    Ok(())
}

/// Prints the bytes that arrive, until the peer's end and until all of them are written: a peer that
/// has heard nothing else takes its bytes for printed.
async fn receive(conn: &Conn, output: &mut Output) -> Result<Option<End>> {
    loop {
        let written = tokio::select! {
            biased;
            chunk = conn.read_chunk() => match chunk? {
                Some(chunk) => output.write(chunk).await,
                None => match output.settle().await {
                    Ok(()) => return Ok(None),
                    error => error,
                },
            },
            // The write of the last bytes may fail long before more of them come.
            error = output.failed() => Err(error),
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(Some(End::Reader));
            }
            Err(error) => {
                conn.reset(Reason::CANCEL);
                return Err(Failure::output(error));
            }
        }
    }
}

fn is_a_reset(error: &Error) -> bool {
    error.is_by_peer() && error.kind() == ErrorKind::Reset
}

/// The failure of a peer that ended its direction and then reset the connection: its answer may be
/// incomplete.
fn may_be_cut(failure: Failure) -> Failure {
    failure.context(
        "the answer may be cut: the peer ended its side, and has not taken all of the input",
    )
}
