//! The server's side of `forward -R`: listens for a client, and keeps each visitor until the client
//! has opened a connection for it.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
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
use crate::places::{Full, Place, Places, Waiting};
use crate::pump::Socket;
use crate::report::{About, warn};

/// How long a visitor waits for the client, which must dial its target and make a round trip.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many visitors of one listener wait at once. More stay in the system's queue.
const WAITING: usize = 64;

/// The pause after an error of `accept`, for example because there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest line that either end sends: an identifier and an address.
pub(super) const LINE: usize = 256;

/// The visitors of all clients' listeners that wait for a client to fetch them.
#[derive(Debug, Default)]
pub(crate) struct Visitors(Mutex<HashMap<String, Visitor>>);

#[derive(Debug)]
struct Visitor {
    tcp: TcpStream,
    /// The listener to which the visitor came.
    listener: Arc<()>,
    impatience: AbortHandle,
    _waiting: OwnedSemaphorePermit,
    /// The visitor keeps these places to its end, even after it was fetched.
    held: Held,
}

/// The places of a visitor: one among those of its listener, and one among the server's tunnels.
#[derive(Debug)]
pub(crate) struct Held {
    _of_listener: Place,
    _of_tunnels: Place,
}

impl Visitors {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Visitor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The visitor with this identifier, which only the listener's client knows. The visitor has
    /// its places until the second value is dropped.
    pub(crate) fn fetch(&self, id: &str) -> Option<(TcpStream, Held)> {
        let visitor = self.lock().remove(id)?;
        visitor.impatience.abort();
        Some((visitor.tcp, visitor.held))
    }

    fn dismiss(&self, id: &str) {
        if let Some((tcp, _held)) = self.fetch(id) {
            tcp.cut();
        }
    }

    fn admit(
        self: &Arc<Self>,
        tcp: TcpStream,
        listener: &Arc<()>,
        waits: OwnedSemaphorePermit,
        held: Held,
    ) -> Result<String> {
        let id = new_id()?;
        let (visitors, its_id) = (Arc::clone(self), id.clone());
        // The lock makes sure that the visitor is in the map before its time can be up.
        let mut waiting = self.lock();
        let impatience = tokio::spawn(async move {
            sleep(PATIENCE).await;
            visitors.dismiss(&its_id);
        });
        let visitor = Visitor {
            tcp,
            listener: Arc::clone(listener),
            impatience: impatience.abort_handle(),
            _waiting: waits,
            held,
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

/// A listener that serves one client.
pub(crate) struct Listening<'a> {
    pub(crate) tcp: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) visitors: &'a Arc<Visitors>,
    /// The server's tunnels. A visitor counts as one of them to its end.
    pub(crate) tunnels: &'a Places,
    /// The places for visitors of this listener, which they keep to their end.
    pub(crate) places: Places,
}

impl Listening<'_> {
    /// Tells the client of each visitor, until the client or the server ends. `idle_timeout` is the
    /// one of the listener that has accepted `conn`. If it is set, empty lines keep the list of
    /// visitors from being idle.
    ///
    /// # Errors
    ///
    /// The error that has ended the connection to the client.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future ends the listener, and resets the visitors that wait.
    pub(crate) async fn serve(self, mut conn: &Conn, idle_timeout: Option<Duration>) -> Result<()> {
        let mut pulse = Pulse::new(idle_timeout);
        let listener = Listener { visitors: self.visitors, id: Arc::new(()) };
        let waiting = Arc::new(Semaphore::new(WAITING));
        let mut lines = FramedRead::new(conn, LinesCodec::new_with_max_length(LINE));
        loop {
            let visit = async {
                let waits = Arc::clone(&waiting).acquire_owned().await;
                let places = (waits.expect("it is never closed"), self.places.wait().await);
                (self.tcp.accept().await, places)
            };
            tokio::select! {
                (accepted, (waits, place)) = visit => match accepted {
                    Ok((tcp, peer)) => {
                        if let Some(held) = self.admit(peer, place) {
                            let id = self.visitors.admit(tcp, &listener.id, waits, held)?;
                            conn.write_all(format!("{id} {peer}\n").as_bytes()).await?;
                        } else {
                            tcp.cut();
                        }
                    }
                    Err(error) => {
                        let failed = format!("cannot take in a connection: {error}");
                        warn(About::All, "accept", failed);
                        sleep(PAUSE).await;
                    }
                },
                () = pulse.due() => conn.write_all(NOTHING).await?,
                line = lines.next() => match line {
                    // The client is still there.
                    Some(Ok(line)) if line.is_empty() => {}
                    // The client cannot serve this visitor.
                    Some(id) => self.visitors.dismiss(&id.context("a line of the client")?),
                    None => break,
                },
                () = conn.draining() => break,
            }
        }
        drop(self.tcp);
        Ok(conn.close().await?)
    }

    /// The places of a new visitor. `None` if there is no room for another tunnel, or if the
    /// visitor's address has its share.
    fn admit(&self, peer: SocketAddr, place: Waiting) -> Option<Held> {
        let addr = self.addr;
        match self.hold(peer, place) {
            Ok(held) => {
                if let Some(full) = self.places.is_full() {
                    warn(About::All, full.knob(), format_args!("{addr}: {full}; more wait"));
                }
                Some(held)
            }
            Err(full) => {
                warn(peer, full.knob(), format_args!("{peer} to {addr} was reset: {full}"));
                None
            }
        }
    }

    fn hold(&self, peer: SocketAddr, place: Waiting) -> Result<Held, Full> {
        let peer = peer.into();
        Ok(Held { _of_listener: place.give(&peer)?, _of_tunnels: self.tunnels.take(&peer)? })
    }
}

/// Sends away the waiting visitors when it is dropped.
struct Listener<'a> {
    visitors: &'a Visitors,
    id: Arc<()>,
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        self.visitors.dismiss_all_of(&self.id);
    }
}

/// 128 random bits, so that a client cannot guess the identifier of another client's visitor.
fn new_id() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes.iter().fold(String::new(), |mut id, byte| {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    }))
}
