//! An HTTP server on this crate's own HTTP/2 (feature `serve`): routes, gRPC services and
//! connections on one port.
//!
//! [`serve`](fn@crate::serve) gives the requests of a [`Listener`] to a tower service, such as an
//! axum `Router` or the `Routes` of tonic. HTTP/2 is this crate's. Clients that speak HTTP/1.1 are
//! served on the same port, by hyper.
//!
//! In such a server [`accept`](fn@crate::accept) and [`axum::Accept`](crate::axum::Accept) make the
//! same [`Conn`](crate::Conn) of a request over HTTP/2 as
//! [`Incoming::accept`](crate::Incoming::accept) does: without a task and a copy between the
//! connection and its stream, and without the limits of hyper. The handlers are the same as under
//! another server. If a layer has read a part of the body before, a task moves the rest.

mod body;
mod fields;
mod http1;
mod http2;

use std::fmt;
use std::future::{Future, IntoFuture, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::time::timeout;
use tower_service::Service;

use crate::conn::{Addr, LinkInfo};
use crate::content::BoxError;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Taker;
use crate::listener::{Cut, Http1Server, Listener};
use crate::sync::{Mutex, lock};

pub use body::RequestBody;

/// Serves the requests of a listener with a tower service, until the listener ends. Await the
/// returned value; before that nothing is served.
///
/// * **HTTP/2** is this crate's own, with the limits and timeouts of
///   [`ListenerBuilder`](crate::ListenerBuilder). No request waits in a backlog: each is given to the
///   service as it comes, so
///   [`max_conns_per_link`](crate::ListenerBuilder::max_conns_per_link) and
///   [`max_memory`](crate::ListenerBuilder::max_memory) bound how many there are. A response of 2xx
///   or 3xx is what [`first_conn_timeout`](crate::ListenerBuilder::first_conn_timeout) asks for. A
///   client without one may have to make room for others at
///   [`max_links`](crate::ListenerBuilder::max_links), even while its first request is being worked
///   on.
/// * **HTTP/1.1**, by ALPN (`http/1.1`) or in cleartext by its first bytes, is hyper's, with
///   upgrades. Its clients count for `max_links`, and take up to 64 KiB each, which `max_memory` does
///   not know. A client has the
///   [`handshake_timeout`](crate::ListenerBuilder::handshake_timeout) for the head of each request.
///   The [`idle_timeout`](crate::ListenerBuilder::idle_timeout) and the
///   [`stall_timeout`](crate::ListenerBuilder::stall_timeout) apply to its transport: by default a
///   client may send and read as slowly as it likes. HTTP/1.1 has no PING, so the system probes a
///   silent client over TCP (`SO_KEEPALIVE`) after the
///   [`keep_alive_interval`](crate::ListenerBuilder::keep_alive_interval) and the
///   [`keep_alive_timeout`](crate::ListenerBuilder::keep_alive_timeout), three times, and notices a
///   vanished one after a minute. A client that is answered while it still sends its request gets
///   the answer whole: the [`linger_timeout`](crate::ListenerBuilder::linger_timeout) bounds how long
///   the rest of the request is read and dropped. A client that has ended its side (`nc -N`) is still
///   answered, but looks like one that has left: its answer must begin, and go on after each pause,
///   within a sixth of the `linger_timeout` (5 seconds), or up to twice that. Otherwise its request
///   ends as that of a client that goes away. A request for an upgrade ends at once.
/// * **Connections.** A handler makes one with [`accept`](fn@crate::accept) or
///   [`axum::Accept`](crate::axum::Accept). WebSockets (feature `websocket`) come over HTTP/1.1, and
///   over HTTP/2 once the listener offers them:
///   [`protocols`](crate::ListenerBuilder::protocols)`(["websocket"])`. axum's own
///   `WebSocketUpgrade` works over HTTP/1.1 alone. Buffers and the `linger_timeout` of a connection
///   over HTTP/2 are the listener's, not the acceptor's.
/// * **Methods, protocols and origins** of the listener do not concern requests that are served:
///   the service decides on them, and `accept` checks the origins.
///
/// Each request has the extension [`ConnInfo`], and with the feature `axum` also axum's
/// `ConnectInfo<SocketAddr>`. The service is cloned for each request, and runs in a task of its own
/// (over HTTP/1.1: in that of its client). When the client resets the request or goes away, the
/// service's future and the response's body are dropped.
///
/// Over HTTP/2, several fields `cookie` are joined to one (RFC 9113 §8.2.3), and
/// `expect: 100-continue` is answered when the body is polled and nothing of it has come. A response
/// gets the field `date` if it has none, and loses the fields that HTTP/2 forbids (RFC 9113 §8.2.2).
/// A panic before the response is answered with 500. An error of the service, a later panic, an
/// error of the response's body, and a body that is not as long as its `content-length` says reset
/// the request with `INTERNAL_ERROR`, and are logged. Over HTTP/1.1 hyper does all of this, and a
/// panic or an error ends the client's connection. If that cuts an answer short, as timeouts and the
/// end of the server can too, the TCP connection is reset: over HTTP/1.0, which nginx speaks to
/// upstreams by default, a plain end would look like that of the answer. Unix sockets have no reset.
///
/// Layers that wrap the body of a request or of a response, such as a limit of its length or
/// compression, have no effect on a connection that `accept` makes of the request, unless the layer
/// has read a part of the request's body already.
///
/// # Examples
///
/// ```no_run
/// # #[cfg(feature = "axum")]
/// # async fn example() -> h2conn::Result<()> {
/// use axum::{Router, routing};
/// use h2conn::Listener;
///
/// let app = Router::new().route("/", routing::get(|| async { "hello" }));
/// let listener = Listener::builder().bind("127.0.0.1:8000").await?;
/// h2conn::serve(listener, app).await?;
/// # Ok(())
/// # }
/// ```
pub fn serve<S, R>(listener: Listener, service: S) -> Serve
where
    S: Service<Request<RequestBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: http_body::Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    let http1 = Arc::new(http1::Http1::new(service.clone()));
    // A service need not be `Sync`.
    let service = Mutex::new(service);
    let requests: Taker = Box::new(move |offer| {
        let service = lock(&service).clone();
        tokio::spawn(http2::answer(offer.take(), service));
    });
    Serve { listener, requests, http1, signal: None, limit: None }
}

