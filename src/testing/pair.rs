//! Two ends of a link in one process.

use std::any::TypeId;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, request};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, duplex};

use super::PIPE;
use crate::config::{Config, Methods, check_headers, parse_headers};
use crate::conn::{Addr, Conn, LinkInfo, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Backlog, Budget, Link, Places, backlog};
use crate::listener::Incoming;
use crate::observe::Side;

/// Two ends of a link, over which any number of connections can be opened.
///
/// # Examples
///
/// A handler that looks at the request, and ends in good order when the server drains:
///
/// ```
/// use h2conn::Conn;
/// use h2conn::testing::Pair;
/// use tokio::io::AsyncWriteExt;
///
/// async fn live(mut conn: Conn) -> std::io::Result<()> {
///     match h2conn::bearer_token(conn.headers()) {
///         Some("s3cret") => conn.write_all(b"welcome").await?,
///         _ => conn.reset(h2conn::Reason::CANCEL),
///     }
///     conn.draining().await;
///     conn.shutdown().await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut pair =
///     Pair::builder().uri("/live?room=1").header("authorization", "Bearer s3cret").build().await?;
/// let (client, server) = pair.open().await?;
/// assert_eq!(server.uri().query(), Some("room=1"));
/// let handler = tokio::spawn(live(server));
/// assert_eq!(client.read_chunk().await?.as_deref(), Some(&b"welcome"[..]));
/// pair.drain();
/// assert_eq!(client.read_chunk().await?, None);
/// handler.await??;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Pair {
    client: Link,
    server: Link,
    incoming: Backlog,
    request: Request<()>,
    /// The client's end of a connection whose request has not come out of `incoming`. Requests come
    /// out in their order, so another connection can be opened only after this one.
    begun: Option<Conn>,
}

/// Sets up a [`Pair`]. Both ends get the same values. The setters cannot fail, and may come in any order.
#[derive(Clone, Debug)]
pub struct PairBuilder {
    config: Config,
    uri: String,
    method: Method,
    fields: Vec<(String, String)>,
}

impl Default for PairBuilder {
    fn default() -> PairBuilder {
        PairBuilder {
            config: Config::default(),
            uri: BASE.to_owned(),
            method: Method::POST,
            fields: Vec::new(),
        }
    }
}

/// The target of a request that names no host.
const BASE: &str = "http://pair/";

impl PairBuilder {
    /// The target of the requests of [`Pair::open`]: a path, which is one at the host `pair`, or a URL.
    /// Default: `http://pair/`.
    pub fn uri(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }

