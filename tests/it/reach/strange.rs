//! Boxes on the way to a server that do something else to HTTP/2 than to WebSockets, for the tests of the ways through them.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use h2conn::http::{Method, Request, Response, StatusCode, Version};
use h2conn::{Acceptor, Client, Conn, Reach, Transport};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::support::foreign::{Io, server};
use crate::support::{Over, Site, TestResult, check_echo, echo, noise};

pub(super) type Answer = Response<BoxBody<Bytes, h2conn::Error>>;
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Answer>> + Send>>;

/// Longer than any answer takes.
pub(super) const LONG: Duration = Duration::from_secs(300);

/// Nearly no time.
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// The answer of a box to a request by HTTP/2. `None` never answers. An answer with a reason among its extensions is a
/// reset.
pub(super) type Behaviour = Arc<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;

pub(super) fn status(status: u16) -> Option<Answer> {
    let body = Empty::new().map_err(|never: Infallible| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    Some(response)
}

/// The behaviour of a box that answers with this status.
pub(super) fn answers(code: u16) -> Behaviour {
    Arc::new(move |_| Box::pin(ready(status(code))))
}

/// The behaviour of a box that never answers.
pub(super) fn is_silent() -> Behaviour {
    Arc::new(|_| Box::pin(ready(None)))
}

/// A box of which the WebSockets over HTTP/1.1 are echoed, and which does something else to requests by HTTP/2.
pub(super) struct Strange {
    pub(super) site: Site,
    counts: Counts,
}

/// The requests that have come so far.
#[derive(Clone, Default)]
struct Counts {
    /// Those by HTTP/2, without those for a WebSocket.
    streams: Arc<AtomicUsize>,
    /// Those for a WebSocket over HTTP/2.
    connects: Arc<AtomicUsize>,
    /// Those for a WebSocket over HTTP/1.1.
    websockets: Arc<AtomicUsize>,
}

/// The behaviour of a box, by each way.
#[derive(Clone)]
struct Ways {
    takes_websockets: bool,
    by_http2: Behaviour,
    /// A box that announces WebSockets over HTTP/2.
    by_connect: Option<Behaviour>,
}

impl Strange {
    pub(super) async fn new(
        over: Over,
        takes_websockets: bool,
        behaviour: Behaviour,
    ) -> TestResult<Strange> {
        Strange::start(over, Ways { takes_websockets, by_http2: behaviour, by_connect: None }).await
    }

    /// A box that announces WebSockets over HTTP/2, and does this to them. It refuses other requests by HTTP/2, or never
    /// answers them.
    pub(super) async fn announcing(
        over: Over,
        takes_websockets: bool,
        refuses: bool,
        behaviour: Behaviour,
    ) -> TestResult<Strange> {
        let by_http2 = if refuses { answers(405) } else { is_silent() };
        Strange::start(over, Ways { takes_websockets, by_http2, by_connect: Some(behaviour) }).await
    }

    async fn start(over: Over, ways: Ways) -> TestResult<Strange> {
        let counts = Counts::default();
        let counted = counts.clone();
        let site = server(over, move |io| serve(io, ways.clone(), counted.clone())).await?;
        Ok(Strange { site, counts })
    }

    /// A client that falls back after this delay. On a loaded machine an answer may take a second.
    pub(super) fn client(&self, delay: Duration) -> h2conn::Result<Client> {
        self.site.client_builder().reach(Reach::Auto).fallback_delay(delay).build()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let Counts { streams, connects: _, websockets } = &self.counts;
        (streams.load(SeqCst), websockets.load(SeqCst))
    }

    /// Those over HTTP/2 for a WebSocket too, in the middle.
    pub(super) fn all_counts(&self) -> [usize; 3] {
        let Counts { streams, connects, websockets } = &self.counts;
        [streams, connects, websockets].map(|count| count.load(SeqCst))
    }
}

async fn serve(
    io: impl Io,
    Ways { takes_websockets, by_http2, by_connect }: Ways,
    Counts { streams, connects, websockets }: Counts,
) -> TestResult {
    let mut serving = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    if by_connect.is_some() {
        serving.http2().enable_connect_protocol();
    }
    let service = service_fn(move |request: Request<Incoming>| {
        let is_connect = request.method() == Method::CONNECT;
        let answering: Answering =
            if let Some(by_connect) = by_connect.as_ref().filter(|_| is_connect) {
                connects.fetch_add(1, SeqCst);
                by_connect(request)
            } else if request.version() == Version::HTTP_2 {
                streams.fetch_add(1, SeqCst);
                by_http2(request)
            } else {
                websockets.fetch_add(1, SeqCst);
                Box::pin(ready(match takes_websockets {
                    true => Some(accept(request)),
                    false => status(404),
                }))
            };
        async {
            match answering.await {
                Some(answer) => match answer.extensions().get::<h2::Reason>() {
                    Some(reason) => Err(h2::Error::from(*reason)),
                    None => Ok(answer),
                },
                None => pending().await,
            }
        }
    });
    let serving = serving.serve_connection_with_upgrades(TokioIo::new(io), service);
    serving.await.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Takes WebSockets over HTTP/1.1, and never answers requests by HTTP/2.
pub(super) async fn serve_by_http1(io: impl Io) -> TestResult {
    let ways = Ways { takes_websockets: true, by_http2: is_silent(), by_connect: None };
    serve(io, ways, Counts::default()).await
}

/// Makes an echo of a request for a WebSocket.
pub(super) fn accept(request: Request<Incoming>) -> Answer {
    match Acceptor::default().accept(request) {
        Ok((conn, response)) => {
            tokio::spawn(echo(conn));
            response.map(BodyExt::boxed)
        }
        Err(error) => error.into_response().map(BodyExt::boxed),
    }
}

pub(super) async fn check(conn: Conn, transport: &Transport) -> TestResult {
    ensure!(conn.transport() == transport, "{}", conn.transport());
    check_echo(conn, &noise(100_000, 5)).await
}
