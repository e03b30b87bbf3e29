//! The knobs of a listener, and its sockets.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, ToSocketAddrs, lookup_host};

use super::accepting::Accept;
use super::descriptors::max_links;
use super::handshake::Server;
use super::socket::bind_advice;
#[cfg(unix)]
use super::socket::{SocketFile, is_socket};
use super::{Listener, Shared};
use crate::config::{Config, Methods, Origins, Protocols};
use crate::conn::{Addr, OnDrop};
use crate::error::{Error, ErrorKind, Result};
use crate::link::backlog;
#[cfg(unix)]
use crate::sync::lock;
use crate::tls::ServerTls;

/// Connections that may wait to be accepted, over all links; more are refused with
/// `REFUSED_STREAM`, so that clients know they may try again. A link alone can have half of them.
pub(super) const BACKLOG: usize = 8192;

/// Sets up a [`Listener`]. The setters cannot fail and may come in any order; binding checks.
#[derive(Clone, Debug)]
pub struct ListenerBuilder {
    tls: Option<ServerTls>,
    methods: Methods,
    protocols: Protocols,
    origins: Origins,
    pub(super) config: Config,
}

/// 3 minutes, twice what clients keep a link that they do not use: so it is mostly they who close,
/// and a client that has vanished does not keep its socket here.
const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(180);

/// As long as a client may take for the handshakes: it connects because it wants something.
const FIRST_CONN_TIMEOUT: Duration = Duration::from_secs(10);

impl Default for ListenerBuilder {
    fn default() -> ListenerBuilder {
        ListenerBuilder {
            tls: None,
            methods: Methods::default(),
            protocols: Protocols::default(),
            origins: Origins::default(),
            config: Config {
                link_idle_timeout: Some(LINK_IDLE_TIMEOUT),
                first_conn_timeout: Some(FIRST_CONN_TIMEOUT),
                max_links: max_links(),
                ..Config::default()
            },
        }
    }
}

impl ListenerBuilder {
    /// Speaks TLS, with this identity or configuration. Default: cleartext HTTP/2.
    pub fn tls(mut self, tls: impl Into<ServerTls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Accepts these methods only; others are answered 405. Default: all but CONNECT, HEAD and
    /// TRACE (curl sends PUT, the Go library POST).
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = Methods::only(methods);
        self
    }

