//! Opening connections as a client.

mod backoff;
mod builder;
mod call;
mod connector;
mod dial;
#[cfg(feature = "requests")]
mod exchange;
mod hosts;
mod policy;
mod pool;
#[cfg(feature = "websocket")]
mod reach;
mod request;
mod stats;
mod target;
#[cfg(feature = "websocket")]
mod websocket;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Response};
use tokio::time::timeout;

use crate::conn::{Conn, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::link::TIME_IS_UP;
use dial::Dialer;
use pool::Pool;
use request::HeadersFn;
use target::Target;

pub use backoff::Backoff;
pub use builder::ClientBuilder;
pub use connector::Destination;
#[cfg(feature = "requests")]
pub use exchange::ResponseBody;
pub use policy::LinkPolicy;
#[cfg(feature = "websocket")]
pub use reach::Reach;
pub use request::RequestBuilder;
pub use stats::{ClientStats, LinkStats, OriginStats};

/// Connects to `url` over a link (an HTTP/2 connection) of its own, and waits for the response
/// head.
///
/// `https://` is HTTP/2 over TLS with the platform's certificate authorities. `http://` is
/// cleartext HTTP/2 with prior knowledge (RFC 9113 §3.3). The request is a POST. A [`Client`] can
/// change all of this, and lets connections share a link.
///
/// # Errors
///
/// Each message says what was tried, what was seen and what to do. See [`ErrorKind`]. A status that
/// is not 2xx is [`ErrorKind::Rejected`].
///
/// # Cancel safety
///
/// Dropping the future leaves nothing open.
///
/// # Examples
///
/// ```no_run
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut conn, response) = h2conn::connect("https://localhost:8000/echo").await?;
/// println!("the server answers {}", response.status());
/// conn.write_all(b"hello").await?;
/// let mut answer = [0; 5];
/// conn.read_exact(&mut answer).await?;
/// conn.close().await?;
/// # Ok(())
/// # }
/// ```
pub async fn connect(url: impl AsRef<str>) -> Result<(Conn, Response<()>)> {
    Client::builder().build()?.connect(url).await
}

/// Opens connections. Connections to the same origin (scheme, host and port) share a link, which is
/// one HTTP/2 connection, as [`LinkPolicy`] says. When the link is full, going away or gone, the
/// next connection makes another link.
///
/// Until the server has said how many streams it takes on a link, which costs a round trip, one
/// request goes out alone and the others wait. One origin gets at most
/// [`max_links_per_origin`](ClientBuilder::max_links_per_origin) links. When all of them are full,
/// a new connection waits until another one ends.
///
/// Clones are handles of the same client. When the last handle is dropped, each link ends after its
/// last connection.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    method: Method,
    transport: Transport,
    headers: HeaderMap,
    headers_with: Option<HeadersFn>,
    connect_timeout: Duration,
    response_timeout: Duration,
    dialer: Dialer,
    pool: Pool,
    #[cfg(feature = "websocket")]
    reach: Reach,
    #[cfg(feature = "websocket")]
    fallback_delay: Duration,
    #[cfg(feature = "websocket")]
    sockets: websocket::Sockets,
}

