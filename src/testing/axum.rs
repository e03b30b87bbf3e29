//! Requests and responses for the unit test of an axum handler.

use std::fmt;
use std::pin::Pin;

use ::axum::body::Body;
use ::axum::extract::FromRequest;
use ::axum::response::{IntoResponse, Response};
use http::Request;
use tokio::io::duplex;
use tokio::sync::oneshot;

use super::{PIPE, hosted, pair};
use crate::axum::Accept;
use crate::conn::Conn;
use crate::error::{Error, ErrorKind, Result};

/// The client of a request, waiting for the answer of the handler.
///
/// Dropping it fails the request.
#[must_use = "the client waits for `answer`"]
pub struct Caller<T = Conn> {
    respond: oneshot::Sender<Response>,
    outcome: Outcome<T>,
}

type Outcome<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

impl<T> Caller<T> {
    /// Sends the handler's response, and gives the client's end of the connection.
    ///
    /// # Errors
    ///
    /// A client gets this of such a response: [`ErrorKind::Rejected`], with [`Error::status`], if it does not accept.
    pub async fn answer(self, response: impl IntoResponse) -> Result<T> {
        if self.respond.send(response.into_response()).is_err() {
            return Err(Error::new(ErrorKind::Truncated, "the server has ended"));
        }
        self.outcome.await
    }
}

impl<T> fmt::Debug for Caller<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// Makes an [`Accept`] for the unit test of an axum handler, and the client that waits for its answer.
///
/// The request's URI may be a path; its method must not be GET. Its extensions come with it: put an
/// [`Acceptor`](crate::Acceptor) there for other settings than the defaults. HTTP/2 is hyper's, in memory.
///
/// # Errors
///
/// [`ErrorKind::Rejected`] if the acceptor refuses the request, as it would in a server, and [`ErrorKind::InvalidInput`] for
/// a request that no client could send.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
///
/// # Examples
///
/// ```
/// use axum::response::{IntoResponse, Response};
/// use h2conn::axum::Accept;
/// use h2conn::http::{HeaderMap, Request, StatusCode};
/// use h2conn::testing::axum_accept;
/// use tokio::io::AsyncWriteExt;
///
/// async fn live(headers: HeaderMap, accept: Accept) -> Response {
///     if h2conn::bearer_token(&headers) != Some("s3cret") {
///         return StatusCode::FORBIDDEN.into_response();
///     }
///     accept.on_conn(|mut conn| async move {
///         let _ = conn.write_all(b"welcome").await;
///     })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let request = Request::post("/live").header("authorization", "Bearer s3cret").body(())?;
/// let (accept, client) = axum_accept(request.clone()).await?;
/// let conn = client.answer(live(request.headers().clone(), accept).await).await?;
/// assert_eq!(conn.read_chunk().await?.as_deref(), Some(&b"welcome"[..]));
///
/// let (accept, client) = axum_accept(Request::post("/live").body(())?).await?;
/// let error = client.answer(live(HeaderMap::new(), accept).await).await.err();
/// assert_eq!(error.and_then(|error| error.status()), Some(StatusCode::FORBIDDEN));
/// # Ok(())
/// # }
/// ```
pub async fn axum_accept(request: Request<()>) -> Result<(Accept, Caller)> {
    let (request, caller) = axum_request(request).await?;
    accept(request, caller).await
}

/// Makes a request for a connection to give to a whole router, such as by the `oneshot` of `tower::ServiceExt`, and the client
/// that waits for the answer. In all else like [`axum_accept`].
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`] for a request that no client could send.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
pub async fn axum_request(request: Request<()>) -> Result<(Request<Body>, Caller)> {
    let (near, far) = duplex(PIPE);
    let mut requests = hosted::http2::<Body>(far);
    let conn = pair::request(near, &request)?;
    let (received, respond) = requests.first(pair::failure(&conn)).await?;
    let outcome = Box::pin(async move {
        if conn.response().await?.status().is_success() {
            return Ok(conn);
        }
        // The body of a refusal is being collected, into the error that ends the stream.
        let ended = || Error::new(ErrorKind::Truncated, "the refusal has no end");
        Err(conn.closed().await.err().unwrap_or_else(ended))
    });
    Ok((with_extensions(received, request), Caller { respond, outcome }))
}

/// Makes an [`Accept`] for a handler's unit test from a request for a WebSocket, and the page that waits for its answer. In all
/// else like [`axum_accept`]; the method is GET, and the fields of the handshake are added.
///
/// # Errors
///
/// The same as [`axum_accept`].
///
/// # Panics
///
/// Panics outside of a tokio runtime.
#[cfg(feature = "websocket")]
pub async fn axum_websocket(request: Request<()>) -> Result<(Accept, Caller<super::WebSocket>)> {
    use super::websocket;

    let (near, far) = duplex(PIPE);
    let mut requests = hosted::http1::<Body>(far);
    let (failed, outcome) = websocket::handshake(near, &request)?;
    let (received, respond) = requests.first(failed).await?;
    accept(with_extensions(received, request), Caller { respond, outcome }).await
}

async fn accept<T>(request: Request<Body>, caller: Caller<T>) -> Result<(Accept, Caller<T>)> {
    match Accept::from_request(request, &()).await {
        Ok(accept) => Ok((accept, caller)),
        Err(refusal) => {
            let accepted =
                || Error::new(ErrorKind::Unsupported, "a refusal was taken for an answer");
            Err(caller.answer(refusal).await.err().unwrap_or_else(accepted))
        }
    }
}

/// The request as the server has received it, with the extensions that the test has given.
fn with_extensions(received: Request<hyper::body::Incoming>, given: Request<()>) -> Request<Body> {
    let mut request = received.map(Body::new);
    request.extensions_mut().extend(given.into_parts().0.extensions);
    request
}
