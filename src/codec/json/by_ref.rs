//! Values that are sent without being given away.

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

use super::Json;
use crate::codec::CodecError;

impl<Out, In> Json<Out, In> {
    /// Has the sink take `&Out` instead of `Out`: to send one value to many connections, or to keep a value that was
    /// sent. The other setters come before it.
    ///
    /// A sink that took both would make every call of its `close` and `flush` ambiguous, so this is a codec of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    /// use h2conn::codec::Json;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize, Debug, PartialEq)]
    /// struct Post {
    ///     text: String,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> h2conn::Result<()> {
    /// let (client, server) = h2conn::testing::pair().await?;
    /// let mut posts = server.framed(Json::<Post>::new().by_ref());
    /// let post = Post { text: "hello".to_owned() };
    /// posts.send(&post).await?;
    /// posts.close().await?;
    ///
    /// let mut heard = client.framed(Json::<Post>::new());
    /// assert_eq!(heard.next().await.transpose()?, Some(post)); // it is still here
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_ref(self) -> ByRef<Out, In> {
        ByRef(self)
    }
}

/// The codec [`Json`], with a sink that takes `&Out`: see [`Json::by_ref`].
#[derive(Debug)]
pub struct ByRef<Out, In = Out>(Json<Out, In>);

impl<Out: Serialize, In> Encoder<&Out> for ByRef<Out, In> {
    type Error = CodecError;

    fn encode(&mut self, item: &Out, dst: &mut BytesMut) -> Result<(), CodecError> {
        self.0.encode_value(item, dst)
    }
}

impl<Out, In: DeserializeOwned> Decoder for ByRef<Out, In> {
    type Item = In;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        self.0.decode(src)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<In>, CodecError> {
        self.0.decode_eof(src)
    }
}

impl<Out, In> Clone for ByRef<Out, In> {
    fn clone(&self) -> ByRef<Out, In> {
        ByRef(self.0.clone())
    }
}