/// Without the header fields, which may be secrets.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { method, transport, pool, .. } = self;
        f.debug_struct("Inner")
            .field("method", method)
            .field("transport", transport)
            .field("pool", pool)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client with every knob at its default.
    ///
    /// # Errors
    ///
    /// None with the defaults.
    pub fn new() -> Result<Client> {
        Client::builder().build()
    }

    /// Sets up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects to `url` and waits for the response head.
    ///
    /// A request is sent again over another link, up to three times in half a second, when the
    /// server has certainly not looked at it because the server was at its limits or going away.
    ///
    /// # Errors
    ///
    /// The same as for [`connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what it has opened. Keep polling the future: other connections
    /// may be waiting for the link that it makes.
    pub async fn connect(&self, url: impl AsRef<str>) -> Result<(Conn, Response<()>)> {
        self.request(url).connect().await
    }

    /// Opens a connection that can be written to before any response has come. This waits only for
    /// a place on a link; where the client may use a WebSocket (`ClientBuilder::reach`), it waits for
    /// the response, as [`connect`](Client::connect) does. [`Conn::response`] gives the response. If
    /// its status is not 2xx, reads and writes fail with [`ErrorKind::Rejected`].
    ///
    /// # Errors
    ///
    /// Fails when no link can be made, or when no link has had a place in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing open.
    pub async fn open(&self, url: impl AsRef<str>) -> Result<Conn> {
        self.request(url).open().await
    }

    /// Begins a request to `url` that differs from the client's others, by its method or by header fields.
    /// [`RequestBuilder::connect`] and [`RequestBuilder::open`] send it.
    ///
    /// # Examples
    ///
    /// ```
    /// use h2conn::{Client, Conn};
    ///
    /// # async fn example(client: &Client) -> h2conn::Result<Conn> {
    /// let request = client.request("https://localhost:8000/chat").header("x-room", "kitchen");
    /// let (conn, response) = request.connect().await?;
    /// println!("the server answers {}", response.status());
    /// # Ok(conn)
    /// # }
    /// ```
    pub fn request(&self, url: impl AsRef<str>) -> RequestBuilder {
        RequestBuilder::new(self.clone(), Target::parse(url.as_ref()))
    }

    /// Begins a request with the URL, the method and the header fields of `request`. Its version and its extensions
    /// are not used.
    ///
    /// `http::Request` has the method GET unless one is set, and some proxies pass on no body of a GET: set POST.
    /// On a client with a [`protocol`](ClientBuilder::protocol) it must be CONNECT.
    pub fn request_from(&self, request: Request<()>) -> RequestBuilder {
        RequestBuilder::from_parts(self.clone(), request.into_parts().0)
    }

    /// The client's open links and connections, and counts of its past work.
    pub fn stats(&self) -> ClientStats {
        #[cfg_attr(not(feature = "websocket"), expect(unused_mut, reason = "there are none"))]
        let mut stats = self.inner.pool.stats();
        #[cfg(feature = "websocket")]
        {
            stats.websockets = self.inner.sockets.open.counts().open;
        }
        stats
    }

    /// Ends the client in good order. The client opens no new connections, waits until the open
    /// ones have ended, and then waits until the servers have acknowledged everything (PING,
    /// RFC 9113 §6.7). It waits on a slow line for as long as the server shows life in the sense of
    /// [`keep_alive_interval`](ClientBuilder::keep_alive_interval).
    ///
    /// Connections that are still in use after the
    /// [`linger_timeout`](ClientBuilder::linger_timeout) are ended: those that were shut down as if
    /// they were dropped, the others by a reset with `CANCEL`.
    ///
    /// Await this, or [`Conn::close`] on each connection, before the process ends.
    ///
    /// # Errors
    ///
    /// An error means that a server has not acknowledged everything, so the last bytes may be lost:
    ///
    /// - [`ErrorKind::TimedOut`]: the server has vanished, or it took nothing for 30 seconds
    ///   although a dropped connection still had bytes to send.
    /// - [`ErrorKind::Closed`]: the server has ended the transport. A server may do so once it has
    ///   acknowledged every byte and ended its side of every connection.
    /// - [`ErrorKind::Aborted`]: connections were still in use and were reset.
    ///
    /// This also returns, once, the first failure since the client was made of a dropped connection
    /// whose written bytes the server had not acknowledged, for example because its link died.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the links ending in the background.
    pub async fn close(&self) -> Result<()> {
        let links = self.inner.pool.close();
        for link in &links {
            link.shut_down();
        }
        #[cfg(feature = "websocket")]
        self.inner.sockets.open.begin();
        let all = async {
            let mut outcome = Ok(());
            for link in &links {
                outcome = outcome.and(link.ended().await);
            }
            #[cfg(feature = "websocket")]
            self.inner.sockets.open.none().await;
            outcome.and(self.inner.pool.take_loss())
        };
        tokio::pin!(all);
        if let Ok(outcome) = timeout(self.inner.dialer.config.linger_timeout, &mut all).await {
            return outcome;
        }
        for link in &links {
            link.end_use();
        }
        #[cfg(feature = "websocket")]
        let cut = self.inner.sockets.end_use();
        #[cfg(not(feature = "websocket"))]
        let cut = Ok(());
        all.await.and(cut)
    }

    /// Does the same as [`Client::close`], but for `deadline` at most. Connections that are left by
    /// then are reset with `CANCEL`, and the resets have half a second to leave.
    ///
    /// # Errors
    ///
    /// The same as for [`Client::close`], and [`ErrorKind::TimedOut`] when the deadline has passed:
    /// bytes that were not acknowledged by then may be lost.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the links ending in the background.
    pub async fn close_within(&self, deadline: Duration) -> Result<()> {
        if let Ok(outcome) = timeout(deadline, self.close()).await {
            return outcome;
        }
        let links = self.inner.pool.close();
        let mut left = 0;
        for link in &links {
            left += link.active();
            link.abort(TIME_IS_UP);
        }
        #[cfg(feature = "websocket")]
        {
            left += self.inner.sockets.abort().await;
        }
        for link in &links {
            // The error below already says that bytes may be lost.
            let _ = link.ended().await;
        }
        let message = format!(
            "the client was not through with its connections within {} s: {left} were still open, and \
             what was not acknowledged by then may be lost; allow more time",
            deadline.as_secs_f32()
        );
        Err(Error::new(ErrorKind::TimedOut, message))
    }
}
