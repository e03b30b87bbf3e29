//! Connecting.

mod builder;
mod connector;
mod dial;
mod hosts;
mod policy;
mod pool;
mod stats;
mod target;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request};
use tokio::time::{sleep, timeout};

use crate::conn::{Conn, Transport};
use crate::error::{Error, ErrorKind, Reason, Result, request_name};
use crate::observe::{self, Side};
use dial::{Dialer, Progress};
use pool::Pool;
use target::Target;

pub use builder::ClientBuilder;
pub use connector::Destination;
pub use policy::LinkPolicy;
pub use stats::{ClientStats, LinkStats, OriginStats};

/// Connects to `url` over a link of its own, and waits for the response head.
///
/// `https://` is HTTP/2 over TLS, with the platform's certificate authorities; `http://` is
/// cleartext HTTP/2 with prior knowledge (RFC 9113 §3.3). The request is a POST. A [`Client`] has
/// knobs for all of it, and shares a link among connections.
///
/// # Errors
///
/// Each message says what was tried, what was seen and what to do. See [`ErrorKind`]; a status
/// that is not 2xx is [`ErrorKind::Rejected`].
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

/// Opens connections. Those to the same origin (scheme, host and port) share a link, as
/// [`LinkPolicy`] says; when the server takes no more of them on it, or it is gone or going away,
/// the next connection makes another.
///
/// Before a server has said how many it takes on a link, which is a round trip, one request goes
/// out alone, and the others wait. There are at most
/// [`max_links_per_origin`](ClientBuilder::max_links_per_origin) links; past that, a connection
/// waits for another's end.
///
/// Clones are handles of the same client. When the last is dropped, each link ends with the last
/// of its connections.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    method: Method,
    transport: Transport,
    headers: HeaderMap,
    connect_timeout: Duration,
    response_timeout: Duration,
    dialer: Dialer,
    pool: Pool,
}

/// The pauses before a request that was refused unseen is sent again. The first retry meets a
/// successor that has taken over; the others one that is about to.
const RETRIES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

impl Client {
    /// A client with every knob at its default.
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
    /// A request that the server has certainly not looked at, because it was at its limits or
    /// going away, is sent again over another link, up to three times in half a second.
    ///
    /// # Errors
    ///
    /// As [`connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what it has opened. One that is kept and not polled can hold up
    /// others, which wait for the link that it is to make.
    pub async fn connect(&self, url: impl AsRef<str>) -> Result<(Conn, Response<()>)> {
        let target = Target::parse(url.as_ref())?;
        let mut pauses = RETRIES.iter();
        loop {
            match self.connect_once(&target).await {
                Err(error) if error.is_retryable() => {
                    let totals = self.inner.pool.totals();
                    totals.refused();
                    let Some(pause) = pauses.next() else { return Err(error) };
                    totals.retry();
                    observe::retrying(&error, *pause);
                    sleep(*pause).await;
                }
                result => return result,
            }
        }
    }

    async fn connect_once(&self, target: &Target) -> Result<(Conn, Response<()>)> {
        let conn = self.open_stream(target).await?;
        // An unfinished or failed attempt leaves no stream behind.
        let guard = ResetOnDrop(Some(conn));
        let limit = self.inner.response_timeout;
        let response = match timeout(limit, guard.conn().response()).await {
            Ok(response) => response?,
            Err(_) => return Err(no_answer(self.what(target), limit)),
        };
        if !response.status().is_success() {
            // Its body is being collected, into the error that ends the stream.
            return match guard.conn().closed().await {
                Err(error) => Err(error),
                Ok(()) => Err(no_answer(self.what(target), limit)),
            };
        }
        Ok((guard.into_conn(), response))
    }

    /// Opens a connection that can be written to at once, before any response has come: this waits
    /// for a place on a link only. [`Conn::response`] gives the response; if its status is not 2xx, reads
    /// and writes fail with [`ErrorKind::Rejected`].
    ///
    /// # Errors
    ///
    /// When no link can be made, or none has had a place in time.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing open.
    pub async fn open(&self, url: impl AsRef<str>) -> Result<Conn> {
        let target = Target::parse(url.as_ref())?;
        self.open_stream(&target).await
    }

    async fn open_stream(&self, target: &Target) -> Result<Conn> {
        let request = self.request(target);
        let limit = self.inner.connect_timeout;
        let progress = Progress::default();
        let pool = &self.inner.pool;
        let dial = |terms| self.inner.dialer.dial(target, self.what(target), &progress, terms);
        let lease = match timeout(limit, pool.place(target.origin(), dial)).await {
            Ok(lease) => {
                lease.inspect_err(|error| self.observe_failure(target, error, &progress))?
            }
            // There may be room where it would rather not have gone.
            Err(_) => match pool.place_now(target.origin()) {
                Some(lease) => lease,
                None => return Err(self.no_link(target, &progress)),
            },
        };
        Ok(Conn::new(lease.open(request, self.inner.transport.clone())))
    }

