//! HTTP/1.1 with a client, by hyper.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::pin;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::Http1Client;
use super::transport::{Transport, Watch};
use crate::alive::{Counted, Kind};
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
        let Http1Client { io, seen, info, head_timeout, max_head, quiet, open, .. } = self;
        let watch = Watch::new(quiet);
        let io = TokioIo::new(Transport::new(io, seen, watch.clone(), open));
        let asked = watch.clone();
        let answer = move |request: Request<Incoming>| {
            asked.asked(request.uri().path());
            answer(request)
        };
        let conn = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_header_size(max_head)
            .max_buf_size(max_head.max(LEAST_ROOM))
            .serve_connection(io, service_fn(answer))
            .with_upgrades();
        let mut conn = pin!(conn);
        let served = async {
            // The connection first: a request that has come is served, even if the server ends
            // meanwhile.
            tokio::select! {
                biased;
                outcome = conn.as_mut() => return outcome,
                _ = ends => {}
            }
            conn.as_mut().graceful_shutdown();
            conn.await
        };
        let outcome = tokio::select! {
            biased;
            outcome = served => outcome,
            (knob, path) = watch.runs_out() => return info.observed.timed_out(knob, &path),
        };
        if let Err(error) = outcome {
            observe::http1_failed(&info.peer, &error);
        }
    }
}
