//! Messages over a connection, or over one half of it.

use std::io;

use tokio_util::codec::{Framed, FramedRead, FramedWrite};

use super::{Conn, ReadHalf, WriteHalf};
use crate::codec::{CodecError, CodecErrorKind};
use crate::error::{Error, ErrorKind};

impl Conn {
    /// Sends and receives messages instead of bytes, as a `Sink` of the messages that the codec
    /// encodes, and a `Stream` of the messages that it decodes. [`codec`](crate::codec) has some
    /// codecs, and explains how to change the format in mid-stream.
    ///
    /// The methods `send`, `feed` and `next` come from the `SinkExt` and `StreamExt` of
    /// `futures-util`. A message is written once it is flushed. `send` flushes, `feed` does not,
    /// and dropping the `Framed` loses messages that were only fed. Its `close` flushes and shuts
    /// down this side. To end both sides as [`close`](Conn::close) does, call that on
    /// `into_inner()` afterwards.
    ///
    /// **To keep the connection, pass it by reference: `Framed::new(&conn, codec)`.** A handler that also needs
    /// [`draining`](Conn::draining), [`stats`](Conn::stats) or [`close`](Conn::close) does so. To give
    /// each direction to a task of its own, split the connection and see [`ReadHalf::framed`].
    ///
    /// # Examples
    ///
    /// A handler that answers until the client has said everything, or the server drains:
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::Conn;
    /// use h2conn::codec::Json;
    /// use h2conn::tokio_util::codec::Framed;
    ///
    /// async fn shout(conn: Conn) -> h2conn::Result<()> {
    ///     let mut messages = Framed::new(&conn, Json::<String>::new());
    ///     loop {
    ///         tokio::select! {
    ///             // First, or a client that never pauses would put the drain off for ever.
    ///             biased;
    ///             () = conn.draining() => break,
    ///             message = messages.next() => match message.transpose()? {
    ///                 Some(text) => messages.send(text.to_uppercase()).await?,
    ///                 None => return conn.close().await,
    ///             },
    ///         }
    ///     }
    ///     // In a protocol of your own: the client hears it, finishes, and shuts down its side.
    ///     messages.send("goodbye".to_owned()).await?;
    ///     while let Some(text) = messages.next().await.transpose()? {
    ///         messages.send(text.to_uppercase()).await?;
    ///     }
    ///     println!("{} bytes were sent", conn.stats().bytes_sent);
    ///     conn.close().await
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut pair = h2conn::testing::Pair::new().await?;
    /// # let (client, server) = pair.open().await?;
    /// # let mut messages = client.framed(Json::<String>::new());
    /// # let shouting = tokio::spawn(shout(server));
    /// # messages.send("hello".to_owned()).await?;
    /// # assert_eq!(messages.next().await.transpose()?.as_deref(), Some("HELLO"));
    /// # pair.drain();
    /// # assert_eq!(messages.next().await.transpose()?.as_deref(), Some("goodbye"));
    /// # messages.close().await?;
    /// # shouting.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The connection itself, where it has no other use:
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::codec::Fixed;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (client, server) = h2conn::testing::pair().await?;
    /// let mut client = client.framed(Fixed::<4>::new());
    /// let mut server = server.framed(Fixed::<4>::new());
    /// client.send(*b"ping").await?;
    /// assert_eq!(server.next().await.transpose()?, Some(*b"ping"));
    /// server.close().await?;
    /// assert_eq!(client.next().await.transpose()?, None);
    /// client.into_inner().close().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn framed<C>(self, codec: C) -> Framed<Conn, C> {
        Framed::new(self, codec)
    }
}

/// The error of a connection below the codec comes back as it was. Every other one is the
/// [`source`](std::error::Error::source) of the result: [`ErrorKind::Protocol`] for a message that cannot be read,
/// [`ErrorKind::Truncated`] for one that was cut short, and [`ErrorKind::InvalidInput`] for a value that cannot be written.
impl From<CodecError> for Error {
    fn from(error: CodecError) -> Error {
        if let Some(below) = error.io_error() {
            if let Some(error) = Error::from_io(below) {
                return error.clone();
            }
            let kind = of_io(below.kind());
            return Error::new(kind, "the stream below the codec failed").with_source(error);
        }
        if error.is_of_writing() {
            return Error::new(ErrorKind::InvalidInput, "cannot write a message")
                .with_source(error);
        }
        let kind = match error.kind() {
            CodecErrorKind::Truncated => ErrorKind::Truncated,
            _ => ErrorKind::Protocol,
        };
        Error::new(kind, "cannot read a message").with_source(error).by_the_peer()
    }
}

