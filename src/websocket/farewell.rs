//! The end of a WebSocket's transport, after its connection is over.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::session::Socket;

/// How long a client may be silent that has not acknowledged everything: as long as one whose HTTP/2 is
/// kept alive.
const SILENCE: Duration = Duration::from_secs(45);

/// How long a client that has heard everything may take to end the transport, which says no more.
const PARTING: Duration = Duration::from_secs(1);

/// The last things that must be done with the socket once its connection is over.
pub(super) struct Farewell {
    /// The close frame that the client has still to get.
    pub(super) last_word: Option<CloseFrame>,
    /// The client has not answered the close frame that is behind everything. Until it does, what it was
    /// sent may be on a slow line, and is lost if the transport is closed while it sends.
    pub(super) owes: bool,
}

impl Farewell {
    /// Sends what the socket still has, and waits for the client to have heard it: a transport that is
    /// closed with bytes unread is reset, and the last word lost.
    pub(super) async fn say<S>(self, mut socket: Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.owes {
            while let Ok(Some(Ok(_))) = timeout(SILENCE, socket.next()).await {}
        }
        let ending = async {
            if self.last_word.is_some() {
                socket.send(Message::Close(self.last_word)).await?;
            }
            socket.flush().await?;
            while let Some(Ok(_)) = socket.next().await {}
            let transport = socket.get_mut();
            transport.shutdown().await?;
            tokio::io::copy(transport, &mut tokio::io::sink()).await?;
            Ok::<_, tungstenite::Error>(())
        };
        let _ = timeout(PARTING, ending).await;
    }
}
