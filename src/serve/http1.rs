//! Clients that speak HTTP/1, by hyper.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, oneshot};
use tower_service::Service;

use super::{BoxError, ConnInfo, RequestBody};
use crate::alive::{Counted, Kind};
use crate::conn::Addr;
use crate::link::Socket;
use crate::listener::{Http1Client, Http1Server};
use crate::observe;
use crate::sync::{Mutex, lock};

/// The least room for what a client sends: hyper needs 8 KiB, and reads bodies into it.
const LEAST_ROOM: usize = 64 << 10;

/// Serves with clones of a service, which need not be `Sync`.
pub(super) struct Http1<S>(Mutex<S>);

impl<S> Http1<S> {
    pub(super) fn new(service: S) -> Http1<S> {
        Http1(Mutex::new(service))
    }
}

impl<S, R> Http1Server for Http1<S>
where
    S: Service<Request<RequestBody>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    R: Body + Send + 'static,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn serve(&self, client: Http1Client) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let service = lock(&self.0).clone();
        Box::pin(async move {
            let _counted = Counted::new(Kind::Task);
            let Http1Client { io, seen, info, head_timeout, max_head, answered, shutdown, open } =
                client;
            let (link, mut ending) = (Arc::clone(&info), shutdown.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                ConnInfo::describe(&link, request.extensions_mut());
                if let Addr::Ip(peer) = link.peer {
                    // For `accept`, which takes WebSockets.
                    request.extensions_mut().insert(peer);
                }
                request.extensions_mut().insert(shutdown.clone());
                call(request, service.clone(), Arc::clone(&answered))
            });
            let io = TokioIo::new(Rewound { seen, io, _open: open });
            let conn = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_timeout)
                .max_header_size(max_head)
                .max_buf_size(max_head.max(LEAST_ROOM))
                .serve_connection(io, service)
                .with_upgrades();
            let mut conn = pin!(conn);
            // The connection first: a request that has come is served, even if the server ends meanwhile.
            let outcome = tokio::select! {
                biased;
                outcome = conn.as_mut() => Some(outcome),
                () = ending.begins() => None,
            };
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => {
                    conn.as_mut().graceful_shutdown();
                    conn.await
                }
            };
            if let Err(error) = outcome {
                observe::http1_failed(&info.peer, &error);
            }
        })
    }
}

/// Answers one request.
async fn call<S, R>(
    request: Request<Incoming>,
    mut service: S,
    answered: Arc<Notify>,
) -> Result<Response<R>, BoxError>
where
    S: Service<Request<RequestBody>, Response = Response<R>>,
    S::Error: Into<BoxError>,
{
    let request = request.map(RequestBody::http1);
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    let response = service.call(request).await.map_err(Into::into)?;
    // A client for whom there is nothing stays a stranger.
    let status = response.status();
    let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS;
    if status.is_success() || status.is_redirection() || is_upgrade {
        answered.notify_one();
    }
    Ok(response)
}

/// A transport of which some bytes were read already.
struct Rewound {
    seen: Bytes,
    io: Box<dyn Socket>,
    /// Tells when the transport is gone.
    _open: oneshot::Sender<()>,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let n = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen[..n]);
        self.seen.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
