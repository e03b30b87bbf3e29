//! Accepting connections as a server.

mod accepting;
mod builder;
mod descriptors;
#[cfg(test)]
mod documented;
mod drain;
mod handle;
mod handshake;
mod http1;
mod incoming;
mod limits;
mod links;
mod parting;
mod refusal;
#[cfg(feature = "serve")]
mod serve;
mod socket;
#[cfg(feature = "websocket")]
mod websocket;

use std::fmt;
use std::sync::Arc;

use http::{StatusCode, header};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::{Config, Methods, Origins, Protocols, method_not_allowed};
use crate::conn::{Addr, Transport};
use crate::link::{Backlog, Budget};
#[cfg(unix)]
use crate::sync::{Mutex, lock};
use handle::Decided;
use limits::Limits;
use links::Links;

pub use builder::ListenerBuilder;
pub use handle::{ListenerHandle, ListenerStats};
#[cfg(feature = "serve")]
pub(crate) use http1::{Http1Client, Http1Server};
pub use incoming::Incoming;
#[cfg(feature = "serve")]
pub(crate) use serve::Cut;

/// Accepts connections on a socket of its own, or over a transport of the program's
/// ([`ListenerBuilder::build_over`]).
///
/// TCP, TLS and HTTP/2 handshakes run side by side in the background, so a client that hangs holds
/// up no other client. A client that speaks HTTP/1.1 is answered with 505 and a text that says why,
/// or with 501 if it asks for a WebSocket, over HTTP/2 too, unless the listener takes those:
/// `ListenerBuilder::websockets` (feature `websocket`).
///
/// Dropping the listener closes its socket and refuses connections that are not yet accepted.
/// Accepted connections go on. [`drain`](Listener::drain) ends those too, in good order.
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
    incoming: Backlog,
    local: Addr,
    methods: Methods,
    protocols: Protocols,
    origins: Origins,
    #[cfg(feature = "websocket")]
    websockets: Option<Arc<websocket::Http2>>,
    shared: Arc<Shared>,
    stopping: watch::Receiver<bool>,
    /// The task that takes in sockets. `None` if the program has brought the only transport.
    accepting: Option<JoinHandle<()>>,
}

/// The state that the listener, its handles and its background tasks share.
#[derive(Debug)]
struct Shared {
    limits: Arc<Limits>,
    budget: Arc<Budget>,
    links: Links,
    /// Apart from the links, which a request that is held must not keep.
    decided: Arc<Decided>,
    #[cfg(any(feature = "serve", feature = "websocket"))]
    http1: http1::Http1,
    #[cfg(unix)]
    socket_file: Mutex<Option<socket::SocketFile>>,
}

impl Shared {
    fn new(config: &Config) -> Arc<Shared> {
        Arc::new(Shared {
            limits: Limits::new(config.max_links, config.max_links_per_addr),
            budget: Budget::new(config.max_memory),
            links: Links::new(),
            decided: Arc::default(),
            #[cfg(any(feature = "serve", feature = "websocket"))]
            http1: http1::Http1::default(),
            #[cfg(unix)]
            socket_file: Mutex::default(),
        })
    }

    /// Takes in no more sockets, and makes all links end with their streams.
    fn stop(&self) {
        // Remove the file while the socket is open: later the file may belong to a new server.
        #[cfg(unix)]
        drop(lock(&self.socket_file).take());
        self.links.stop();
    }
}

impl Listener {
    /// Sets up a listener.
    pub fn builder() -> ListenerBuilder {
        ListenerBuilder::default()
    }

    /// The address that it listens on. [`Addr::Other`] over a transport of the program's own.
    pub fn local_addr(&self) -> &Addr {
        &self.local
    }

    /// Waits for the next client that wants a connection. Returns `None` when the listener has
    /// ended: when its runtime shuts down, when the only transport that it was given has ended, or
    /// after [`ListenerHandle::shut_down`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no client.
    pub async fn accept(&mut self) -> Option<Incoming> {
        #[cfg(any(feature = "serve", feature = "websocket"))]
        self.shared.http1.refuse();
        loop {
            let offer = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stop| *stop), if !self.incoming.is_closed() => {
                    self.incoming.close();
                    continue;
                }
                offer = self.incoming.next() => offer?,
            };
            if let Some(incoming) = self.admit(Incoming::counted(offer, &self.shared.decided)) {
                return Some(incoming);
            }
        }
    }

    /// Refuses requests that the program should not see.
    fn admit(&self, incoming: Incoming) -> Option<Incoming> {
        // The origin first, so that a page of another origin is told the same whatever else is wrong.
        let origin = self.origins.refusal(incoming.uri(), incoming.headers());
        #[cfg(feature = "websocket")]
        if origin.is_none()
            && let Some(websockets) = &self.websockets
            && websocket::Http2::is_asked_for(incoming.transport())
        {
            return websockets.admit(incoming);
        }
        let refused = match (origin, incoming.transport()) {
            (Some(text), _) => Some((StatusCode::FORBIDDEN, None, text)),
            (None, Transport::ExtendedConnect(protocol)) => self
                .protocols
                .refusal(protocol, self.takes_websockets())
                .map(|text| (StatusCode::NOT_IMPLEMENTED, None, text)),
            // The handshake was checked before.
            (None, Transport::WebSocketHttp1) => None,
            (None, _) => self.methods.refusal(incoming.method()).map(|allowed| {
                let text = method_not_allowed(incoming.method(), &allowed);
                (StatusCode::METHOD_NOT_ALLOWED, Some((header::ALLOW, allowed)), text)
            }),
        };
        let Some((status, field, text)) = refused else { return Some(incoming) };
        incoming.refuse(status, field, &text);
        None
    }

    #[cfg(feature = "websocket")]
    fn takes_websockets(&self) -> bool {
        self.websockets.is_some()
    }

    #[cfg(not(feature = "websocket"))]
    fn takes_websockets(&self) -> bool {
        false
    }

    /// A handle that watches and ends the listener while a task waits in
    /// [`accept`](Listener::accept).
    pub fn handle(&self) -> ListenerHandle {
        ListenerHandle { shared: Arc::clone(&self.shared) }
    }

    /// The listener's current numbers, as from [`ListenerHandle::stats`].
    pub fn stats(&self) -> ListenerStats {
        self.shared.stats()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.stop();
        #[cfg(feature = "serve")]
        self.shared.http1.forget_server();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("local_addr", &self.local).finish_non_exhaustive()
    }
}
