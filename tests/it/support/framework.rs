//! Our `accept` inside other servers.

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use h2conn::axum::Accept;
use h2conn::http::Request;
use h2conn::{Acceptor, Client, Conn, Listener, WebSockets};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::foreign::{Io, server};
use super::websocket::translated;
use super::{GRACE, Over, Site, TestResult, echo, listen_with, serve};

/// The server that accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Our own listener.
    Listener,
    /// `accept` in unmodified hyper.
    Hyper,
    /// The extractor in unmodified axum.
    Axum,
    /// The extractor in axum's router, which our own listener serves.
    Served,
    /// Our own listener behind a proxy that makes a WebSocket over HTTP/2 of each over HTTP/1.1. It passes nothing else.
    Translated,
}

impl Host {
    pub(crate) const ALL: [Host; 4] = [Host::Listener, Host::Hyper, Host::Axum, Host::Served];

    /// The hosts of `accept`.
    pub(crate) const OF_ACCEPT: [Host; 3] = [Host::Hyper, Host::Axum, Host::Served];

    /// Whether the HTTP/2 is ours.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Host::Listener | Host::Served)
    }

    /// Each host, in cleartext and over TLS.
    pub(crate) fn everywhere() -> impl Iterator<Item = (Host, Over)> {
        Host::ALL.into_iter().flat_map(|host| Over::BOTH.map(|over| (host, over)))
    }

    /// Runs a server that hands out every connection that it accepts.
    pub(crate) async fn listen(self, over: Over) -> TestResult<(Site, UnboundedReceiver<Conn>)> {
        let (handler, conns) = hand_out();
        let site = self.serve(over, handler).await?;
        Ok((site, conns))
    }

    /// Runs a server that echoes.
    pub(crate) async fn echo(self, over: Over) -> TestResult<Site> {
        self.serve(over, echo).await
    }

    async fn serve<F, Fut>(self, over: Over, handler: F) -> TestResult<Site>
    where
        F: Fn(Conn) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        match self {
            Host::Listener | Host::Translated => {
                let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
                let builder = builder.websockets(WebSockets::new());
                let (listener, site) = listen_with(over, builder).await?;
                serve(listener, handler);
                if self == Host::Translated { translated(site).await } else { Ok(site) }
            }
            Host::Hyper => {
                let acceptor = Acceptor::builder().linger_timeout(GRACE).build()?;
                hyper_server(over, acceptor, handler).await
            }
            Host::Axum => axum_server(over, to_its_end(handler)).await,
            Host::Served => {
                let builder = Listener::builder().linger_timeout(GRACE).first_conn_timeout(None);
                let (listener, site) = listen_with(over, builder.protocols(["websocket"])).await?;
                let app = axum_app(to_its_end(handler));
                tokio::spawn(h2conn::serve(listener, app).into_future());
                Ok(site)
            }
        }
    }

    /// Both ends of a connection: the client's, then the server's.
    pub(crate) async fn pair(self, over: Over) -> TestResult<(Conn, Conn)> {
        let (site, mut conns) = self.listen(over).await?;
        let client = site.connect().await?;
        Ok((client, conns.recv().await.context("the server has ended")?))
    }

    /// The same in memory, for tests that pause the clock.
    pub(crate) async fn pair_in_memory(self) -> TestResult<(Conn, Conn)> {
        const BYTES: usize = 64 << 10;
        let (io, mut conns) = if self == Host::Hyper {
            hyper_over_memory(BYTES, stock(), Acceptor::default())
        } else {
            let (io, server) = duplex(BYTES);
            let (handler, conns) = hand_out();
            match self {
                Host::Listener | Host::Translated => {
                    serve(Listener::builder().build_over(server)?, handler);
                }
                Host::Served => {
                    let listener = Listener::builder().build_over(server)?;
                    let app = axum_app(to_its_end(handler));
                    tokio::spawn(h2conn::serve(listener, app).into_future());
                }
                Host::Hyper | Host::Axum => {
                    tokio::spawn(axum_over(server, axum_app(to_its_end(handler))));
                }
            }
            (io, conns)
        };
        let client = Client::builder().build_over(io).await?;
        let (conn, _) = client.connect("http://memory/").await?;
        Ok((conn, conns.recv().await.context("the server has ended")?))
    }
}

