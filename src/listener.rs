//! Accepting.

mod builder;
mod drain;
mod handshake;
mod incoming;

use std::fmt;
use std::sync::Arc;

use http::{StatusCode, header};
use slab::Slab;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::{Methods, Protocols, method_not_allowed};
use crate::conn::{Addr, Offer, Transport};
use crate::link::Link;
use crate::sync::{Mutex, lock};

pub use builder::ListenerBuilder;
pub use incoming::Incoming;

/// Accepts connections on a socket of its own, or over a transport of the program's
/// ([`ListenerBuilder::build_over`]).
///
/// TCP, TLS and HTTP/2 handshakes go on beside each other in the background, and one that hangs
/// holds nobody up. A client that speaks HTTP/1.1 is answered 505 with a text that says why.
///
/// Dropping the listener closes its socket and refuses connections that nobody has accepted; those
/// that were accepted go on. [`drain`](Listener::drain) ends those too, in good order.
///
/// # Examples
///
/// ```
/// use h2conn::{Conn, Listener};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// async fn serve(mut listener: Listener) {
///     while let Some(incoming) = listener.accept().await {
///         tokio::spawn(async move {
///             if let Ok(conn) = incoming.accept() {
///                 if let Err(error) = echo(&conn).await {
///                     eprintln!("{}: {error}", conn.peer_addr());
///                 }
///             }
///         });
///     }
/// }
///
/// async fn echo(mut conn: &Conn) -> std::io::Result<()> {
///     let mut buffer = [0; 4096];
///     loop {
///         match conn.read(&mut buffer).await? {
///             0 => return conn.shutdown().await,
///             n => conn.write_all(&buffer[..n]).await?,
///         }
///     }
/// }
/// ```
pub struct Listener {
    incoming: mpsc::Receiver<Offer>,
    local: Addr,
    methods: Methods,
    protocols: Protocols,
    links: Arc<Links>,
    /// The task that takes in sockets; none where the program has brought the only transport.
    accepting: Option<JoinHandle<()>>,
    #[cfg(unix)]
    socket_file: Option<builder::SocketFile>,
}

/// The links that the listener's clients have made.
#[derive(Debug, Default)]
struct Links {
    all: Mutex<LinkList>,
}

#[derive(Debug, Default)]
struct LinkList {
    links: Slab<Link>,
    closed: bool,
}

impl Links {
    /// Keeps a new link until it has ended. When the listener has ended, so does the link.
    async fn keep(&self, link: Link) {
        let key = {
            let mut all = lock(&self.all);
            if all.closed {
                drop(all);
                link.shut_down();
                return;
            }
            all.links.insert(link.clone())
        };
        link.ended().await;
        lock(&self.all).links.try_remove(key);
    }

    /// Takes them all out; no more are kept.
    fn close(&self) -> Vec<Link> {
        let mut all = lock(&self.all);
        all.closed = true;
        std::mem::take(&mut all.links).into_iter().map(|(_, link)| link).collect()
    }
}

impl Listener {
    /// Sets up a listener.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    /// Where it listens. [`Addr::Other`] over a transport of the program's own.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// Waits for the next client that wants a connection. `None` when the listener has ended, as
    /// it does when its runtime shuts down, or when the only transport that it was given has ended.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no client.
    pub async fn accept(&mut self) -> Option<Incoming> {
        loop {
            let incoming = Incoming::new(self.incoming.recv().await?);
            if let Transport::ExtendedConnect(protocol) = incoming.transport() {
                let Some(text) = self.protocols.refusal(protocol) else { return Some(incoming) };
                incoming.refuse(StatusCode::NOT_IMPLEMENTED, None, format!("{text}\n"));
                continue;
            }
            let Some(allowed) = self.methods.refusal(incoming.method()) else {
                return Some(incoming);
            };
            let text = format!("{}\n", method_not_allowed(incoming.method(), &allowed));
            incoming.refuse(StatusCode::METHOD_NOT_ALLOWED, Some((header::ALLOW, allowed)), text);
        }
    }

    /// Waits until `links` are gone.
    async fn ended(links: &[Link]) {
        for link in links {
            link.ended().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
        for link in self.links.close() {
            link.shut_down();
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local_addr", &self.local).finish_non_exhaustive()
    }
}
