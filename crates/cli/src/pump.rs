//! Bytes between a connection and another stream, with the ends of both directions kept apart.

use std::io;

use h2conn::{Conn, ReadHalf, Reason};
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

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> io::Error {
        match broken {
            Broken::Source(error) | Broken::Sink(error) => error,
        }
    }
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
    conn: &ReadHalf,
    sink: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Broken> {
    while let Some(chunk) = conn.read_chunk().await.map_err(|e| Broken::Source(e.into()))? {
        sink.write_all(&chunk).await.map_err(Broken::Sink)?;
        sink.flush().await.map_err(Broken::Sink)?;
    }
    sink.shutdown().await.map_err(Broken::Sink)
}

/// Carries what `source` brings to a connection, or the half of one, and then its end.
pub(crate) async fn to_conn(
    source: &mut (impl AsyncRead + Unpin),
    conn: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Broken> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer).await.map_err(Broken::Source)? {
            0 => return conn.shutdown().await.map_err(Broken::Sink),
            n => conn.write_all(&buffer[..n]).await.map_err(Broken::Sink)?,
        }
    }
}

/// Relays both ways until both directions have ended, each by itself, and closes the connection.
///
/// A reset of one side becomes a reset of the other. Who takes no more is not sent more, and may go on
/// sending.
///
/// # Errors
///
/// What broke either side.
pub(crate) async fn relay<S: Socket>(conn: Conn, socket: S) -> io::Result<()> {
    let (reader, mut writer) = conn.into_split();
    let (mut source, mut sink) = tokio::io::split(socket);
    let mut cut_by_socket = false;
    let result = {
        let outgoing = async {
            match from_conn(&reader, &mut sink).await {
                Err(Broken::Source(error)) => Err((false, error)),
                _ => Ok(()),
            }
        };
        let incoming = async {
            match to_conn(&mut source, &mut writer).await {
                Err(Broken::Source(error)) => Err((true, error)),
                _ => Ok(()),
            }
        };
        tokio::try_join!(outgoing, incoming)
    };
    let socket = source.unsplit(sink);
    let result = match result {
        Ok(((), ())) => writer.close().await.map_err(io::Error::from),
        Err((by_socket, error)) => {
            cut_by_socket = by_socket;
            Err(error)
        }
    };
    if result.is_err() {
        if cut_by_socket {
            writer.reset(Reason::CONNECT_ERROR);
        }
        socket.cut();
    }
    result
}
