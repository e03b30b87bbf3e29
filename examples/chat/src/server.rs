//! The server: one room behind one port, for terminals, programs and browsers.
//!
//! | request | joins the room |
//! |---|---|
//! | `POST /` | in gob |
//! | `GET /` with a body | in gob as well: the client of Go's chat names no method, which is GET |
//! | `POST /json` and the like, or a WebSocket there | in JSON, a value a line |
//! | `GET /` | not: it is the page that does, by a WebSocket |

use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::HttpBody;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{ORIGIN, UPGRADE};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum_server::Handle;
use axum_server::accept::{TcpConfigAcceptor, TcpKeepaliveConfig, TcpSocketConfig};
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use h2conn::Conn;
use h2conn::axum::Accept;
use h2conn::tls::{Identity, ServerTls};
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::room::{Limits, Room};
use crate::{member, web};

/// How many connections may be in the room, or on their way in or out.
const MAX_CONNECTIONS: usize = 4096;

/// How often a silent link (an HTTP/2 connection) is asked whether it is still there, and how long
/// it may take to answer. A client that vanished must not keep its name for ever.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// How long members may take to leave when the server stops.
const STOP: Duration = Duration::from_secs(6);

/// A room behind a port that is open, but not served yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: RustlsConfig,
    room: Room,
}

impl Server {
    /// Opens the port. Clients that connect before [`run`](Server::run) wait.
    pub fn bind(addr: &str, identity: Identity, limits: Limits) -> Result<Server> {
        let listener =
            TcpListener::bind(addr).with_context(|| format!("cannot listen on {addr}"))?;
        let tls = RustlsConfig::from_config(ServerTls::new(identity).rustls_config()?);
        Ok(Server { listener, tls, room: Room::new(limits) })
    }

    /// The URL of the server, for clients on the same machine.
    pub fn url(&self) -> Result<String> {
        let addr = self.listener.local_addr()?;
        Ok(match addr.ip().is_loopback() {
            true => format!("https://localhost:{}/", addr.port()),
            false => format!("https://{addr}/"),
        })
    }

    /// Serves until `stop` resolves, and then lets the members leave.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let Server { listener, tls, room } = self;
        let handle = Handle::new();
        let (every, answer) = KEEP_ALIVE;
        let keep_alive = TcpKeepaliveConfig::new().time(every).interval(answer).retries(1);
        let socket = TcpSocketConfig::new().nodelay(true).keepalive(keep_alive);
        let acceptor = RustlsAcceptor::new(tls).acceptor(TcpConfigAcceptor::new(socket));
        let mut server = axum_server::from_tcp(listener)?.acceptor(acceptor).handle(handle.clone());
        server
            .http_builder()
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(every)
            .keep_alive_timeout(answer)
            // Browsers open WebSockets over HTTP/2 only if the server offers this.
            .enable_connect_protocol();
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let entrance = Entrance { room: room.clone(), places: Arc::clone(&places) };
        let app = app(entrance).into_make_service_with_connect_info::<SocketAddr>();
        let mut serving = pin!(server.serve(app));
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = stop => {}
        }
        room.close("the server is stopping");
        handle.graceful_shutdown(Some(STOP));
        serving.await?;
        // The server does not wait for WebSockets over HTTP/1.1.
        let _ = timeout(STOP, places.acquire_many(MAX_CONNECTIONS as u32)).await;
        Ok(())
    }
}

fn app(entrance: Entrance) -> Router {
    Router::new()
        .route("/", post(gob).get(page_or_gob))
        .route("/json", any(json))
        .route_layer(from_fn(no_pages))
        .merge(web::files())
        .with_state(entrance)
}

/// Refuses requests of pages that are no WebSocket. [`Accept`] checks the origin of WebSockets.
/// Otherwise another site could post here in the name of a user who visits that site.
async fn no_pages(request: Request, next: Next) -> Response {
    let (method, headers) = (request.method(), request.headers());
    let is_web_socket = method == Method::CONNECT || headers.contains_key(UPGRADE);
    if headers.contains_key(ORIGIN) && !is_web_socket {
        return (StatusCode::FORBIDDEN, "a page can join by a WebSocket only\n").into_response();
    }
    next.run(request).await
}

#[derive(Clone)]
struct Entrance {
    room: Room,
    places: Arc<Semaphore>,
}

async fn page_or_gob(State(entrance): State<Entrance>, request: Request) -> Response {
    if request.body().is_end_stream() {
        return web::page();
    }
    match Accept::from_request(request, &()).await {
        Ok(accept) => gob(State(entrance), accept).await,
        Err(refusal) => IntoResponse::into_response(refusal),
    }
}

async fn gob(State(entrance): State<Entrance>, accept: Accept) -> Response {
    entrance.admit(accept, async |room, conn| member::in_gob(&room, &conn).await)
}

async fn json(State(entrance): State<Entrance>, accept: Accept) -> Response {
    entrance.admit(accept, async |room, conn| member::in_json(&room, &conn).await)
}

impl Entrance {
    /// Gives a connection a place while it is served, if there is one.
    fn admit<F, Fut>(self, accept: Accept, serve: F) -> Response
    where
        F: FnOnce(Room, Conn) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let Entrance { room, places } = self;
        let Ok(place) = places.try_acquire_owned() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "the room is full\n").into_response();
        };
        accept.on_conn(move |conn| async move {
            let peer = conn.peer_addr().clone();
            match serve(room, conn).await {
                Ok(()) => tracing::info!("{peer} has left"),
                Err(error) => tracing::info!("{peer} is gone: {error:#}"),
            }
            drop(place);
        })
    }
}
