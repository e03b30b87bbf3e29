//! hyper's servers in memory, which hand their requests to the test.

use std::error::Error as StdError;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, ErrorKind, Result};

/// A request, and the way of its answer. Dropping the sender fails the request.
pub(super) type Asked<B> = (Request<Incoming>, oneshot::Sender<Response<B>>);

/// The requests that a server has received.
pub(super) struct Requests<B>(mpsc::UnboundedReceiver<Asked<B>>);

impl<B> Requests<B> {
    /// Waits for the first request, unless the client fails before.
    pub(super) async fn first(&mut self, failed: impl Future<Output = Error>) -> Result<Asked<B>> {
        let asked = tokio::select! {
            biased;
            asked = self.0.recv() => asked,
            error = failed => return Err(error),
        };
        asked.ok_or_else(|| Error::new(ErrorKind::Truncated, "the server has ended"))
    }
}

/// Serves HTTP/2 over `io`, until its client has gone.
#[cfg(feature = "axum")]
pub(super) fn http2<B>(io: DuplexStream) -> Requests<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    use hyper::server::conn::http2;
    use hyper_util::rt::TokioExecutor;

    let (sender, asked) = mpsc::unbounded_channel();
    let service = service_fn(move |request| ask(&sender, request));
    tokio::spawn(async move {
        // The client sees how it went.
        let server = http2::Builder::new(TokioExecutor::new());
        let _ = server.serve_connection(TokioIo::new(io), service).await;
    });
    Requests(asked)
}

/// Serves HTTP/1.1 over `io`, with WebSockets, until its client has gone.
#[cfg(feature = "websocket")]
pub(super) fn http1<B>(io: DuplexStream) -> Requests<B>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    use hyper::server::conn::http1;

    let (sender, asked) = mpsc::unbounded_channel();
    let service = service_fn(move |request| ask(&sender, request));
    tokio::spawn(async move {
        // The client sees how it went.
        let serving = http1::Builder::new().serve_connection(TokioIo::new(io), service);
        let _ = serving.with_upgrades().await;
    });
    Requests(asked)
}

/// Hands a request to the test, and waits for its answer.
fn ask<B>(
    sender: &mpsc::UnboundedSender<Asked<B>>,
    request: Request<Incoming>,
) -> oneshot::Receiver<Response<B>> {
    let (respond, response) = oneshot::channel();
    let _ = sender.send((request, respond));
    response
}
