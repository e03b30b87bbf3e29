//! HTTP/1.1 with a client, by hyper.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::Http1Client;
use crate::alive::{Counted, Kind};
use crate::link::Socket;
use crate::observe;

/// The least room for what a client sends: hyper needs 8 KiB, and reads bodies into it.
const LEAST_ROOM: usize = 64 << 10;

type BoxError = Box<dyn StdError + Send + Sync>;

impl Http1Client {
    /// Answers the client's requests by `answer`, until the client leaves. Once `ends` is ready, the answer to the present
    /// request is the last one.
    pub(crate) async fn drive<A, Fut, R>(self, answer: A, ends: impl Future)
    where
        A: Fn(Request<Incoming>) -> Fut,
        Fut: Future<Output = Result<Response<R>, BoxError>>,
        R: Body + 'static,
        R::Error: Into<BoxError>,
    {
        let _counted = Counted::new(Kind::Task);
        let Http1Client { io, seen, info, head_timeout, max_head, open, .. } = self;
        let io = TokioIo::new(Rewound { seen, io, _open: open });
        let conn = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_header_size(max_head)
            .max_buf_size(max_head.max(LEAST_ROOM))
            .serve_connection(io, service_fn(answer))
            .with_upgrades();
        let mut conn = pin!(conn);
        // The connection first: a request that has come is served, even if the server ends meanwhile.
        let outcome = tokio::select! {
            biased;
            outcome = conn.as_mut() => Some(outcome),
            _ = ends => None,
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
    }
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
        if self.seen.is_empty() {
            // A WebSocket would keep the memory.
            self.seen = Bytes::new();
        }
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