/// Runs a stock hyper server that accepts every request. `handler` gets each connection.
pub(crate) async fn hyper_server<F, Fut>(
    over: Over,
    acceptor: Acceptor,
    handler: F,
) -> TestResult<Site>
where
    F: Fn(Conn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let handler = Arc::new(handler);
    server(over, move |io| {
        hyper_accepts(io, stock(), acceptor.clone(), Arc::clone(&handler), pending::<()>())
    })
    .await
}

/// Serves one transport until the transport ends, or until the server is told to end in order.
pub(crate) async fn hyper_accepts<F, Fut>(
    io: impl Io,
    server: auto::Builder<TokioExecutor>,
    acceptor: Acceptor,
    handler: Arc<F>,
    shutdown: impl Future,
) -> TestResult
where
    F: Fn(Conn) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let accepts = service_fn(|request: Request<Incoming>| {
        let response = match acceptor.accept(request) {
            Ok((conn, response)) => {
                tokio::spawn(handler(conn));
                response
            }
            Err(error) => error.into_response(),
        };
        async { Ok::<_, Infallible>(response) }
    });
    let mut serving = pin!(server.serve_connection_with_upgrades(TokioIo::new(io), accepts));
    let served = tokio::select! {
        served = serving.as_mut() => served,
        _ = shutdown => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    served.map_err(|error| anyhow::anyhow!("{error}"))
}

/// Runs a stock hyper server that hands out every connection that it accepts.
pub(crate) async fn hyper_listen(over: Over) -> TestResult<(Site, UnboundedReceiver<Conn>)> {
    Host::Hyper.listen(over).await
}

/// HTTP/1.1 and HTTP/2 with everything that a program can switch on.
pub(crate) fn stock() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol();
    builder
}

/// A hyper server at one end of a pipe in memory with this capacity. Returns the pipe's other end,
/// and the connections that are accepted.
pub(crate) fn hyper_over_memory(
    bytes: usize,
    server: auto::Builder<TokioExecutor>,
    acceptor: Acceptor,
) -> (DuplexStream, UnboundedReceiver<Conn>) {
    let (client, io) = duplex(bytes);
    (client, hyper_over(io, server, acceptor))
}

/// A hyper server at the end of a transport. Returns the connections that are accepted.
pub(crate) fn hyper_over(
    io: impl Io,
    server: auto::Builder<TokioExecutor>,
    acceptor: Acceptor,
) -> UnboundedReceiver<Conn> {
    let (handler, conns) = hand_out();
    tokio::spawn(hyper_accepts(io, server, acceptor, Arc::new(handler), pending::<()>()));
    conns
}

/// A handler that hands out its connections.
pub(crate) fn hand_out() -> (
    impl Fn(Conn) -> Ready<std::io::Result<()>> + Clone + Send + Sync + 'static,
    UnboundedReceiver<Conn>,
) {
    let (sender, conns) = mpsc::unbounded_channel();
    let handler = move |conn| {
        let _ = sender.send(conn);
        ready(Ok(()))
    };
    (handler, conns)
}

/// Runs a stock axum server that accepts at `/`, at `/echo` and below `/a/`. `handler` gets each
/// connection.
pub(crate) async fn axum_server<F, Fut>(over: Over, handler: F) -> TestResult<Site>
where
    F: Fn(Conn) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let app = axum_app(handler);
    if over == Over::Cleartext {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let socket = socket.tap_io(|io| io.set_nodelay(true).expect("it is a TCP socket"));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(socket, app).into_future());
        return Ok(Site::cleartext(addr));
    }
    server(over, move |io| axum_over(io, app.clone())).await
}

fn axum_app<F, Fut>(handler: F) -> Router
where
    F: Fn(Conn) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let conn = any(move |accept: Accept| async move { accept.on_conn(handler) });
    Router::new()
        .route("/", conn.clone())
        .route("/echo", conn.clone())
        .route("/a/{*path}", conn)
        .route("/api", get(|| async { "the API" }))
}

/// Serves axum over any transport, because `axum::serve` has no TLS.
pub(crate) async fn axum_over(io: impl Io, app: Router) -> TestResult {
    let service = TowerToHyperService::new(app);
    let served = stock().serve_connection_with_upgrades(TokioIo::new(io), service).await;
    served.map_err(|error| anyhow::anyhow!("{error}"))
}

/// A handler in the form that axum needs. Its result shows at the client's end.
fn to_its_end<F, Fut>(
    handler: F,
) -> impl Fn(Conn) -> Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + 'static
where
    F: Fn(Conn) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = std::io::Result<()>> + Send + 'static,
{
    move |conn| {
        let handled = handler(conn);
        Box::pin(async { drop(handled.await) })
    }
}