/// The kind for an error of a stream that is not of this library, as near as there is one.
fn of_io(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        io::ErrorKind::InvalidInput => ErrorKind::InvalidInput,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
        io::ErrorKind::BrokenPipe | io::ErrorKind::WriteZero => ErrorKind::Closed,
        io::ErrorKind::ConnectionAborted => ErrorKind::Aborted,
        io::ErrorKind::TimedOut => ErrorKind::TimedOut,
        io::ErrorKind::InvalidData => ErrorKind::Protocol,
        _ => ErrorKind::Reset,
    }
}

impl ReadHalf {
    /// Receives messages instead of bytes, as a `Stream` of the messages that the codec decodes.
    /// [`Conn::framed`] does the same for both directions.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::Conn;
    /// use h2conn::codec::{CodecError, Fixed};
    ///
    /// async fn talk(conn: Conn) -> Result<(), CodecError> {
    ///     let (read, write) = conn.into_split();
    ///     let (mut incoming, mut outgoing) =
    ///         (read.framed(Fixed::<8>::new()), write.framed(Fixed::<4>::new()));
    ///     let sending = tokio::spawn(async move {
    ///         outgoing.send(*b"ping").await?;
    ///         outgoing.close().await
    ///     });
    ///     while let Some(message) = incoming.next().await.transpose()? {
    ///         println!("{message:?}");
    ///     }
    ///     sending.await.map_err(std::io::Error::other)?
    /// }
    /// ```
    pub fn framed<C>(self, codec: C) -> FramedRead<ReadHalf, C> {
        FramedRead::new(self, codec)
    }
}

impl WriteHalf {
    /// Sends messages instead of bytes, as a `Sink` of the messages that the codec encodes.
    /// [`Conn::framed`] does the same for both directions. [`ReadHalf::framed`] has an example.
    pub fn framed<C>(self, codec: C) -> FramedWrite<WriteHalf, C> {
        FramedWrite::new(self, codec)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use bytes::BytesMut;
    use tokio_util::codec::Decoder;

    use super::*;
    use crate::codec::Fixed;

    #[test]
    fn the_error_of_a_connection_comes_back_as_it_was() {
        let reset = Error::new(ErrorKind::Reset, "gone").with_reason(crate::Reason::CANCEL);
        let error = Error::from(CodecError::from(io::Error::from(reset)));
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Reset, "gone"));
        assert_eq!(error.reason(), Some(crate::Reason::CANCEL));
        assert!(error.source().is_none(), "it would be printed twice");
    }

    #[test]
    fn another_streams_error_is_kept_below_one_of_its_kind() {
        let foreign = io::Error::new(io::ErrorKind::BrokenPipe, "foreign");
        let error = Error::from(CodecError::from(foreign));
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("foreign"));
    }

    #[test]
    fn a_message_that_is_cut_short_is_truncated() {
        let mut bytes = BytesMut::from("abc");
        let error = Fixed::<4>::new().decode_eof(&mut bytes).map_err(Error::from);
        let error = error.expect_err("three bytes");
        assert_eq!(error.kind(), ErrorKind::Truncated);
        assert!(error.is_by_peer());
        let source = error.source().and_then(|source| source.downcast_ref::<CodecError>());
        assert_eq!(source.and_then(CodecError::position), Some(3));
    }

    #[cfg(feature = "json")]
    #[test]
    fn what_cannot_be_read_is_the_peers_and_what_cannot_be_written_is_ours() {
        use tokio_util::codec::Encoder;

        let mut json = crate::codec::Json::<f64, f64>::new();
        let mut bytes = BytesMut::from("nonsense");
        let error = json.decode(&mut bytes).map_err(Error::from).expect_err("it is no JSON");
        assert_eq!((error.kind(), error.is_by_peer()), (ErrorKind::Protocol, true));

        let mut json = crate::codec::Json::<f64, f64>::new();
        let error = json.encode(f64::NAN, &mut bytes).map_err(Error::from).expect_err("NaN");
        assert_eq!((error.kind(), error.is_by_peer()), (ErrorKind::InvalidInput, false));
        assert_eq!(error.to_string(), "cannot write a message");

        let mut json = json.max_message_size(2);
        let error = json.encode(1.25, &mut bytes).map_err(Error::from).expect_err("4 bytes");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