/// A server that is about to run: [`serve`](fn@crate::serve).
#[must_use = "nothing is served before this is awaited"]
pub struct Serve {
    listener: Listener,
    requests: Taker,
    http1: Arc<dyn Http1Server>,
    signal: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    limit: Option<Duration>,
}

impl Serve {
    /// Ends the server in good order when `signal` is ready. The socket is closed, and every client
    /// is told to go elsewhere (GOAWAY, RFC 9113 §6.8; `connection: close` over HTTP/1.1). Requests
    /// that are on their way are still served, and
    /// [`Conn::draining`](crate::Conn::draining) fires on all connections, WebSockets included. The
    /// server ends when all requests and connections have ended, and the clients that speak HTTP/2
    /// have acknowledged everything. Clients in their handshakes have a second. Clients that speak
    /// HTTP/1.1 end after their last answer, within the
    /// [`linger_timeout`](crate::ListenerBuilder::linger_timeout). One that waits for no answer is
    /// let go at once, as under nginx and Go's `net/http`: its system has its last answer, or gets it
    /// after the end, unless the client sends a further request meanwhile, which resets the transport.
    ///
    /// Upgrades over HTTP/1.1 that the program itself has taken are not waited for. The WebSockets of
    /// `accept` are.
    pub fn with_graceful_shutdown<F>(mut self, signal: F) -> Serve
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.signal = Some(Box::pin(signal));
        self
    }

    /// How long the shutdown may take from the signal on. Requests and connections that are left
    /// are then reset, and clients that speak HTTP/1.1 are closed. The resets have half a second to
    /// leave: with `NO_ERROR` where the answer is complete, otherwise with `CANCEL`. Default: no
    /// limit.
    pub fn with_shutdown_timeout(mut self, limit: Duration) -> Serve {
        self.limit = Some(limit);
        self
    }

    async fn run(self) -> Result<()> {
        let Serve { mut listener, requests, http1, signal, limit } = self;
        listener.begin_to_serve(requests, http1);
        let signal = async {
            match signal {
                Some(signal) => signal.await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = signal => {}
            () = listener.served() => return Ok(()),
        }
        let Some(limit) = limit else {
            listener.end_serving().await;
            return Ok(());
        };
        if timeout(limit, listener.end_serving()).await.is_ok() {
            return Ok(());
        }
        let Cut { left, delivered } = listener.cut().await;
        let left = match left {
            // Clients that had nothing to lose.
            0 if delivered => return Ok(()),
            0 => "all requests were answered, but some clients have not acknowledged the last of \
                  their answers, which may be lost; allow more time"
                .to_owned(),
            _ => format!(
                "{left} of their requests were left, and were reset; allow more time, or let the \
                 handlers end their connections when `Conn::draining` is ready"
            ),
        };
        let message = format!(
            "the server was not through with its clients within {} s of its shutdown: {left}",
            limit.as_secs_f32()
        );
        Err(Error::new(ErrorKind::TimedOut, message))
    }
}

impl IntoFuture for Serve {
    type Output = Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    /// # Errors
    ///
    /// The future fails with [`ErrorKind::TimedOut`] when the
    /// [shutdown's time](Serve::with_shutdown_timeout) was up before all requests and connections had
    /// ended, or before the clients that speak HTTP/2 had acknowledged every byte.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the socket and tells the clients to go elsewhere. Requests that
    /// are being served are served to their end.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serve").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// The client of a request that [`serve`](fn@crate::serve) has received, among the request's
/// extensions.
#[derive(Clone, Debug)]
pub struct ConnInfo(Arc<LinkInfo>);

impl ConnInfo {
    /// This end's address.
    pub fn local_addr(&self) -> &Addr {
        &self.0.local
    }

    /// The client's address.
    pub fn peer_addr(&self) -> &Addr {
        &self.0.peer
    }

    /// The client's certificates in DER, its own first. Empty if it showed none.
    pub fn peer_certificates(&self) -> &[Bytes] {
        &self.0.peer_certificates
    }

    /// Puts what is known of the client among a request's extensions.
    fn describe(link: &Arc<LinkInfo>, extensions: &mut http::Extensions) {
        #[cfg(feature = "axum")]
        if let Addr::Ip(peer) = link.peer {
            extensions.insert(axum::extract::ConnectInfo(peer));
        }
        extensions.insert(ConnInfo(Arc::clone(link)));
    }
}
