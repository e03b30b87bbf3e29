//! One request, from its place on a link to the response.

use std::slice::Iter;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Client;
use super::dial::Progress;
#[cfg(feature = "websocket")]
use super::reach::Reach;
use super::request::HeadersFn;
use super::stats::Totals;
use super::target::Target;
use crate::config::check_headers;
use crate::conn::{Conn, Transport};
use crate::error::{Error, ErrorKind, Reason, Result, request_name};
use crate::link::Lease;
use crate::observe::{self, Side};

/// A request that has been checked.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) client: Client,
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) transport: Transport,
    pub(super) headers: HeaderMap,
    /// The length of its content, if the head must say it.
    pub(super) length: Option<u64>,
    /// A connection's request has no content, so that its head ends it.
    pub(super) ends_with_head: bool,
    /// The callbacks that change the header fields of each attempt: the client's, then the request's.
    pub(super) headers_with: [Option<HeadersFn>; 2],
    pub(super) response_timeout: Duration,
}

/// The pauses before a request that the server has refused unseen is sent again. The first retry
/// reaches a new server process that has already taken over. The later retries reach one that is
/// about to take over.
const RETRIES: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(400)];

/// The further attempts of a request.
pub(super) struct Retries<'a> {
    totals: &'a Totals,
    pauses: Iter<'static, Duration>,
}

impl Retries<'_> {
    /// Waits until the request may be sent again after this error.
    ///
    /// # Errors
    ///
    /// The same error, if it must not be sent again.
    pub(super) async fn after(&mut self, error: Error) -> Result<()> {
        if !error.was_not_processed() {
            return Err(error);
        }
        self.totals.refused();
        let Some(pause) = self.pauses.next() else { return Err(error) };
        self.totals.retry();
        observe::retrying(&error, *pause);
        sleep(*pause).await;
        Ok(())
    }
}

impl Call {
    pub(super) async fn connect(&self) -> Result<(Conn, Response<()>)> {
        #[cfg(feature = "websocket")]
        let connected = self.connect_by(self.client.inner.reach).await;
        #[cfg(not(feature = "websocket"))]
        let connected = self.connect_by_http2(&watch::Sender::new(false)).await;
        connected
    }

    /// Makes `sent` true when a request has left.
    pub(super) async fn connect_by_http2(
        &self,
        sent: &watch::Sender<bool>,
    ) -> Result<(Conn, Response<()>)> {
        let mut retries = self.retries(true);
        loop {
            match self.connect_once(sent).await {
                Err(error) => retries.after(error).await?,
                connected => return connected,
            }
        }
    }

    /// The further attempts, or none if the request cannot be repeated.
    pub(super) fn retries(&self, can_repeat: bool) -> Retries<'_> {
        let pauses = if can_repeat { &RETRIES[..] } else { &[] };
        Retries { totals: self.client.inner.pool.totals(), pauses: pauses.iter() }
    }

    async fn connect_once(&self, sent: &watch::Sender<bool>) -> Result<(Conn, Response<()>)> {
        let conn = self.open_by_http2().await?;
        sent.send_replace(true);
        self.answered(conn).await
    }

    /// Waits for the answer that makes a connection of the request. Resets the stream if there is none, or if the future is
    /// dropped.
    pub(super) async fn answered(&self, conn: Conn) -> Result<(Conn, Response<()>)> {
        let guard = ResetOnDrop(Some(conn));
        let limit = self.response_timeout;
        let response = match timeout(limit, guard.conn().response()).await {
            Ok(response) => response?,
            Err(_) => return Err(self.no_answer()),
        };
        if !response.status().is_success() {
            // The body is being collected into the error that ends the stream.
            return match guard.conn().closed().await {
                Err(error) => Err(error),
                Ok(()) => Err(self.no_answer()),
            };
        }
        Ok((guard.into_conn(), response))
    }

    pub(super) async fn open(&self) -> Result<Conn> {
        #[cfg(feature = "websocket")]
        if self.client.inner.reach != Reach::Http2 {
            // The way is known when there is an answer.
            return self.connect().await.map(|(conn, _)| conn);
        }
        self.open_by_http2().await
    }

    async fn open_by_http2(&self) -> Result<Conn> {
        let place = self.place().await?;
        let (head, transport) = (self.head()?, self.transport.clone());
        Ok(Conn::new(match self.ends_with_head {
            true => place.open_ended(head, transport),
            false => place.open(head, transport),
        }))
    }

    /// Waits for a place on a link.
    pub(super) async fn place(&self) -> Result<Lease> {
        let inner = &self.client.inner;
        let target = &self.target;
        let progress = Progress::default();
        let dial = |terms| inner.dialer.dial(target, self.name(), &progress, terms);
        let place = timeout(inner.connect_timeout, inner.pool.place(target.origin(), dial));
        match place.await {
            Ok(lease) => lease.inspect_err(|error| self.observe_failure(error, &progress)),
            // A link that the policy would rather not have used may still have room.
            Err(_) => {
                let place = inner.pool.place_now(target.origin());
                place.ok_or_else(|| self.no_link(&progress))
            }
        }
    }

    /// Makes the error for a connection that got no place on a link in time.
    pub(super) fn no_link(&self, progress: &Progress) -> Error {
        let inner = &self.client.inner;
        let limit = inner.connect_timeout;
        if !progress.is_begun() {
            let why = inner.pool.no_place(self.target.origin(), limit);
            return Error::new(ErrorKind::TimedOut, format!("{}: {why}", self.name()));
        }
        let message = format!(
            "{}: no link to {} within {} s: {}",
            self.name(),
            inner.dialer.destination(&self.target),
            limit.as_secs_f32(),
            progress.waited_for()
        );
        let error = Error::new(ErrorKind::TimedOut, message);
        self.observe_failure(&error, progress);
        error
    }

    /// Makes the request head of one attempt, when there is a place for it: a token may have a short life.
    pub(super) fn head(&self) -> Result<request::Parts> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.target.uri().clone();
        parts.version = http::Version::HTTP_2;
        parts.headers = self.headers.clone();
        for change in self.headers_with.iter().flatten() {
            change.call(&mut parts.headers);
            check_headers(&parts.headers)?;
        }
        if let Some(length) = self.length {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(parts)
    }

    /// Reports a dial that made no link.
    pub(super) fn observe_failure(&self, error: &Error, progress: &Progress) {
        if progress.is_begun() {
            let destination = self.client.inner.dialer.destination(&self.target);
            observe::handshake_failed(Side::Client, &destination, error);
        }
    }

    fn no_answer(&self) -> Error {
        #[cfg(feature = "websocket")]
        let always_waits = self.client.inner.reach != Reach::Http2;
        #[cfg(not(feature = "websocket"))]
        let always_waits = false;
        let why = match self.ends_with_head || always_waits {
            true => "a proxy that buffers may be holding back the response, or the server may",
            false => {
                "the server, or a proxy that buffers, may be waiting for more of the request \
                 (Client::open does not wait for the response), or"
            }
        };
        let message = format!(
            "{}: no response within {} s; {why} be at its limit of streams",
            self.name(),
            self.response_timeout.as_secs_f32()
        );
        Error::new(ErrorKind::TimedOut, message)
    }

    /// Names the request in errors.
    pub(super) fn name(&self) -> String {
        request_name(&self.method, self.target.uri())
    }
}

/// Whether requests of this method have content, so that one without any must say so by its length. Of other methods the
/// field alone would announce content (RFC 9110 §8.6).
pub(super) fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Resets a connection that is being made, unless it is taken out.
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
