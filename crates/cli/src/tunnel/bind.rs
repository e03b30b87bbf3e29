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
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::pulse::{NOTHING, Pulse};
use crate::places::{Full, Line, Peer, Place, Places, Waiting};
use crate::pump::CutOnDrop;
use crate::report::{About, warn};

/// How long a visitor waits for the client, which must dial its target and make a round trip.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many visitors of one listener wait for the client at once. The client has yet to hear of more,
/// and an address has at most as many of them as are free.
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
    tcp: CutOnDrop<TcpStream>,
    /// The listener to which the visitor came.
    listener: Arc<()>,
    impatience: AbortHandle,
    _waits: Place,
    /// The visitor keeps these places to its end, even after it was fetched.
    held: Held,
}

/// The places of a visitor: one among those of its listener, and one among the server's tunnels.
#[derive(Debug)]
pub(crate) struct Held {
    of_listener: Place<Line>,
    _of_tunnels: Place<Line>,
}

/// A visitor of whom the client can be told now.
struct Arrived {
    tcp: CutOnDrop<TcpStream>,
    addr: SocketAddr,
    waits: Place,
    held: Held,
}

impl Visitors {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Visitor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The visitor with this identifier, which only the listener's client knows. The visitor has
    /// its places until the second value is dropped.
    pub(crate) fn fetch(&self, id: &str) -> Option<(CutOnDrop<TcpStream>, Held)> {
        let visitor = self.lock().remove(id)?;
        visitor.impatience.abort();
        Some((visitor.tcp, visitor.held))
    }

    fn dismiss(&self, id: &str) {
        drop(self.fetch(id));
    }

    fn admit(self: &Arc<Self>, arrived: Arrived, listener: &Arc<()>) -> Result<String> {
        let id = new_id()?;
        let (visitors, its_id) = (Arc::clone(self), id.clone());
        // The lock makes sure that the visitor is in the map before its time can be up.
        let mut waiting = self.lock();
        let impatience = tokio::spawn(async move {
            sleep(PATIENCE).await;
            visitors.dismiss(&its_id);
        });
        let visitor = Visitor {
            tcp: arrived.tcp,
            listener: Arc::clone(listener),
            impatience: impatience.abort_handle(),
            _waits: arrived.waits,
            held: arrived.held,
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
        }
    }
}

/// A listener that serves one client.
pub(crate) struct Listening<'a> {
    pub(crate) tcp: TcpListener,
    pub(crate) addr: SocketAddr,
    pub(crate) visitors: &'a Arc<Visitors>,
    /// The server's tunnels. A visitor counts as one of them to its end.
    pub(crate) tunnels: &'a Places<Line>,
    /// The places for visitors of this listener, which they keep to their end.
    pub(crate) places: Places<Line>,
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
        let waiting = Places::new(WAITING, "visitors that wait", "the server");
        let mut arriving = JoinSet::new();
        let mut lines = FramedRead::new(conn, LinesCodec::new_with_max_length(LINE));
        loop {
            let visit = async {
                let place = self.places.wait().await;
                (self.tcp.accept().await, place)
            };
            tokio::select! {
                (accepted, place) = visit => match accepted {
                    Ok((tcp, addr)) => {
                        let tcp = CutOnDrop::new(tcp);
                        if let Some(held) = self.admit(addr, place) {
                            let waiting = waiting.clone();
                            arriving.spawn(async move {
                                let waits = waiting.turn(&held.of_listener).await;
                                Arrived { tcp, addr, waits, held }
                            });
                        }
                    }
                    Err(error) => {
                        let failed = format!("cannot take in a connection: {error}");
                        warn(About::All, "accept", failed);
                        sleep(PAUSE).await;
                    }
                },
                Some(arrived) = arriving.join_next() => {
                    let arrived = arrived.context("a visitor's task")?;
                    let addr = arrived.addr;
                    let id = self.visitors.admit(arrived, &listener.id)?;
                    conn.write_all(format!("{id} {addr}\n").as_bytes()).await?;
                }
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
    fn admit(&self, peer: SocketAddr, place: Waiting<Line>) -> Option<Held> {
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

    fn hold(&self, peer: SocketAddr, place: Waiting<Line>) -> Result<Held, Full> {
        let addr = peer.into();
        Ok(Held {
            of_listener: place.give(Peer::of(self.addr.ip(), &addr))?,
            // Other listeners may be open to other hosts.
            _of_tunnels: self.tunnels.take(Peer::at(&addr))?,
        })
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
