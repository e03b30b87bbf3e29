//! Carries bytes between a connection and another stream. The end of each direction is handled by
//! itself.

use std::future::pending;
use std::io;
use std::time::Duration;

use h2conn::{Conn, Error, OnDrop, Reason};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::ending;

/// The size of one read of a socket or pipe.
pub(crate) const CHUNK: usize = 64 * 1024;

/// How long bytes that arrived before a reset may take to reach a socket that does not read.
const GRACE: Duration = Duration::from_secs(5);

/// How long a socket may take nothing of the bytes of a peer that has left in good order. The Conn
/// is over, so no limit of the library counts any more. A target that reads 100 kB/s lets a full
/// buffer of the system's move within this time.
const LEFT: Duration = Duration::from_secs(30);

/// The number of longest pauses for which a socket that has been sent everything is still read.
const PAUSES: u32 = 10;

/// How long a TCP peer may be silent before the system asks whether it is still there. A peer that has
/// vanished is noticed after 45 s, like one of a link.
const SILENCE: Duration = Duration::from_secs(30);

/// The time between questions without an answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// The number of questions without an answer after which the system gives a peer up.
const PROBES: u32 = 3;

/// The place where one direction was cut off.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The bytes stopped without an end of file, so more may be missing.
    Source(io::Error),
    /// The receiver takes no more. It may have all that it wants.
    Sink(io::Error),
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        match broken {
            Broken::Source(error) | Broken::Sink(error) => error,
        }
    }
}

/// A stream that a connection can be relayed to.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes the end look like a broken connection to the other side.
    fn cut(&self);

    /// Sends small messages without delay, and notices a peer that has vanished.
    fn prepare(&self);
}

impl Socket for tokio::net::TcpStream {
    fn cut(&self) {
        // The system sends RST instead of FIN. If this fails, the other side sees a plain end.
        let _ = self.set_zero_linger();
    }

    fn prepare(&self) {
        // If the system refuses, small messages are only slower.
        let _ = self.set_nodelay(true);
        let alive = TcpKeepalive::new()
            .with_time(SILENCE)
            .with_interval(PROBE_INTERVAL)
            .with_retries(PROBES);
        // If the system refuses, its own times count: on Linux two hours.
        let _ = SockRef::from(self).set_tcp_keepalive(&alive);
    }
}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    /// Unix sockets have no reset.
    fn cut(&self) {}

    fn prepare(&self) {}
}

/// Carries the bytes that arrive on a connection to `sink`, and then their end.
pub(crate) async fn from_conn(
    conn: &Conn,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Broken> {
    while let Some(chunk) = conn.read_chunk().await.map_err(|e| Broken::Source(e.into()))? {
        sink.write_all(&chunk).await.map_err(Broken::Sink)?;
        sink.flush().await.map_err(Broken::Sink)?;
    }
    sink.shutdown().await.map_err(Broken::Sink)
}

/// Carries the bytes of `source` to a connection. The caller must pass on the end.
pub(crate) async fn to_conn(
    source: &mut (impl AsyncRead + Unpin),
    mut conn: &Conn,
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer).await.map_err(Broken::Source)? {
            0 => return Ok(()),
            n => conn.write_all(&buffer[..n]).await.map_err(Broken::Sink)?,
        }
    }
}

/// Sends every byte back, and then the end.
pub(crate) async fn echo(mut conn: &Conn) -> io::Result<()> {
    while let Some(chunk) = conn.read_chunk().await? {
        conn.write_chunk(chunk).await?;
    }
    conn.shutdown().await
}

/// Relays both ways until each direction has ended by itself, then closes the connection.
///
/// A reset of one side becomes a reset of the other. A side that takes no more gets no more bytes,
/// but may go on sending.
///
/// If the peer has sent everything and is gone, the socket still gets all of it, unless it takes
/// nothing for [`LEFT`], or for `idle_timeout` if that is shorter. Its answers are read and dropped,
/// to their end or until it is silent for as long.
/// If both sides have ended in order, only `idle_timeout` limits how long it may take nothing.
///
/// # Errors
///
/// The error that broke either side.
///
/// # Cancel safety
///
/// Dropping the future resets both sides.
pub(crate) async fn relay<S: Socket>(
    conn: &Conn,
    mut socket: CutOnDrop<S>,
    idle_timeout: Option<Duration>,
) -> io::Result<()> {
    conn.on_drop(OnDrop::Reset);
    let ended = match &mut socket.0 {
        Some(socket) => {
            socket.prepare();
            both_ways(conn, socket, idle_timeout).await
        }
        None => Ok(()),
    };
    match ended {
        Ok(()) => {
            // Drop the socket now. Bytes that its other side has not read yet stay in the system's
            // buffers.
            drop(socket.0.take());
            conn.close().await.map_err(io::Error::from)
        }
        Err(Cut::Socket(error)) => {
            // RFC 9113 §8.5 defines this reason for a failure behind a tunnel.
            conn.reset(Reason::CONNECT_ERROR);
            Err(error)
        }
        Err(Cut::Conn(error)) => Err(error),
    }
}

/// The side that was cut. The other side must then be cut too.
enum Cut {
    Socket(io::Error),
    Conn(io::Error),
}

/// Cuts a socket when it is dropped, unless its relay ended in order. Without this, the other side
/// would take an aborted task for the end of the data.
#[derive(Debug)]
pub(crate) struct CutOnDrop<S: Socket>(Option<S>);

impl<S: Socket> CutOnDrop<S> {
    pub(crate) fn new(socket: S) -> CutOnDrop<S> {
        CutOnDrop(Some(socket))
    }
}

impl<S: Socket> Drop for CutOnDrop<S> {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            socket.cut();
        }
    }
}

