//! The end of a WebSocket's transport, after its connection is over.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};

use super::close;
use super::session::Socket;

/// How long a peer may be silent while it has not acknowledged everything. It is the same time as
/// for a peer whose HTTP/2 is kept alive.
const SILENCE: Duration = Duration::from_secs(45);

/// How much longer it may take, and how much it may send meanwhile, before it is given up.
const LONGEST: Duration = Duration::from_secs(120);
const MOST: usize = 1 << 20;

/// How long a peer that has received everything may take to end the transport. It sends nothing
/// more.
const PARTING: Duration = Duration::from_secs(1);

/// The last work with the socket once its connection is over.
pub(super) struct Farewell {
    /// The messages that the peer has not received yet.
    pub(super) last_words: Vec<Message>,
    /// Whether the peer has not answered the close frame after all other bytes. Until it does,
    /// these bytes may be on a slow line, and closing the transport while the peer sends would
    /// lose them.
    pub(super) owes: bool,
}

impl Farewell {
    /// Sends the rest of the socket's output, and waits until the peer has received it. Closing a
    /// transport with unread bytes would reset it and lose the last word. Returns whether the peer has confirmed what it
    /// owed.
    pub(super) async fn say<S>(self, mut socket: Socket<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut is_confirmed = !self.owes;
        if self.owes {
            let mut received = 0;
            let waiting = async {
                while let Ok(Some(Ok(message))) = timeout(SILENCE, socket.next()).await {
                    if let Message::Close(frame) = &message {
                        is_confirmed = close::meaning(frame.as_ref()).is_ok();
                    }
                    received += message.len();
                    if received > MOST {
                        break;
                    }
                }
            };
            let _ = timeout(LONGEST, waiting).await;
        }
        let ending = async {
            for message in self.last_words {
                socket.feed(message).await?;
            }
            socket.flush().await?;
            while let Some(Ok(_)) = socket.next().await {}
            let transport = socket.get_mut();
            transport.shutdown().await?;
            tokio::io::copy(transport, &mut tokio::io::sink()).await?;
            Ok::<_, tungstenite::Error>(())
        };
        let _ = timeout(PARTING, ending).await;
        is_confirmed
    }
}