    /// The method of the requests of [`Pair::open`]. Default: POST.
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Adds a header field to the requests of [`Pair::open`]. Default: none.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The same as
    /// [`ClientBuilder::initial_window_size`](crate::ClientBuilder::initial_window_size).
    pub fn initial_window_size(mut self, bytes: u32) -> Self {
        self.config.window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_window_size`](crate::ClientBuilder::max_window_size).
    pub fn max_window_size(mut self, bytes: u32) -> Self {
        self.config.max_window = bytes;
        self
    }

    /// The same as [`ClientBuilder::max_link_memory`](crate::ClientBuilder::max_link_memory).
    pub fn max_link_memory(mut self, bytes: u32) -> Self {
        self.config.link_memory = bytes;
        self
    }

    /// The same as [`ClientBuilder::linger_timeout`](crate::ClientBuilder::linger_timeout).
    pub fn linger_timeout(mut self, time: Duration) -> Self {
        self.config.linger_timeout = time;
        self
    }

    /// The same as [`ClientBuilder::send_queue_size`](crate::ClientBuilder::send_queue_size).
    pub fn send_queue_size(mut self, bytes: usize) -> Self {
        self.config.send_queue = bytes;
        self
    }

    /// Makes two ends over memory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a setting that cannot be used.
    pub async fn build(self) -> Result<Pair> {
        let (client, server) = duplex(PIPE);
        self.over(client, server).await
    }

    /// Makes two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a knob whose value cannot be used, and any error that the
    /// transport causes to HTTP/2.
    pub async fn over<T>(self, client: T, server: T) -> Result<Pair>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.config.check()?;
        let mut request = Request::new(());
        *request.uri_mut() = self.uri.parse().map_err(|error: http::uri::InvalidUri| {
            let message = format!("the uri {:?} cannot be read", self.uri);
            Error::new(ErrorKind::InvalidInput, message).with_source(error)
        })?;
        *request.method_mut() = self.method;
        *request.headers_mut() = parse_headers(&self.fields)?;
        check(&request)?;
        let info = |side| {
            let mut info = LinkInfo::new(side, Addr::Other, Addr::Other);
            info.any_task = TypeId::of::<T>() == TypeId::of::<DuplexStream>();
            info
        };
        let (entrance, incoming) =
            backlog(2 * self.config.max_conns as usize, self.config.max_memory);
        let budget = Budget::new(self.config.max_memory);
        let config = &self.config;
        let (client, server) = (Box::new(client), Box::new(server));
        let (client, _) = Link::client(client, info(Side::Client), config, Places::default());
        let info = info(Side::Server);
        let server = Link::server(server, Bytes::new(), info, config, &entrance, &budget);
        Ok(Pair { client, server, incoming, request, begun: None })
    }
}

impl Pair {
    /// Sets up a pair.
    pub fn builder() -> PairBuilder {
        PairBuilder::default()
    }

    /// Makes two ends over memory.
    ///
    /// # Errors
    ///
    /// None while the runtime runs.
    pub async fn new() -> Result<Pair> {
        Pair::builder().build().await
    }

    /// Makes two ends over a transport that the test brings.
    ///
    /// # Errors
    ///
    /// Any error that the transport causes to HTTP/2.
    pub async fn over<T>(client: T, server: T) -> Result<Pair>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Pair::builder().over(client, server).await
    }

    /// Opens a connection, and returns both of its ends: the client's, then the server's.
    ///
    /// # Errors
    ///
    /// Fails when the link has ended, or drains.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future leaves a request that the next call refuses before it opens
    /// its own.
    pub async fn open(&mut self) -> Result<(Conn, Conn)> {
        let request = self.request.clone();
        self.open_with(request).await
    }

    /// Does the same as [`open`](Pair::open), with a request of its own. Its URI may be a path.
    ///
    /// # Errors
    ///
    /// The same as [`open`](Pair::open), and [`ErrorKind::InvalidInput`] for a request that no client could send.
    ///
    /// # Cancel safety
    ///
    /// The same as [`open`](Pair::open).
    pub async fn open_with(&mut self, request: Request<()>) -> Result<(Conn, Conn)> {
        let request = check(&request)?;
        // If this one has failed, the next one tells why.
        let _ = self.finish_begun().await;
        self.begun = Some(Conn::new(self.client.open(request, Transport::Request)));
        let (client, incoming) = self.finish_begun().await?;
        let server = incoming.accept()?;
        client.response().await?;
        Ok((client, server))
    }

    /// Waits for the request of the connection that was begun. Keeps that connection if the future
    /// is dropped.
    async fn finish_begun(&mut self) -> Result<(Conn, Incoming)> {
        let gone = || Error::new(ErrorKind::Truncated, "the link has ended");
        let client = self.begun.as_ref().ok_or_else(gone)?;
        let offer = tokio::select! {
            biased;
            offer = self.incoming.next() => offer.ok_or_else(gone),
            error = failure(client) => Err(error),
        };
        let client = self.begun.take().ok_or_else(gone)?;
        Ok((client, Incoming::new(offer?)))
    }

    /// Has the server end the link in good order, as [`Listener::drain`](crate::Listener::drain) does, and returns at once:
    /// [`Conn::draining`] becomes ready at both ends of every connection, and no other connection can be opened. The
    /// link ends when its connections have. There is no deadline.
    pub fn drain(&self) {
        self.server.shut_down();
    }
}

/// Waits until a client's request fails, which may never be.
pub(super) async fn failure(client: &Conn) -> Error {
    match client.response().await {
        Err(error) => error,
        Ok(_) => pending().await,
    }
}

/// Sends a request over a link of its own.
#[cfg(feature = "axum")]
pub(super) fn request(io: DuplexStream, request: &Request<()>) -> Result<Conn> {
    let head = check(request)?;
    let mut info = LinkInfo::new(Side::Client, Addr::Other, Addr::Other);
    info.any_task = true;
    let (link, _) = Link::client(Box::new(io), info, &Config::default(), Places::default());
    Ok(Conn::new(link.open(head, Transport::Request)))
}

/// Makes the head of a request that a client could send.
fn check(request: &Request<()>) -> Result<request::Parts> {
    Methods::only([request.method().clone()]).check()?;
    check_headers(request.headers())?;
    let wrong = |why| {
        let message = format!("the uri {} cannot be requested: {why}", request.uri());
        Error::new(ErrorKind::InvalidInput, message)
    };
    let mut uri = request.uri().clone().into_parts();
    if uri.authority.is_none() {
        let path = uri.path_and_query.take().filter(|path| path.as_str().starts_with('/'));
        uri = Uri::from_static(BASE).into_parts();
        uri.path_and_query = Some(path.ok_or_else(|| wrong("a path begins with a slash"))?);
    }
    if uri.scheme.is_none() {
        return Err(wrong("a host needs a scheme, http:// or https://"));
    }
    uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    let (mut parts, ()) = request.clone().into_parts();
    parts.uri = Uri::from_parts(uri).map_err(|_| wrong("it has no path"))?;
    parts.version = http::Version::HTTP_2;
    Ok(parts)
}
