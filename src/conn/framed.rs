//! Messages over a connection, or over one half of it.

use tokio_util::codec::{Framed, FramedRead, FramedWrite};

use super::{Conn, ReadHalf, WriteHalf};

impl Conn {
    /// Sends and receives messages instead of bytes: a `Sink` of what the codec encodes, and a
    /// `Stream` of what it decodes. [`codec`](crate::codec) has some, and tells how to change the
    /// format in mid-stream.
    ///
    /// The methods `send`, `feed` and `next` come from the `SinkExt` and `StreamExt` of
    /// `futures-util`. A message is written once it is flushed, which `send` does and `feed` does
    /// not; what was only fed is lost when the `Framed` is dropped. Its `close` flushes and is a
    /// shutdown of this side; to end both as [`close`](Conn::close) does, do that with
    /// `into_inner()` after it.
    ///
    /// To keep the connection, `Framed::new(&conn, codec)` takes it by reference; to give each
    /// direction to a task of its own, split it and see [`ReadHalf::framed`].
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
    /// Receives messages instead of bytes: a `Stream` of what the codec decodes, as
    /// [`Conn::framed`] is for both directions.
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
    /// Sends messages instead of bytes: a `Sink` of what the codec encodes, as [`Conn::framed`] is
    /// for both directions. [`ReadHalf::framed`] has an example.
    pub fn framed<C>(self, codec: C) -> FramedWrite<WriteHalf, C> {
        FramedWrite::new(self, codec)
    }
}
