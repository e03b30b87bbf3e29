//! HTTP/1.1 with a client, by hyper.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use http::{Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Http1Client;
use super::body::Told;
use super::transport::{CutShort, Line, Transport, Watch};
use crate::alive::{Counted, Kind};
use crate::listener::parting::{part, silence};
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
        let Http1Client { io, seen, info, head_timeout, max_head, linger, quiet, open, .. } = self;
        let (line, watch) = (Line::new(io, seen, open), Watch::new(quiet));
        let io = TokioIo::new(Transport::new(line.clone(), watch.clone()));
        let asked = (line.clone(), watch.clone());
        let answer = move |request: Request<Incoming>| {
            let (line, watch) = &asked;
            line.asked(request.headers().contains_key(header::UPGRADE));
            watch.asked(request.uri().path());
            told(answer(request), line.clone())
        };
        let (outcome, is_idle) = {
            let _cut_short = CutShort(line.clone());
            let conn = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_timeout)
                .max_header_size(max_head)
                .max_buf_size(max_head.max(LEAST_ROOM))
                // `Line` sees the end of the client's side.
                .half_close(true)
                .serve_connection(io, service_fn(answer))
                .with_upgrades();
            let mut conn = pin!(conn);
            let served = async {
                // The connection first: a request that has come is served, even if the server ends
                // meanwhile.
                tokio::select! {
                    biased;
                    outcome = conn.as_mut() => return (outcome, false),
                    _ = ends => {}
                }
                let (waits, before) = (line.waits_for_client(), line.written());
                conn.as_mut().graceful_shutdown();
                match poll_fn(|cx| Poll::Ready(conn.as_mut().poll(cx))).await {
                    Poll::Ready(outcome) => (outcome, waits && line.written() == before),
                    Poll::Pending => (conn.await, false),
                }
            };
            tokio::select! {
                biased;
                served = served => served,
                (knob, path) = watch.runs_out() => return info.observed.timed_out(knob, &path),
                error = line.client_leaves(silence(linger)) => {
                    return observe::http1_failed(&info.peer, &error);
                }
            }
        };
        if let Err(error) = &outcome {
            observe::http1_failed(&info.peer, error);
        }
        // A client between two requests has its answers, and may notice the end only much later. hyper
        // ends no transport whose last request was for an upgrade.
        if !is_idle
            && let Some(mut wire) = line.into_wire()
            && (outcome.is_ok() || wire.ended)
            && !wire.is_cut_short()
        {
            part(&mut wire.io, linger).await;
        }
    }
}

/// The answer, with a body that tells the transport how far it has come.
async fn told<R: Body>(
    answer: impl Future<Output = Result<Response<R>, BoxError>>,
    line: Line,
) -> Result<Response<Told<R>>, BoxError> {
    answer.await.map(|response| {
        let (head, body) = response.into_parts();
        let body = Told::new(body, &head.headers, line);
        Response::from_parts(head, body)
    })
}
