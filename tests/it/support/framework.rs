//! Our `accept` inside servers of others.

use std::convert::Infallible;
use std::future::{Ready, pending, ready};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use h2conn::axum::Accept;
use h2conn::http::Request;
use h2conn::{Acceptor, Conn};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::foreign::{Io, server};
use super::{Over, Site, TestResult};

/// Runs a stock hyper server that accepts every request; `handler` gets each connection.
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

/// Serves one transport, until it ends or, in good order, until it is told to.
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

/// HTTP/1.1 and HTTP/2 with everything that a program can switch on.
pub(crate) fn stock() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().enable_connect_protocol();
    builder
}

/// A hyper server at one end of a pipe in memory that holds so many bytes: the pipe's other end,
/// and the connections that are accepted.
pub(crate) fn hyper_over_memory(
    bytes: usize,
    server: auto::Builder<TokioExecutor>,
    acceptor: Acceptor,
) -> (DuplexStream, UnboundedReceiver<Conn>) {
    let (client, io) = duplex(bytes);
    let (handler, conns) = hand_out();
    tokio::spawn(hyper_accepts(io, server, acceptor, Arc::new(handler), pending::<()>()));
    (client, conns)
}

/// A handler that hands out the connections that it gets.
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

/// Runs a stock hyper server that hands out every connection that it accepts.
pub(crate) async fn hyper_listen(over: Over) -> TestResult<(Site, UnboundedReceiver<Conn>)> {
    let (handler, conns) = hand_out();
    Ok((hyper_server(over, Acceptor::default(), handler).await?, conns))
}

/// Both ends of a connection that a hyper server has accepted: the client's, then the server's.
pub(crate) async fn hyper_pair(over: Over) -> TestResult<(Conn, Conn)> {
    let (site, mut conns) = hyper_listen(over).await?;
    let client = site.connect().await?;
    Ok((client, conns.recv().await.context("the server has ended")?))
}

/// Runs a stock axum server that accepts at `/` and `/echo`; `handler` gets each connection.
pub(crate) async fn axum_server<F, Fut>(over: Over, handler: F) -> TestResult<Site>
where
    F: Fn(Conn) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let conn = any(move |accept: Accept| async move { accept.on_conn(handler) });
    let app = Router::new()
        .route("/", conn.clone())
        .route("/echo", conn)
        .route("/api", get(|| async { "the API" }));
    if over == Over::Cleartext {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let socket = socket.tap_io(|io| io.set_nodelay(true).expect("it is a TCP socket"));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(socket, app).into_future());
        return Ok(Site::cleartext(addr));
    }
    server(over, move |io| {
        let service = TowerToHyperService::new(app.clone());
        async {
            let served = stock().serve_connection_with_upgrades(TokioIo::new(io), service).await;
            served.map_err(|error| anyhow::anyhow!("{error}"))
        }
    })
    .await
}

/// Both ends of a connection that an axum server has accepted: the client's, then the server's.
pub(crate) async fn axum_pair(over: Over) -> TestResult<(Conn, Conn)> {
    let (sender, mut conns) = mpsc::unbounded_channel();
    let site = axum_server(over, move |conn| {
        let _ = sender.send(conn);
        ready(())
    })
    .await?;
    let client = site.connect().await?;
    Ok((client, conns.recv().await.context("the server has ended")?))
}