async fn both_ways<S: Socket>(
    conn: &Conn,
    socket: &mut S,
    idle_timeout: Option<Duration>,
) -> Result<(), Cut> {
    let (mut source, mut sink) = tokio::io::split(socket);
    let has_all = Notify::new();
    let outgoing = async {
        let delivered = tokio::select! {
            delivered = deliver(conn, &mut sink, idle_timeout) => delivered,
            error = cut_off(conn) => Err(Broken::Source(error.into())),
        };
        let ended = match delivered {
            Err(Broken::Source(error)) => Err(Cut::Conn(error)),
            Err(Broken::Sink(error)) if takes_no_more(&error) => {
                ending::discard(conn).await.map_err(|error| Cut::Conn(error.into()))
            }
            // The system reports a reset or a timeout once, and a later read sees a plain end.
            Err(Broken::Sink(error)) => Err(Cut::Socket(error)),
            Ok(()) => Ok(()),
        };
        has_all.notify_one();
        ended
    };
    let incoming = async {
        let sending = async {
            let mut writer = conn;
            to_conn(&mut source, conn).await?;
            writer.shutdown().await.map_err(Broken::Sink)
        };
        let sent = tokio::select! {
            sent = sending => sent,
            // While the socket sends nothing, only this notices that the connection has ended.
            error = over(conn) => Err(Broken::Sink(error.into())),
        };
        match sent {
            Err(Broken::Source(error)) => Err(Cut::Socket(error)),
            // A target that answers while it reads would wait for a reader of its answers, and take
            // nothing more. The error of the peer's own direction decides how the relay ended.
            Err(Broken::Sink(_)) => {
                tokio::select! {
                    dropped = drop_answers(&mut source) => return dropped,
                    () = has_all.notified() => {}
                }
                match conn.closed().await {
                    Err(error) if has_left(&error) => {
                        hear_out(&mut source, patience(idle_timeout)).await
                    }
                    _ => Ok(()),
                }
            }
            Ok(()) => Ok(()),
        }
    };
    tokio::try_join!(outgoing, incoming).map(drop)
}

/// Like [`from_conn`], but once the connection is over, the sink must take something again and
/// again, before it counts as [`stuck`].
async fn deliver(
    conn: &Conn,
    sink: &mut (impl AsyncWrite + Unpin),
    idle_timeout: Option<Duration>,
) -> Result<(), Broken> {
    while let Some(mut chunk) = conn.read_chunk().await.map_err(|e| Broken::Source(e.into()))? {
        while !chunk.is_empty() {
            let written = tokio::select! {
                biased;
                written = sink.write_buf(&mut chunk) => written.map_err(Broken::Sink)?,
                error = stuck(conn, idle_timeout) => return Err(Broken::Source(error)),
            };
            if written == 0 {
                return Err(Broken::Sink(io::ErrorKind::WriteZero.into()));
            }
        }
        sink.flush().await.map_err(Broken::Sink)?;
    }
    sink.shutdown().await.map_err(Broken::Sink)
}

/// How long a socket may stand still after the peer has left.
fn patience(idle_timeout: Option<Duration>) -> Duration {
    idle_timeout.map_or(LEFT, |limit| limit.min(LEFT))
}

/// Waits until the connection has been over for longer than the socket may take nothing.
async fn stuck(conn: &Conn, idle_timeout: Option<Duration>) -> io::Error {
    let (limit, cause) = match (conn.closed().await, idle_timeout) {
        // How it ended is seen when its bytes have been read.
        (Err(_), _) => (patience(idle_timeout), "the peer has left"),
        (Ok(()), Some(limit)) => (limit, "both sides have ended"),
        // Both ends have arrived, as in every exchange of a query and its answer. The reader may
        // pause then as it may before.
        (Ok(()), None) => pending().await,
    };
    sleep(limit).await;
    let seconds = limit.as_secs_f32();
    let text = format!("{cause}, and the peer's bytes could not be passed on for {seconds} s");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Reads and drops what a socket says to a peer that is gone, to the socket's end.
async fn drop_answers(source: &mut (impl AsyncRead + Unpin)) -> Result<(), Cut> {
    let mut buffer = vec![0; CHUNK];
    while source.read(&mut buffer).await.map_err(Cut::Socket)? > 0 {}
    Ok(())
}

/// Like [`drop_answers`], once the system has all bytes for the socket, for as long as no pause of
/// the socket is longer than `patience`.
///
/// A socket that is dropped with unread bytes is reset, and the system then throws away the bytes
/// that the other side has not read yet.
async fn hear_out(source: &mut (impl AsyncRead + Unpin), patience: Duration) -> Result<(), Cut> {
    let hearing = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(read) = timeout(patience, source.read(&mut buffer)).await {
            if read.map_err(Cut::Socket)? == 0 {
                break;
            }
        }
        Ok(())
    };
    // A target that never stops, such as a clock, must not keep its place for ever.
    timeout(patience * PAUSES, hearing).await.unwrap_or(Ok(()))
}

/// Whether an error says only that the socket takes no more, so that the other direction can go on.
fn takes_no_more(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected)
}

/// Waits until the connection ends in any other way than by the end of both directions.
async fn over(conn: &Conn) -> Error {
    match conn.closed().await {
        Err(error) => error,
        Ok(()) => pending().await,
    }
}

/// Waits until bytes that have arrived on the connection need not be delivered any more.
async fn cut_off(conn: &Conn) -> Error {
    let error = over(conn).await;
    // `deliver` has a limit for a peer that has left.
    if has_left(&error) {
        return pending().await;
    }
    sleep(GRACE).await;
    error
}

/// Whether the peer has sent everything, and takes nothing more.
fn has_left(error: &Error) -> bool {
    error.reason() == Some(Reason::NO_ERROR)
}

#[cfg(test)]
mod tests;
