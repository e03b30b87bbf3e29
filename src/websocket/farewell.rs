//! The end of a WebSocket's transport, after its connection is over.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};

use super::close;
use super::session::Socket;
use crate::conn::Account;

/// How long a peer may be silent while it has not acknowledged everything. It is the same time as
/// for a peer whose HTTP/2 is kept alive.
const SILENCE: Duration = Duration::from_secs(45);

/// How much longer it may take, and how much it may send meanwhile, before it is given up.
const LONGEST: Duration = Duration::from_secs(120);
const MOST: u64 = 1 << 20;

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
    /// The account of what the connection holds.
    pub(super) account: Option<Box<dyn Account>>,
}

impl Farewell {
    /// Sends the rest of the socket's output, and waits until the peer has received it. Closing a
    /// transport with unread bytes would reset it and lose the last word. Returns whether the peer has confirmed what it
    /// owed.
    pub(super) async fn say<S>(mut self, mut socket: Socket<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut is_confirmed = !self.owes;
        if self.owes {
            let most = socket.get_ref().read() + MOST;
            let waiting = async {
                while let Ok(Some(Ok(message))) =
                    timeout(SILENCE, self.next(&mut socket, most)).await
                {
                    if let Message::Close(frame) = &message {
                        is_confirmed = close::meaning(frame.as_ref()).is_ok();
                    }
                }
            };
            let _ = timeout(LONGEST, waiting).await;
        }
        let ending = async {
            for message in std::mem::take(&mut self.last_words) {
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

    /// The next message. `None` if more than `most` bytes have come, or others need the memory.
    async fn next<S>(
        &mut self,
        socket: &mut Socket<S>,
        most: u64,
    ) -> Option<Result<Message, tungstenite::Error>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let whole = socket.get_ref().read();
        poll_fn(|cx| {
            let message = socket.poll_next_unpin(cx);
            let read = socket.get_ref().read();
            // A message is held while it comes.
            let coming = (read - whole) as usize;
            let must_end = self.account.as_mut().and_then(|account| account.holds(0, coming));
            if must_end.is_some() || read > most { Poll::Ready(None) } else { message }
        })
        .await
    }
}
