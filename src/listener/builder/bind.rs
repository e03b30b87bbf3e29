//! From the knobs to a listener: its sockets, and the checks.

#[cfg(unix)]
use std::io;
use std::net::SocketAddr;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};

use super::{BACKLOG, ListenerBuilder};
use crate::config::Config;
use crate::conn::Addr;
use crate::error::{Error, ErrorKind, Result};
use crate::link::backlog;
use crate::listener::accepting::Accept;
use crate::listener::handshake::Server;
use crate::listener::socket::bind_advice;
#[cfg(unix)]
use crate::listener::socket::{SocketFile, is_socket};
#[cfg(feature = "websocket")]
use crate::listener::websocket::Http2;
use crate::listener::{Listener, Shared};
#[cfg(unix)]
use crate::sync::lock;
use crate::tls::ServerTls;

impl ListenerBuilder {
    /// Listens on a TCP address. Port 0 chooses a free port; see [`Listener::local_addr`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a knob whose value cannot be used. [`ErrorKind::Connect`]
    /// when the address cannot be bound.
    pub async fn bind(self, addr: impl ToSocketAddrs) -> Result<Listener> {
        let addresses: Vec<SocketAddr> = match lookup_host(addr).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                let message = "what was given to listen on is no address of this machine; \
                               expected something like 127.0.0.1:8000";
                return Err(Error::new(ErrorKind::Connect, message).with_source(error));
            }
        };
        let listener = TcpListener::bind(&*addresses).await.map_err(|error| {
            let tried = addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
            let message = format!("cannot listen on {}{}", tried.join(" or "), bind_advice(&error));
            Error::new(ErrorKind::Connect, message).with_source(error)
        })?;
        self.listen(listener)
    }

    /// Listens on a TCP socket that the program has bound itself.
    ///
    /// # Errors
    ///
    /// The same as for [`bind`](ListenerBuilder::bind).
    pub fn listen(self, listener: TcpListener) -> Result<Listener> {
        let local = listener.local_addr().map(Addr::Ip).map_err(|error| {
            Error::new(ErrorKind::Connect, "the socket has no address").with_source(error)
        })?;
        self.start(listener, local)
    }

    /// Listens on a Unix domain socket. A socket file on which nothing listens any more is
    /// replaced. The file is removed when the listener ends.
    ///
    /// # Errors
    ///
    /// The same as for [`bind`](ListenerBuilder::bind).
    #[cfg(unix)]
    pub async fn bind_unix(self, path: impl Into<PathBuf>) -> Result<Listener> {
        use tokio::net::{UnixListener, UnixStream};

        let path = path.into();
        let failed = |error: io::Error| {
            let message = format!("cannot listen on {}{}", path.display(), bind_advice(&error));
            Error::new(ErrorKind::Connect, message).with_source(error)
        };
        let listener = match UnixListener::bind(&path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_socket(&path) => {
                match UnixStream::connect(&path).await {
                    Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
                        std::fs::remove_file(&path).map_err(failed)?;
                        UnixListener::bind(&path).map_err(failed)?
                    }
                    _ => return Err(failed(error)),
                }
            }
            result => result.map_err(failed)?,
        };
        let local = Addr::Unix(Some(path.clone()));
        let listener = self.start(listener, local)?;
        *lock(&listener.shared.socket_file) = Some(SocketFile(path));
        Ok(listener)
    }

    /// Makes a listener that speaks HTTP/2 over `io`, the program's own transport. All its
    /// connections come over `io`. No TLS is added. When `io` has ended and no request waits to be
    /// accepted, [`Listener::accept`] returns `None`.
    ///
    /// This does not wait for the client. The handshake runs in the background, as on a socket: a
    /// client that speaks HTTP/1.1 is answered with 505, and a silent client has the
    /// [`handshake_timeout`](ListenerBuilder::handshake_timeout).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a knob whose value cannot be used.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::{Client, Listener};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> h2conn::Result<()> {
    /// let (client_io, server_io) = tokio::io::duplex(64 * 1024);
    /// let mut listener = Listener::builder().build_over(server_io)?;
    /// let client = Client::builder().build_over(client_io).await?;
    /// let conn = client.open("http://pipe/").await?;
    /// let incoming = listener.accept().await.expect("a client that connects");
    /// assert_eq!(incoming.uri().host(), Some("pipe"));
    /// # drop(conn);
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_over<T>(mut self, io: T) -> Result<Listener>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.tls = None;
        // No other link can replace this one.
        self.config.link_idle_timeout = None;
        self.config.first_conn_timeout = None;
        let (listener, server) = self.prepare(Addr::Other)?;
        server.take_in(io, Addr::Other, Addr::Other);
        Ok(listener)
    }

    fn start(self, socket: impl Accept, local: Addr) -> Result<Listener> {
        let (mut listener, server) = self.prepare(local)?;
        listener.accepting = Some(tokio::spawn(server.run(socket)));
        Ok(listener)
    }

    /// Makes the listener and its link maker. `accept` ends when both and all links are gone.
    fn prepare(self, local: Addr) -> Result<(Listener, Arc<Server>)> {
        self.config.check()?;
        self.methods.check()?;
        self.protocols.check()?;
        self.origins.check()?;
        #[cfg(feature = "websocket")]
        if let Some(websockets) = &self.websockets {
            websockets.check()?;
        }
        let tls = self.tls.as_ref().map(ServerTls::build).transpose()?;
        let (entrance, incoming) = backlog(BACKLOG, self.config.max_memory / 8);
        let extended_connect = !self.protocols.is_empty();
        #[cfg(feature = "websocket")]
        let extended_connect = extended_connect || self.websockets.is_some();
        let config = Config { extended_connect, ..self.config };
        let shared = Shared::new(&config);
        let stopping = shared.links.stopping();
        #[cfg(feature = "websocket")]
        let websockets = self.websockets.as_ref().map(|all| Http2::new(all, &config, &shared));
        let server = Server::new(tls, config, entrance, &shared, &self.origins);
        #[cfg(feature = "websocket")]
        let server = Server { websockets: self.websockets, ..server };
        let listener = Listener {
            incoming,
            local,
            methods: self.methods,
            protocols: self.protocols,
            origins: self.origins,
            #[cfg(feature = "websocket")]
            websockets,
            shared,
            stopping,
            accepting: None,
        };
        Ok((listener, Arc::new(server)))
    }
}
