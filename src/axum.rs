//! Connections in the handlers of [axum](https://docs.rs/axum), beside its other routes (feature
//! `axum`).
//!
//! ```
//! use axum::response::Response;
//! use axum::{Router, routing::any};
//! use h2conn::axum::Accept;
//!
//! async fn echo(accept: Accept) -> Response {
//!     accept.on_conn(|conn| async move {
//!         let (mut reader, mut writer) = conn.into_split();
//!         // Ends well when the client does.
//!         let _ = tokio::io::copy(&mut reader, &mut writer).await;
//!     })
//! }
//!
//! let app: Router = Router::new()
//!     .route("/", axum::routing::get(|| async { "the API" }))
//!     .route("/echo", any(echo));
//! ```
//!
//! Under `axum::serve` connections have the limits of hyper, which are listed at
//! [`accept`](fn@crate::accept). Served by a listener (feature `serve`), the same router has none of
//! them.

use std::fmt;
use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};

use crate::accept::{AcceptError, Acceptor, Form};
use crate::conn::Conn;

/// An extractor that takes the request for a connection.
///
/// It must be the last of a handler's extractors, because it takes the body. It refuses a request
/// that cannot carry a connection, with a text that says why: 505 for HTTP/1.1, 405 for CONNECT,
/// HEAD and TRACE, 400 for a GET without a body, which a browser sends when somebody opens the URL
/// ([`require_body`](crate::AcceptorBuilder::require_body) changes that). The route decides on the
/// other methods: curl sends PUT, the Go library POST. With the feature `websocket` it accepts
/// WebSockets too. They come as GET over HTTP/1.1, and as CONNECT over HTTP/2. Without the feature
/// they are refused with 501. So the route should take `any` method.
///
/// The settings are those of the [`Acceptor`] in an [`Extension`](axum::Extension) layer of the
/// route, or else the defaults:
///
/// ```
/// # use axum::{Extension, Router, response::Response, routing::any};
/// # use h2conn::axum::Accept;
/// # async fn echo(accept: Accept) -> Response { accept.on_conn(|_| async {}) }
/// # fn main() -> Result<(), h2conn::Error> {
/// let acceptor = h2conn::Acceptor::builder().receive_buffer_size(1 << 20).build()?;
/// let app: Router = Router::new().route("/echo", any(echo)).layer(Extension(acceptor));
/// # Ok(())
/// # }
/// ```
///
/// Under `h2conn::serve` nothing more is needed. Under `axum::serve`:
///
/// - Keep a clone of the acceptor to [`drain`](Acceptor::drain) the connections when the server must
///   end. Connections with the default settings cannot be drained.
/// - [`Conn::peer_addr`] knows the client's address if the app is served with
///   `into_make_service_with_connect_info::<SocketAddr>()`.
///
/// Dropping it leaves the handler free to answer with something else.
pub struct Accept {
    request: Request,
    acceptor: Acceptor,
    form: Form,
}

impl Accept {
    /// Accepts the connection, and gives the response that the handler must return. `handler` runs
    /// in a task of its own with its end of the connection, and outlives this call.
    ///
    /// The task runs in the `tracing` span `h2conn.conn` of its connection. That span is a child of
    /// the span in which `on_conn` is called, such as the request's span of tower-http's
    /// `TraceLayer`, so the handler's log lines have the fields of both. If the subscriber does not
    /// take `h2conn.conn` (level `info`), the task runs in the request's span alone. The request's
    /// span stays open until the task ends.
    ///
    /// Axum's graceful shutdown waits for the connection, but not for the task.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn on_conn<F, Fut>(self, handler: F) -> Response
    where
        F: FnOnce(Conn) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (conn, response) = self.accept();
        let link = conn.observed();
        tokio::spawn(link.observed.watch_user(handler(conn)));
        response
    }

    /// Accepts the connection. Returns the program's end of it, and the response that the handler
    /// must return. Dropping the response fails the connection. A task that the program spawns for
    /// the connection is in no span, unlike that of [`on_conn`](Accept::on_conn).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn accept(self) -> (Conn, Response) {
        let (conn, response) = self.acceptor.accept_as(self.form, self.request);
        (conn, response.map(Body::new))
    }
}

impl<S: Sync> FromRequest<S> for Accept {
    type Rejection = AcceptError;

    async fn from_request(mut request: Request, _: &S) -> Result<Accept, AcceptError> {
        let acceptor = request.extensions().get::<Acceptor>().cloned().unwrap_or_default();
        let form = acceptor.check(&request)?;
        if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>() {
            let peer = *peer;
            request.extensions_mut().insert(peer);
        }
        Ok(Accept { request, acceptor, form })
    }
}

impl IntoResponse for AcceptError {
    fn into_response(self) -> Response {
        AcceptError::into_response(self).map(Body::new)
    }
}

impl fmt::Debug for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accept").field("uri", self.request.uri()).finish_non_exhaustive()
    }
}
