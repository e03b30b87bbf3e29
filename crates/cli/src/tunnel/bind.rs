//! The server's side of `forward -R`: listens for a client, and keeps who comes until the client
//! has opened a connection for it.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use h2conn::Conn;
use h2conn::tokio_util::codec::{FramedRead, LinesCodec};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::pulse::{NOTHING, Pulse};
use crate::pump::Socket;
use crate::report::{About, warn};

/// How long a visitor waits for the client: a dial of its own, and a round trip.
const PATIENCE: Duration = Duration::from_secs(15);

/// Visitors of one listener that wait at once; more stay in the system's queue.
const ROOM: usize = 64;

/// A rest for a system that has no more file descriptors, say.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest line that either end sends: an identifier and an address.
pub(super) const LINE: usize = 256;

/// Who has come to the listeners of all clients, and waits to be fetched.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<HashMap<String, Visitor>>);

#[derive(Debug)]
struct Visitor {
    tcp: TcpStream,
    /// The listener that it has come to.
    listener: Arc<()>,
    impatience: AbortHandle,
    _room: OwnedSemaphorePermit,
}

impl Visitors {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Visitor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The visitor with this identifier. Whoever knows it has it from the listener's client.
    pub(crate) fn fetch(&self, id: &str) -> Option<TcpStream> {
        let visitor = self.lock().remove(id)?;
        visitor.impatience.abort();
        Some(visitor.tcp)
    }

    fn dismiss(&self, id: &str) {
        if let Some(tcp) = self.fetch(id) {
            tcp.cut();
        }
    }

    fn admit(
        self: &Arc<Self>,
        tcp: TcpStream,
        listener: &Arc<()>,
        room: OwnedSemaphorePermit,
    ) -> Result<String> {
        let id = new_id()?;
        let (visitors, its_id) = (Arc::clone(self), id.clone());
        // While the lock is held the visitor is there before its time can be up.
        let mut waiting = self.lock();
        let impatience = tokio::spawn(async move {
            sleep(PATIENCE).await;
            visitors.dismiss(&its_id);
        });
        let visitor = Visitor {
            tcp,
            listener: Arc::clone(listener),
            impatience: impatience.abort_handle(),
            _room: room,
        };
        waiting.insert(id.clone(), visitor);
        Ok(id)
    }

    fn dismiss_all_of(&self, listener: &Arc<()>) {
        let mut waiting = self.lock();
        for (_, visitor) in
            waiting.extract_if(|_, visitor| Arc::ptr_eq(&visitor.listener, listener))
        {
            visitor.impatience.abort();
            visitor.tcp.cut();
        }
    }
}

/// Tells the client of each visitor, until the client or the server ends. With an `idle_timeout`, that of
/// the listener that has accepted `conn`, the list does not fall silent.
///
/// # Errors
///
/// What has ended the connection to the client.
///
/// # Cancel safety
///
/// Dropping the future ends the listener, and resets who waits.
pub(crate) async fn serve(
    mut conn: &Conn,
    tcp: TcpListener,
    visitors: &Arc<Visitors>,
    idle_timeout: Option<Duration>,
) -> Result<()> {
    let mut pulse = Pulse::new(idle_timeout);
    let listener = Listener { visitors, id: Arc::new(()) };
    let room = Arc::new(Semaphore::new(ROOM));
    let mut lines = FramedRead::new(conn, LinesCodec::new_with_max_length(LINE));
    loop {
        let visit = async {
            let room = Arc::clone(&room).acquire_owned().await?;
            anyhow::Ok((tcp.accept().await, room))
        };
        tokio::select! {
            visit = visit => {
                let (accepted, room) = visit?;
                match accepted {
                    Ok((tcp, peer)) => {
                        let id = visitors.admit(tcp, &listener.id, room)?;
                        conn.write_all(format!("{id} {peer}\n").as_bytes()).await?;
                    }
                    Err(error) => {
                        warn(About::All, "accept", format_args!("cannot take in a connection: {error}"));
                        sleep(PAUSE).await;
                    }
                }
            }
            () = pulse.due() => conn.write_all(NOTHING).await?,
            line = lines.next() => match line {
                // The client is still there.
                Some(Ok(line)) if line.is_empty() => {}
                // The client cannot serve this one.
                Some(id) => visitors.dismiss(&id.context("a line of the client")?),
                None => break,
            },
            () = conn.draining() => break,
        }
    }
    drop(tcp);
    Ok(conn.close().await?)
}

/// Sends away who waits when it ends.
struct Listener<'a> {
    visitors: &'a Visitors,
    id: Arc<()>,
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.visitors.dismiss_all_of(&self.id);
    }
}

/// 128 random bits, so that nobody can fetch another's visitor.
fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes.iter().fold(String::new(), |mut id, byte| {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    }))
}