    /// Accepts extended CONNECT (RFC 8441 §4) with these values of `:protocol` too, whatever
    /// [`methods`](ListenerBuilder::methods) says, and offers it in the SETTINGS. Other values are
    /// answered 501 (RFC 9220 §3), CONNECT without one stays refused. Default: none, and no offer.
    ///
    /// They are tokens (RFC 9110 §5.6.2), whose case does not matter. [`Incoming::transport`] tells
    /// such a request from others. The stream carries the bytes that are written as they are.
    ///
    /// The offer has no names in it. A browser that sees it sends its WebSockets to this port over
    /// HTTP/2, where they are answered 501; without the offer it takes an HTTP/1.1 connection.
    ///
    /// [`Incoming::transport`]: crate::Incoming::transport
    pub fn protocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.protocols = Protocols::only(names);
        self
    }

    /// As [`AcceptorBuilder::origins`](crate::AcceptorBuilder::origins), for which the feature `accept` has the text: lets
    /// pages of these origins connect. Default: those of the host and port that the request was sent to. A request with
    /// another `origin`, or with `sec-fetch-site: cross-site` and no origin, is answered 403; programs send neither.
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = Origins::only(origins);
        self
    }

    /// Lets the pages of any origin connect. Browsers send this server's cookies along with them,
    /// so any page that a user of yours visits can then act in that user's name.
    pub fn dangerous_any_origin(mut self) -> Self {
        self.origins = Origins::Any;
        self
    }

    /// How long a client may take for TLS and the first bytes of HTTP/2, and then for its
    /// SETTINGS. Default: 10 seconds.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.config.handshake_timeout = limit;
        self
    }

    /// How long a client has, from the beginning of its link, until a connection of it is accepted. Then a link on which
    /// none was, and no request waits for its answer, is ended by GOAWAY (RFC 9113 §6.8), as one that was idle for
    /// the [`link_idle_timeout`](ListenerBuilder::link_idle_timeout). Default: 10 seconds; `None` is no limit.
    ///
    /// Clients that are refused whatever they ask for do not hold their links longer, which are counted.
    pub fn first_conn_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.first_conn_timeout = limit.into();
        self
    }

    /// Links that may be open at once, with the sockets whose handshakes are under way. Default: half of the file
    /// descriptors that the process may have when the builder is made (`ulimit -n`), at most 10,000.
    ///
    /// Each takes a descriptor; the other half is for what the program opens itself. Where descriptors run out all the
    /// same, accepting rests, and clients wait in the system's queue. A program that raises its limit does so before.
    ///
    /// A client on whose link nothing was accepted yet is a stranger. Where all links are taken, the oldest stranger of the
    /// address that has most of them is sent away for a client of another address, or after a second for one of the same
    /// (GOAWAY, and its client may try again). A client on whose link something was accepted keeps it.
    ///
    /// Any other client over the cap is told so after its handshake, by a GOAWAY that tells it that it may try
    /// again, or by 503 if it speaks HTTP/1. That is done for 64 at a time, each within 3 seconds;
    /// the sockets of more are closed at once.
    pub fn max_links(mut self, links: usize) -> Self {
        self.config.max_links = links;
        self
    }

    /// Links that one IP address may have open at once; for IPv6, the addresses of one /64. Clients
    /// over the cap are refused as those over [`max_links`](ListenerBuilder::max_links). Default:
    /// `None`, no cap of its own.
    ///
    /// It keeps one client from taking all of `max_links`. Behind a proxy all clients have the
    /// proxy's address, and behind a NAT many have one: set it only where clients come by
    /// themselves, and well above what the largest office behind one address needs.
    pub fn max_links_per_addr(mut self, links: impl Into<Option<usize>>) -> Self {
        self.config.max_links_per_addr = links.into();
        self
    }

    /// Bytes that all links together may hold: unread ones, and for each request that somebody holds 5 KiB and its header
    /// fields (their size, and 224 bytes for each). Default: 1 GiB, enough for 200,000 connections; at least 256 KiB.
    ///
    /// Where it is passed, a link that holds more than its fair share (this divided by the number of
    /// links) resets the connection that holds most, with `ENHANCE_YOUR_CALM`. When 7/8 of it
    /// are taken, requests on links that hold more than 7/8 of their fair share are refused with
    /// `REFUSED_STREAM`, which tells the client that it may try again; other links are as always.
    ///
    /// What a listener takes in all is at most, in bytes, the sum of:
    ///
    /// * 2 × `max_memory`, or 2 × [`max_link_memory`](ListenerBuilder::max_link_memory) for each
    ///   link where that is less. Twice, because buffers are larger than what is in them.
    /// * For each connection [`send_queue_size`](ListenerBuilder::send_queue_size) and 68 KiB.
    /// * For each link 2 MiB: at most 64 KiB of data that wait for the socket, 320 KiB of what goes
    ///   out with them, and the buffers of HTTP/2 and TLS.
    ///
    /// What an accepted connection has unread when its link ends is no longer counted: it is the
    /// user's to read or to drop.
    pub fn max_memory(mut self, bytes: usize) -> Self {
        self.config.max_memory = bytes;
        self
    }

    /// After so long without a byte from the client, while a connection is open on the link, a PING
    /// (RFC 9113 §6.7) asks whether it is still there; `None` never asks. Default: 30 seconds.
    ///
    /// If then no byte at all comes within the [`keep_alive_timeout`](ListenerBuilder::keep_alive_timeout),
    /// the link is given up, and all its connections fail with
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). A link that is in use costs nothing, a
    /// quiet one 17 bytes each way an interval. More than 0, at most a day.
    pub fn keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.keep_alive_interval = interval.into();
        self
    }

    /// How long the client may stay silent after the PING of the
    /// [`keep_alive_interval`](ListenerBuilder::keep_alive_interval). Default: 15 seconds, so that a
    /// client that has vanished is known 45 seconds after its last byte. More than 0, at most a day.
    ///
    /// Whatever comes is proof of life, and so is a transport that was full and takes bytes again: a
    /// slow transfer in either direction is not cut off.
    pub fn keep_alive_timeout(mut self, limit: Duration) -> Self {
        self.config.keep_alive_timeout = limit;
        self
    }

    /// Whether PINGs are sent while no connection is open on a link, too. Default: no; a client that
    /// has vanished without a connection is noticed by the
    /// [`link_idle_timeout`](ListenerBuilder::link_idle_timeout).
    pub fn keep_alive_while_idle(mut self, ping: bool) -> Self {
        self.config.keep_alive_while_idle = ping;
        self
    }

    /// As [`ClientBuilder::idle_timeout`](crate::ClientBuilder::idle_timeout). A request that nobody
    /// has accepted is a connection, too.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = limit.into();
        self
    }

    /// As [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout).
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// As [`ClientBuilder::stall_timeout`](crate::ClientBuilder::stall_timeout).
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.stall_timeout = limit.into();
        self
    }

    /// Connections that one client may have open on a link, `SETTINGS_MAX_CONCURRENT_STREAMS`
    /// (RFC 9113 §6.5.2); more are refused with `REFUSED_STREAM`. Default: 4096.
    pub fn max_conns_per_link(mut self, conns: u32) -> Self {
        self.config.max_conns = conns;
        self
    }

    /// How old a link gets, give or take a tenth: then its client is told to go elsewhere (GOAWAY,
    /// RFC 9113 §6.8), and the link ends with the connections that it has, which
    /// [`Conn::draining`](crate::Conn::draining) tells. Default: `None`, for ever. It spreads
    /// long-lived clients over servers that were added, at a handshake each time.
    pub fn max_link_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.max_link_age = age.into();
        self
    }

    /// How long a link without connections is kept for the client's next. Then the client is told
    /// that it ends (GOAWAY, RFC 9113 §6.8). Default: 3 minutes; `None` is for ever, also for clients
    /// that have vanished.
    pub fn link_idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.config.link_idle_timeout = time.into();
        self
    }

    /// What dropping a connection without a shutdown does. Default: [`OnDrop::Finish`]. See
    /// [`Conn::on_drop`](crate::Conn::on_drop).
    pub fn on_drop(mut self, action: OnDrop) -> Self {
        self.config.reset_on_drop = action == OnDrop::Reset;
        self
    }

    /// As [`ClientBuilder::initial_window_size`](crate::ClientBuilder::initial_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// As [`ClientBuilder::max_window_size`](crate::ClientBuilder::max_window_size).
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// As [`ClientBuilder::max_link_memory`](crate::ClientBuilder::max_link_memory).
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// As [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size).
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }

    /// Listens on a TCP address; port 0 is any free one, see [`Listener::local_addr`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for knobs that cannot be used as set; [`ErrorKind::Connect`]
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
    /// As [`bind`](ListenerBuilder::bind).
    pub fn listen(self, listener: TcpListener) -> Result<Listener> {
        let local = listener.local_addr().map(Addr::Ip).map_err(|error| {
            Error::new(ErrorKind::Connect, "the socket has no address").with_source(error)
        })?;
        self.start(listener, local)
    }

    /// Listens on a Unix domain socket. A socket file that nobody listens on any more is replaced;
    /// the file is removed when the listener ends.
    ///
    /// # Errors
    ///
    /// As [`bind`](ListenerBuilder::bind).
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

    /// Makes a listener that speaks HTTP/2 over `io`, a transport of the program's own: all its
    /// connections come by it. No TLS is added. When it has ended, and nothing waits to be accepted,
    /// [`Listener::accept`] gives `None`.
    ///
    /// It does not wait for the client, whose handshake goes on in the background as on a socket: a
    /// client that speaks HTTP/1.1 is answered 505, and one that says nothing has the
    /// [`handshake_timeout`](ListenerBuilder::handshake_timeout).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for knobs that cannot be used as set.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
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
        // There is no other link to come after it.
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

    /// The listener, and what makes its links. `accept` ends when that and all of them are gone.
    fn prepare(self, local: Addr) -> Result<(Listener, Arc<Server>)> {
        self.config.check()?;
        self.methods.check()?;
        self.protocols.check()?;
        self.origins.check()?;
        let tls = self.tls.as_ref().map(ServerTls::build).transpose()?;
        let (entrance, incoming) = backlog(BACKLOG, self.config.max_memory / 8);
        let config = Config { extended_connect: !self.protocols.is_empty(), ..self.config };
        let shared = Shared::new(&config);
        let stopping = shared.links.stopping();
        let server = Server { tls, config, entrance, shared: Arc::clone(&shared) };
        let listener = Listener {
            incoming,
            local,
            methods: self.methods,
            protocols: self.protocols,
            origins: self.origins,
            shared,
            stopping,
            accepting: None,
        };
        Ok((listener, Arc::new(server)))
    }
}