    /// The time for a place on a link is up.
    fn no_link(&self, target: &Target, progress: &Progress) -> Error {
        let limit = self.inner.connect_timeout;
        if !progress.is_begun() {
            let why = self.inner.pool.no_place(target.origin(), limit);
            return Error::new(ErrorKind::TimedOut, format!("{}: {why}", self.what(target)));
        }
        let message = format!(
            "{}: no link to {} within {} s: {}",
            self.what(target),
            self.inner.dialer.destination(target),
            limit.as_secs_f32(),
            progress.waited_for()
        );
        let error = Error::new(ErrorKind::TimedOut, message);
        self.observe_failure(target, &error, progress);
        error
    }

    fn request(&self, target: &Target) -> request::Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.inner.method.clone();
        parts.uri = target.uri().clone();
        parts.version = http::Version::HTTP_2;
        parts.headers = self.inner.headers.clone();
        let agent = HeaderValue::from_static(concat!("h2conn/", env!("CARGO_PKG_VERSION")));
        parts.headers.entry(header::USER_AGENT).or_insert(agent);
        parts
    }

    /// What the client has open now, and what it has done.
    pub fn stats(&self) -> ClientStats {
        self.inner.pool.stats()
    }

    /// Reports a dial that made no link.
    fn observe_failure(&self, target: &Target, error: &Error, progress: &Progress) {
        if progress.is_begun() {
            let destination = self.inner.dialer.destination(target);
            observe::handshake_failed(Side::Client, &destination, error);
        }
    }

    /// Names a request, in errors.
    fn what(&self, target: &Target) -> String {
        request_name(&self.inner.method, target.uri())
    }

    /// Ends the client in good order: no new connections, then waits until the ones there are have
    /// ended, and until the servers have acknowledged everything (PING, RFC 9113 §6.7). However slow the
    /// line is, that is waited for, as long as the server shows life in the sense of
    /// [`keep_alive_interval`](ClientBuilder::keep_alive_interval).
    ///
    /// Connections that are still in use after the
    /// [`linger_timeout`](ClientBuilder::linger_timeout) are ended: those that were shut down as if they
    /// were dropped, the rest by a reset with `CANCEL`.
    ///
    /// Await this, or [`Conn::close`] on each connection, before the process ends.
    ///
    /// # Errors
    ///
    /// That a server has not acknowledged everything, so that what was last sent may be lost, and why:
    /// [`ErrorKind::TimedOut`] when it has vanished, or when it took nothing for 30 seconds of what a dropped
    /// connection had still to send; [`ErrorKind::Closed`] when it has ended the transport
    /// (a server that has acknowledged every byte, and ended its side of every connection, may do so).
    /// [`ErrorKind::Aborted`] when connections were still in use and were reset. Also that a connection which
    /// was dropped has failed since the client was made, with bytes written that the server had not acknowledged,
    /// for example because its link died: the first such error, once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the links ending in the background.
    pub async fn close(&self) -> Result<()> {
        let links = self.inner.pool.close();
        for link in &links {
            link.shut_down();
        }
        let all = async {
            let mut outcome = Ok(());
            for link in &links {
                outcome = outcome.and(link.ended().await);
            }
            outcome.and(self.inner.pool.take_loss())
        };
        tokio::pin!(all);
        if let Ok(outcome) = timeout(self.inner.dialer.config.linger_timeout, &mut all).await {
            return outcome;
        }
        for link in &links {
            link.end_use();
        }
        all.await
    }

    /// As [`Client::close`], for `deadline` at most: what is left by then is reset with `CANCEL`, and the resets
    /// have half a second to leave.
    ///
    /// # Errors
    ///
    /// As [`Client::close`], and [`ErrorKind::TimedOut`] when the deadline has passed: what was not
    /// acknowledged by then may be lost.
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
            link.abort(Reason::CANCEL, "the client was closed, and its time is up");
        }
        for link in &links {
            // That bytes may be lost is what this is about to say.
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

/// A connection that is being made.
struct ResetOnDrop(Option<Conn>);

impl ResetOnDrop {
    fn conn(&self) -> &Conn {
        self.0.as_ref().expect("it is taken out by the last call only")
    }

    fn into_conn(mut self) -> Conn {
        self.0.take().expect("it is taken out by the last call only")
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(conn) = &self.0 {
            conn.reset(Reason::CANCEL);
        }
    }
}

fn no_answer(what: String, limit: Duration) -> Error {
    let message = format!(
        "{what}: no response within {} s; the server, or a proxy that buffers, may be waiting for \
         more of the request (Client::open does not wait for the response), or be at its limit of \
         streams",
        limit.as_secs_f32()
    );
    Error::new(ErrorKind::TimedOut, message)
}
