//! The knobs of a client.

mod build;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connector::{Destination, TransportFn};
use super::hosts::Hosts;
use super::policy::{LinkPolicy, Rules};
#[cfg(feature = "websocket")]
use super::reach::Reach;
use super::request::HeadersFn;
use crate::config::Config;
use crate::conn::OnDrop;
use crate::tls::ClientTls;
#[cfg(feature = "websocket")]
use crate::websocket::WebSockets;

pub(super) use build::opening;

/// Sets up a [`Client`](crate::Client). The setters cannot fail and may come in any order.
/// [`build`](ClientBuilder::build) checks the values.
#[derive(Clone)]
pub struct ClientBuilder {
    method: Option<Method>,
    protocol: Option<String>,
    headers: Vec<(String, String)>,
    headers_with: Option<HeadersFn>,
    connect_timeout: Duration,
    response_timeout: Duration,
    tls: Option<ClientTls>,
    unix_socket: Option<PathBuf>,
    connector: Option<TransportFn>,
    hosts: Hosts,
    rules: Rules,
    config: Config,
    #[cfg(feature = "websocket")]
    reach: Reach,
    #[cfg(feature = "websocket")]
    fallback_delay: Duration,
    #[cfg(feature = "websocket")]
    websockets: WebSockets,
}

/// Without the header fields, because they may be secret.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("method", &self.method)
            .field("protocol", &self.protocol)
            .field("tls", &self.tls)
            .field("unix_socket", &self.unix_socket)
            .field("connector", &self.connector)
            .field("hosts", &self.hosts)
            .field("rules", &self.rules)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The same as Go's net/http, and long enough for a program that connects once a minute.
const LINK_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A good line answers within some hundred milliseconds.
#[cfg(feature = "websocket")]
const FALLBACK_DELAY: Duration = Duration::from_secs(1);

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            method: None,
            protocol: None,
            headers: Vec::new(),
            headers_with: None,
            connect_timeout: Duration::from_secs(10),
            response_timeout: Duration::from_secs(30),
            tls: None,
            unix_socket: None,
            connector: None,
            hosts: Hosts::default(),
            rules: Rules::default(),
            config: Config { link_idle_timeout: Some(LINK_IDLE_TIMEOUT), ..Config::default() },
            #[cfg(feature = "websocket")]
            reach: Reach::default(),
            #[cfg(feature = "websocket")]
            fallback_delay: FALLBACK_DELAY,
            #[cfg(feature = "websocket")]
            websockets: WebSockets::default(),
        }
    }
}

