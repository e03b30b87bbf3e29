//! Bytes between a connection and another stream, with the ends of both directions kept apart.

use std::io;

use h2conn::{Conn, Reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// One read of a socket or pipe.
const CHUNK: usize = 64 * 1024;

/// Where one direction has ended before its end.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The bytes ended without an end of file: whatever comes next would be a guess.
    Source(io::Error),
    /// Who was to get them takes no more. That may be all it wanted.
    Sink(io::Error),
}

/// A stream that a connection can be relayed to.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Makes its end look like what it is to the other side, a connection that was cut.
    fn cut(&self);
}

impl Socket for tokio::net::TcpStream {
    fn cut(&self) {
        // The system sends RST instead of FIN. If it does not, the other side sees a plain end.
        let _ = self.set_zero_linger();
    }
}

#[cfg(unix)]
impl Socket for tokio::net::UnixStream {
    /// These have no reset.
    fn cut(&self) {}
}

/// Carries what a connection brings to `sink`, and then its end.
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

/// Carries what `source` brings to a connection. Its end is left to the caller.
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

/// Relays both ways until both directions have ended, each by itself, and closes the connection.
///
/// A reset of one side becomes a reset of the other. Who takes no more is not sent more, and may go on
/// sending.
///
/// # Errors
///
/// What broke either side: the connection's error has the library's inside.
pub(crate) async fn relay(conn: &Conn, socket: impl Socket) -> io::Result<()> {
    let (mut source, mut sink) = tokio::io::split(socket);
    let cut = |error| {
        conn.reset(Reason::CONNECT_ERROR);
        Err(error)
    };
    let outgoing = async {
        match from_conn(conn, &mut sink).await {
            Err(Broken::Source(error)) => Err(error),
            // The system tells of a reset once, and a read that comes later sees a plain end.
            Err(Broken::Sink(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                cut(error)
            }
            Ok(()) | Err(Broken::Sink(_)) => Ok(()),
        }
    };
    let incoming = async {
        let mut writer = conn;
        match to_conn(&mut source, conn).await {
            Ok(()) => {
                // Who takes not even the end may still have something to say.
                let _ = writer.shutdown().await;
                Ok(())
            }
            Err(Broken::Source(error)) => cut(error),
            Err(Broken::Sink(_)) => Ok(()),
        }
    };
    let relayed = tokio::try_join!(outgoing, incoming);
    let ended = match relayed {
        Ok(_) => conn.close().await.map_err(io::Error::from),
        Err(error) => Err(error),
    };
    if ended.is_err() {
        source.unsplit(sink).cut();
    }
    ended
}
