//! Messages over a connection, or over one half of it.

use tokio_util::codec::{Framed, FramedRead, FramedWrite};

use super::{Conn, ReadHalf, WriteHalf};

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
    /// To keep the connection, pass it by reference: `Framed::new(&conn, codec)`. To give each
    /// direction to a task of its own, split the connection and see [`ReadHalf::framed`].
    ///
    /// # Examples
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