impl ClientBuilder {
    /// The request's method. Default: POST. CONNECT, HEAD and TRACE are refused, because their
    /// requests or responses have no body.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Connects by extended CONNECT (RFC 8441 §4) instead of an ordinary request: the method is
    /// CONNECT, with this `:protocol`. Some servers and proxies pass on only that. Default: none.
    ///
    /// The name is a token (RFC 9110 §5.6.2), and cannot be set together with a
    /// [`method`](ClientBuilder::method). The stream carries the written bytes unchanged:
    /// `"websocket"` does not make a WebSocket.
    ///
    /// The server must offer extended CONNECT in its SETTINGS. Waiting for them costs a round trip
    /// on a new link. A listener offers it through
    /// [`ListenerBuilder::protocols`](crate::ListenerBuilder::protocols). If the server does not
    /// offer it, connecting fails with [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    pub fn protocol(mut self, name: impl Into<String>) -> Self {
        self.protocol = Some(name.into());
        self
    }

    /// The way to the servers: HTTP/2, a WebSocket, or one after the other. Default: [`Reach::Http2`]. Ordinary requests
    /// (`Client::send`) always go by HTTP/2.
    ///
    /// Another way than HTTP/2 cannot be set together with a [`protocol`](ClientBuilder::protocol), nor for a client over
    /// a given transport ([`build_over`](ClientBuilder::build_over)).
    #[cfg(feature = "websocket")]
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// How long a client with [`Reach::Auto`] waits for the answer to a request by HTTP/2 before it tries a WebSocket beside
    /// it, where it does not know yet that HTTP/2 passes. Default: 1 second. A request that waits for a link that has not
    /// answered yet has this time twice. So long it also waits for a WebSocket over HTTP/2 before it tries one over
    /// HTTP/1.1 beside it, with [`Reach::WebSocket`] too.
    #[cfg(feature = "websocket")]
    pub fn fallback_delay(mut self, time: Duration) -> Self {
        self.fallback_delay = time;
        self
    }

    /// Sets which WebSockets the client makes: the messages that it exchanges with a server of another library, and the
    /// subprotocols that it offers beside `h2conn.v1`. They have an effect where [`reach`](ClientBuilder::reach) allows
    /// WebSockets.
    ///
    /// With [`json_lines`](WebSockets::json_lines), what is said there of server and client is said of this side and the
    /// other.
    #[cfg(feature = "websocket")]
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.websockets = websockets;
        self
    }

    /// Adds a header field to every request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Calls `change` with the header fields of each request, just before it is sent: for a token that is renewed, say.
    /// Default: none. It runs again for a request that is sent again, sees the fields of
    /// [`header`](ClientBuilder::header) and of the request, `user-agent` included, and must not block. A field that HTTP/2 forbids
    /// (RFC 9113 §8.2.2) fails the connection with [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    ///
    /// A server's 401 is [permanent](crate::Error::is_permanent) all the same. A client whose next request shows a new
    /// token must make that request by itself.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use h2conn::Client;
    /// use h2conn::http::{HeaderValue, header};
    ///
    /// /// A client that shows the token of the time. Another task renews it.
    /// fn client(token: Arc<Mutex<HeaderValue>>) -> h2conn::Result<Client> {
    ///     let show = move |headers: &mut h2conn::http::HeaderMap| {
    ///         let token = token.lock().expect("nothing panics with the token").clone();
    ///         headers.insert(header::AUTHORIZATION, token);
    ///     };
    ///     Client::builder().headers_with(show).build()
    /// }
    /// # client(Arc::new(Mutex::new(HeaderValue::from_static("Bearer x")))).unwrap();
    /// ```
    pub fn headers_with(mut self, change: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.headers_with = Some(HeadersFn::new(change));
        self
    }

    /// How long a connection waits for its link: for a place on a present link, or until another
    /// link is made (addresses, TCP, TLS). Default: 10 seconds.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long [`Client::connect`](crate::Client::connect) waits for the response head. Default: 30 seconds.
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = limit;
        self
    }

    /// How long the server's SETTINGS, its part of the HTTP/2 handshake, may take. Default: 10
    /// seconds.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.config.handshake_timeout = limit;
        self
    }

    /// How long a link with an open connection may receive no byte before the client sends a PING
    /// (RFC 9113 §6.7) to ask whether the server is still there. `None` never asks. Default: 30
    /// seconds. More than 0, at most a day.
    ///
    /// If no byte at all comes within the [`keep_alive_timeout`](ClientBuilder::keep_alive_timeout)
    /// after the PING, the client gives the link up, and all connections on it fail with
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). A busy link costs nothing. A quiet link
    /// costs 17 bytes each way an interval.
    ///
    /// When a server ends a link with GOAWAY and `too_many_pings`, the client doubles the interval
    /// for that origin, up to an hour.
    ///
    /// Whatever the interval is, the client also sends SETTINGS that change nothing (RFC 9113 §6.5)
    /// when a request has had no answer for 0.1, 0.5, 2.1 and 8.5 seconds: some proxies (nginx 1.22)
    /// hold back the head of the response until they have more to send, such as the acknowledgement.
    /// Requests that wait for about as long share a frame, and at most four are sent a second.
    pub fn keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.config.keep_alive_interval = interval.into();
        self
    }

    /// How long the server may stay silent after the PING of the
    /// [`keep_alive_interval`](ClientBuilder::keep_alive_interval). Default: 15 seconds, so the
    /// client notices a vanished server 45 seconds after its last byte. More than 0, at most a day.
    ///
    /// Any received byte is a sign of life, and so is a full transport that takes bytes again. A
    /// slow transfer in either direction is not cut off.
    pub fn keep_alive_timeout(mut self, limit: Duration) -> Self {
        self.config.keep_alive_timeout = limit;
        self
    }

    /// Whether the client also sends PINGs while no connection is open on a link. Default: no. The
    /// client then notices a dead link only when it makes the next connection, which takes longer.
    pub fn keep_alive_while_idle(mut self, ping: bool) -> Self {
        self.config.keep_alive_while_idle = ping;
        self
    }

    /// Resets a connection with `CANCEL` when no byte of it has come or gone for this long. Its
    /// reads and writes here fail with [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). Bytes
    /// that wait in a queue have not gone. Default: none. More than 0, at most a day.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = limit.into();
        self
    }

    /// Resets a connection with `CANCEL` when it has bytes to send and the peer takes none of them
    /// for this long. Its reads and writes here fail with
    /// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut). Default: none, so a peer that does not
    /// read holds up its writer without end. More than 0, at most a day.
    ///
    /// A connection that was dropped with bytes to send is reset after this time too, if it is
    /// shorter than the 30 seconds that a dropped connection always has.
    pub fn stall_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.stall_timeout = limit.into();
        self
    }

    /// Which connections share a link. Default: [`LinkPolicy::Shared`].
    pub fn link_policy(mut self, policy: LinkPolicy) -> Self {
        self.rules.policy = policy;
        self
    }

    /// How many links the client may have to one origin at once. Links that are going away and
    /// links of [`LinkPolicy::Exclusive`] do not count, except those without connections whose server
    /// has not acknowledged everything after 10 seconds. Default: 100, which is 1,000 connections if
    /// the server takes 10 on a link. Each link costs a socket, a handshake, and up to
    /// [`max_link_memory`](ClientBuilder::max_link_memory). When all links are full, a connection
    /// waits until another one ends, up to the [`connect_timeout`](ClientBuilder::connect_timeout).
    pub fn max_links_per_origin(mut self, links: usize) -> Self {
        self.rules.max_links = links;
        self
    }

    /// How long the peer has to end its side of a connection that was closed or dropped here. The
    /// time begins when the peer's HTTP/2 has acknowledged everything. Default: 30 seconds. More
    /// than 0, at most a day.
    ///
    /// Until then the connection holds its place on the link, and further bytes are dropped on
    /// arrival. After that the stream is reset, and [`Conn::close`](crate::Conn::close) says so. A
    /// client resets with `CANCEL`. A server resets with `NO_ERROR`, because its answer is complete
    /// (RFC 9113 §8.1).
    ///
    /// The peer of a WebSocket acknowledges everything by its answer to a ping. If it is another
    /// library and never answers one, it has two minutes more.
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// How long a link without connections is kept for the next connection. `None` keeps it for
    /// ever. Default: 90 seconds. A shorter time saves the server a socket, and costs later
    /// connections a handshake.
    pub fn link_idle_timeout(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.config.link_idle_timeout = time.into();
        self
    }

    /// How long a link takes new connections, give or take a tenth, so that links of the same age
    /// are not all replaced at once. After that its connections go on, and the link ends after the
    /// last of them. [`Conn::draining`](crate::Conn::draining) tells them. Default: `None`, for
    /// ever. An age moves long-lived clients to servers that were added behind a name, and costs a
    /// handshake each time.
    pub fn max_link_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.config.max_link_age = age.into();
        self
    }

    /// The TLS settings for `https://`. Default: the platform's certificate authorities.
    #[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
    pub fn tls(mut self, tls: impl Into<ClientTls>) -> Self {
        self.tls = Some(tls.into());
        self
    }

    /// Connects to this Unix domain socket for every URL, whatever its host. The URL's scheme still
    /// says whether TLS is spoken there.
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.unix_socket = Some(path.into());
        self
    }

    /// Uses these addresses, in this order, for a host and port of a URL, and asks no resolver. The
    /// certificate must still have the host's name. A second call for the same host and port
    /// replaces the first. Default: none.
    pub fn resolve(
        mut self,
        host: impl Into<String>,
        port: u16,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.hosts.set(host.into(), port, addresses.into_iter().collect());
        self
    }

    /// Makes links over the program's own transports, for example through a proxy. The client calls
    /// `connect` for each link, where it would otherwise look up the host and connect a TCP socket.
    /// The client adds TLS (for `https://`) and HTTP/2, and shares and replaces the links, as it
    /// does without a connector. Default: none.
    ///
    /// The future is dropped when the [`connect_timeout`](ClientBuilder::connect_timeout) is over.
    /// Its error is the source of an [`ErrorKind::Connect`](crate::ErrorKind::Connect). The
    /// addresses of such connections are [`Addr::Other`](crate::Addr::Other). A TCP socket should have `TCP_NODELAY`. A
    /// connector cannot be set together with a `unix_socket` or with
    /// [`resolve`](ClientBuilder::resolve), because it would use neither. To use one transport that
    /// is already there, see [`build_over`](ClientBuilder::build_over).
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::{Client, Destination};
    /// use tokio::net::TcpStream;
    ///
    /// /// A client whose links all go through a gateway, which is told where to.
    /// fn client(gateway: std::net::SocketAddr) -> h2conn::Result<Client> {
    ///     let connect = move |to: Destination| async move {
    ///         let mut socket = TcpStream::connect(gateway).await?;
    ///         socket.set_nodelay(true)?;
    ///         let line = format!("{to}\n");
    ///         tokio::io::AsyncWriteExt::write_all(&mut socket, line.as_bytes()).await?;
    ///         Ok(socket)
    ///     };
    ///     Client::builder().connector(connect).build()
    /// }
    /// # client(([127, 0, 0, 1], 1).into()).unwrap();
    /// ```
    pub fn connector<F, Fut, T>(mut self, connect: F) -> Self
    where
        F: Fn(Destination) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<T>> + Send + 'static,
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.connector = Some(TransportFn::new(connect));
        self
    }

    /// The effect of dropping a connection without a shutdown. Default: [`OnDrop::Finish`]. See
    /// [`Conn::on_drop`](crate::Conn::on_drop).
    pub fn on_drop(mut self, action: OnDrop) -> Self {
        self.config.reset_on_drop = action == OnDrop::Reset;
        self
    }

    /// Bytes that a connection may receive before they are read, `SETTINGS_INITIAL_WINDOW_SIZE`
    /// (RFC 9113 §6.5.2). Default: 1 MiB. At most 2³¹−1.
    ///
    /// This is the window at the start of a connection. A window bounds the memory of a connection
    /// that is not read. It also bounds the speed to about two thirds of a window a round trip, so
    /// the window grows when that makes the connection faster: see
    /// [`max_window_size`](ClientBuilder::max_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// The largest size in bytes that a window may grow to. Default: 32 MiB, which carries 1 Gbit/s
    /// at a round trip of 170 ms. At most 2³¹−1. Windows never grow if this is not above
    /// [`initial_window_size`](ClientBuilder::initial_window_size).
    ///
    /// While connections are read as fast as bytes come, the link measures with PINGs
    /// (RFC 9113 §6.7) how much the path carries in a round trip. A connection that reads that fast
    /// then gets a window of its own, by WINDOW_UPDATE (§6.9). It is doubled until it holds one and
    /// a half times that, within [`max_link_memory`](ClientBuilder::max_link_memory), which the
    /// link's fast connections share. A connection that was never read fast keeps its first window.
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// Bytes that all connections of a link may hold unread. Default: 64 MiB.
    ///
    /// A quarter, or up to a half where the path needs it, is reserved to keep the link moving
    /// however much is unread. When more connections are open than fit, their windows shrink. If
    /// the rest is full all the same, the connection that holds most is reset. A listener's link
    /// keeps the header fields of its requests in addition, in at most half as much memory. It
    /// refuses further requests with `REFUSED_STREAM`.
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// Bytes that a connection accepts from writes before the transport takes them. Default: 128
    /// KiB.
    ///
    /// All connections of a link together have half of
    /// [`max_link_memory`](ClientBuilder::max_link_memory) for this. A connection may have as many
    /// bytes waiting as the others leave free, and always 4 KiB. So a peer that opens thousands of
    /// connections and reads none of them makes their writers wait sooner, and nothing is reset.
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }
}
