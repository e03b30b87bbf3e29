//! Accepting connections inside a server that the program already has: hyper, axum, or any other
//! server that gives an `http::Request` with a streaming body.

mod builder;
mod check;
mod drain;
mod stats;
#[cfg(feature = "websocket")]
mod websocket;

use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::{Arc, LazyLock};
#[cfg(all(feature = "serve", feature = "websocket"))]
use std::task::Waker;

use bytes::Bytes;
#[cfg(feature = "websocket")]
use http::Version;
use http::{Request, Response, StatusCode, request, response};

use crate::alive::{Counted, Kind};
#[cfg(all(feature = "serve", feature = "websocket"))]
use crate::conn::Accounts;
use crate::conn::{Addr, Carrier, Conn, LinkInfo, Served, Shutdown, Stream, Transport};
use crate::hosted::{Accepted, Body, BodyCarrier, Pump, Server};
use crate::observe::{self, Side};
use crate::pipe::Buffers;
#[cfg(feature = "websocket")]
use crate::websocket::{
    Handshake, KeepAlive, MessageCarrier, Pulse, Role, Session, Upgrade, WITH_CONTENT, WebSockets,
    run,
};
use builder::Settings;

pub use builder::AcceptorBuilder;
pub use check::AcceptError;
pub use stats::AcceptorStats;

/// Turns a request that the program's server has received into a connection. The first value is the
/// program's end of the connection. The second is the response that the handler must return.
///
/// [`Conn::peer_addr`] is the `SocketAddr` among the request's extensions, if the program has put
/// one there.
///
/// A request whose body has already ended, or has a length, becomes a connection too: the client
/// has shut its side down, or will do so after that many bytes. A GET without a body does not, because
/// browsers and curl send one when somebody opens the URL: it is refused with 400 and a text that says
/// how to connect, unless [`AcceptorBuilder::require_body`] is off.
///
/// With the feature `websocket`, a request for a WebSocket becomes a connection in the same way:
/// see `WebSockets`.
///
/// A browser's request for a page of another origin is refused with 403, whatever its form and
/// whatever else is wrong with it: see [`AcceptorBuilder::origins`].
///
/// Send the response through the same server that received the request. The connection lives on
/// after the handler has returned, so hand it to a task. Dropping the response ends the connection
/// with an error. [`Acceptor`] does the same with settings of its own.
///
/// # Limits of the server underneath
///
/// A [`Listener`](crate::Listener) has none of these limits, also where it serves a router (feature
/// `serve`); use it where the program has the choice. On hyper, and so on axum, tonic and warp:
///
/// * **Small frames.** `h2` has a budget for unread frames below 256 bytes, and hyper leaves it at
///   half of the HTTP/2 connection's window. A peer can end the whole HTTP/2 connection
///   (`ENHANCE_YOUR_CALM`) with 2,000 such frames at once, or one by one while the handler does not
///   read and its receive buffer is full. A larger `initial_connection_window_size` raises that
///   limit. As a client, this library makes such frames rarer: its small writes share frames when
///   they come faster than they leave.
/// * **Sent.** [`Conn::sent`], a shutdown and [`Conn::close`] say that the server has taken the
///   bytes, not that they are on the transport. Let the server shut down gracefully before the
///   process ends.
/// * **Reasons.** A write that fails because of a reset knows the reason only while the reading
///   side waits for the client. After the client's end, or while the receive buffer is full, the
///   write does not know it. Reading on gives the reason.
/// * **Giving up.** A reset waits in hyper while that client's window is shut. So does the end of a
///   dropped connection whose client takes nothing. A graceful shutdown of the server waits with
///   them.
/// * **Memory.** A connection takes at most the receive buffer and the server's own window
///   (`initial_stream_window_size`, 1 MiB), the send queue and the server's own queue
///   (`max_send_buf_size`, 400 KiB), and 144 KiB between them.
/// * **A stopped reader** holds its share of the window that all streams of the HTTP/2 connection
///   have together (`initial_connection_window_size`): 1 MiB by default, no more than a single
///   stream's window. So two readers that stop also stop all other streams of that client, until
///   they read on or end. Where that can happen, make this window a few times the stream's window.
/// * **Streams.** hyper lets a client have 200 streams open on one HTTP/2 connection
///   (`max_concurrent_streams`). Further connections of that client wait.
/// * **Latency.** The program must set `TCP_NODELAY` on the sockets that it gives to hyper (axum's
///   `ListenerExt::tap_io`). Without it an answer to a small message can take 40 ms.
/// * **Pings and draining.** [`Conn::ping`] fails. hyper's graceful shutdown waits for connections,
///   and [`Conn::draining`] knows nothing of it, so also call
///   [`Acceptor::drain`]. Connections that this function has accepted cannot be drained.
///
/// # Errors
///
/// Fails with an [`AcceptError`] when the request cannot carry a connection. The error gives the
/// response that tells the client why.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
///
/// # Examples
///
/// ```
/// use http::{Request, Response};
/// use hyper::body::Incoming;
///
/// async fn handler(request: Request<Incoming>) -> Response<h2conn::Body> {
///     match h2conn::accept(request) {
///         Ok((conn, response)) => {
///             tokio::spawn(async move {
///                 let (mut reader, mut writer) = conn.into_split();
///                 // Ends well when the client does.
///                 let _ = tokio::io::copy(&mut reader, &mut writer).await;
///             });
///             response
///         }
///         Err(error) => error.into_response(),
///     }
/// }
/// ```
pub fn accept<B>(request: Request<B>) -> Result<(Conn, Response<Body>), AcceptError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    Acceptor::default().accept(request)
}

/// Accepts connections as [`accept`] does, with settings of its own, and can
/// [`drain`](Acceptor::drain) the connections that it has accepted. It is cheap to clone, and the
/// clones are one acceptor.
#[derive(Clone, Debug)]
pub struct Acceptor {
    settings: Arc<Settings>,
    accepted: Arc<Accepted>,
}

/// Every setting has its default. Each default acceptor is drained separately.
impl Default for Acceptor {
    fn default() -> Acceptor {
        static DEFAULT: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);
        Acceptor { settings: Arc::clone(&DEFAULT), accepted: Arc::default() }
    }
}

impl Acceptor {
    /// Sets up an acceptor.
    pub fn builder() -> AcceptorBuilder {
        AcceptorBuilder::default()
    }

    /// Does the same as [`accept`](fn@accept), with this acceptor's settings.
    ///
    /// # Errors
    ///
    /// The same as for [`accept`](fn@accept).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn accept<B>(&self, request: Request<B>) -> Result<(Conn, Response<Body>), AcceptError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let form = self.check(&request)?;
        Ok(self.accept_as(form, request))
    }

    /// Whether the request can carry a connection, and in which form. A refusal is counted.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<Form, AcceptError>
    where
        B: http_body::Body,
    {
        self.look_at(request).inspect_err(|error| {
            self.accepted.count_rejected();
            let form = check::asked_for(request).name();
            observe::rejected(Side::Accept, form, request, error.status(), error);
        })
    }

    fn look_at<B>(&self, request: &Request<B>) -> Result<Form, AcceptError>
    where
        B: http_body::Body,
    {
        // First, so that a page of another origin is told the same whatever else is wrong.
        if let Some(text) = self.settings.origins.refusal(request.uri(), request.headers()) {
            let error = AcceptError::new(StatusCode::FORBIDDEN, text);
            return Err(error.for_method(request.method()));
        }
        self.check_open(request.method())?;
        self.form_of(request)
    }

    fn form_of<B>(&self, request: &Request<B>) -> Result<Form, AcceptError>
    where
        B: http_body::Body,
    {
        #[cfg(feature = "websocket")]
        if let Some(websockets) = &self.settings.websockets
            && let Some(handshake) = Handshake::of(request, websockets)?
        {
            // The content would stand in front of the first frame.
            if request.version() < Version::HTTP_2 && check::has_content(request.headers()) {
                return Err(AcceptError::new(StatusCode::BAD_REQUEST, WITH_CONTENT));
            }
            return Ok(Form::WebSocket(Arc::clone(websockets), handshake));
        }
        check::check(request, request.body().is_end_stream(), &self.settings)?;
        Ok(Form::Bodies)
    }

    /// Accepts a request in the form that [`Acceptor::check`] has found.
    pub(crate) fn accept_as<B>(&self, form: Form, request: Request<B>) -> (Conn, Response<Body>)
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let server = Server::new();
        // A server of this crate gives the stream itself.
        let extension = request.extensions().get::<Served>();
        let known = extension.and_then(Served::peer);
        let served = extension.and_then(Served::take);
        let peer = match builder::peer_of(request.extensions()) {
            Addr::Other => known.unwrap_or(Addr::Other),
            peer => peer,
        };
        match form {
            Form::Bodies => {
                if let Some(stream) = served {
                    return self.accept_served(stream, request, peer, &server);
                }
                let (mut parts, received) = request.into_parts();
                // Its body was read by somebody before.
                let read_before = parts.extensions.remove::<Served>();
                let is_exact = read_before.is_some();
                let (head, ()) = self.settings.response().into_parts();
                let carrier = BodyCarrier::new(&server);
                let riding = Arc::clone(&carrier) as _;
                let buffers = Arc::clone(&self.settings.buffers);
                let stream = self.stream(parts, Transport::Request, peer, &head, riding, buffers);
                let body = Body::new(Arc::clone(&stream), Arc::clone(&carrier));
                let limits = self.settings.limits();
                let place = self.accepted.enter(&stream, &server);
                let pump =
                    Pump::new(Arc::clone(&stream), carrier, received, is_exact, limits, place);
                tokio::spawn(pump);
                if let Some(shutdown) = read_before.and_then(|served| served.shutdown()) {
                    tokio::spawn(drain_with(shutdown, Arc::clone(&stream), server));
                }
                (Conn::new(stream), Response::from_parts(head, body))
            }
            #[cfg(feature = "websocket")]
            Form::WebSocket(websockets, handshake) => {
                let (mut parts, _) = request.into_parts();
                parts.extensions.remove::<Served>();
                let by_http1 = parts.extensions.remove::<Shutdown>();
                #[cfg(feature = "serve")]
                let accounts = parts.extensions.remove::<Accounts>();
                let ridden = served.clone();
                let buffers = ridden.as_ref().map(|stream| stream.outbox.buffers());
                #[cfg(feature = "serve")]
                let buffers = buffers.or_else(|| accounts.as_ref().map(Accounts::buffers));
                let buffers = buffers.unwrap_or_else(|| Arc::clone(&self.settings.buffers));
                // A server of this crate bounds the memory of all its connections.
                let (upgrade, shutdown, account) = match served {
                    Some(stream) => {
                        let (upgrade, shutdown, account) = Upgrade::onto(stream);
                        (upgrade, Some(shutdown), Some(account))
                    }
                    None => (Upgrade::of(&mut parts), by_http1.map(Shutdown::hold), None),
                };
                let transport = handshake.transport();
                let is_marked = handshake.is_marked();
                let (messages, most) = handshake.messages(&websockets);
                let (head, ()) = handshake.answer(self.settings.response()).into_parts();
                let riding = MessageCarrier::new(&server);
                let carrier = Arc::clone(&riding);
                let stream = self.stream(parts, transport, peer, &head, riding, buffers);
                #[cfg(feature = "serve")]
                let account =
                    account.or_else(|| Some(accounts?.open(Waker::from(Arc::clone(&server)))));
                let body = match (&stream.transport, ridden) {
                    (Transport::WebSocketHttp1, _) => Body::upgrade(Arc::clone(&server)),
                    (_, Some(ridden)) => Body::served(ridden),
                    (_, None) => Body::empty(),
                };
                if upgrade.is_taken() {
                    server.cut_off();
                }
                let limits = self.settings.limits();
                let place = self.accepted.enter(&stream, &server);
                let pulse = Pulse::new(Some(KeepAlive::default()), None, is_marked);
                let (moved, role) = (Arc::clone(&stream), Role::Server);
                let mut session = Session::new(moved, carrier, role, limits, messages, pulse);
                if let Some(account) = account {
                    session.count_in(account);
                }
                tokio::spawn(async move {
                    let _place = place;
                    // A server has nobody to tell.
                    let _ = run(session, upgrade, most, shutdown).await;
                });
                (Conn::new(stream), Response::from_parts(head, body))
            }
        }
    }

    /// Accepts a request that a server of this crate has received: its stream becomes the
    /// connection. The server sends the head of the response, and no body.
    fn accept_served<B>(
        &self,
        stream: Arc<Stream>,
        request: Request<B>,
        peer: Addr,
        server: &Arc<Server>,
    ) -> (Conn, Response<Body>) {
        let (mut parts, _) = request.into_parts();
        parts.extensions.remove::<Served>();
        let link = LinkInfo::of_request(&Transport::Request, &parts, peer);
        let (head, ()) = self.settings.response().into_parts();
        if self.settings.reset_on_drop {
            stream.reset_on_drop(true);
        }
        stream.set_answer(Ok(head.clone()));
        let place = Box::new(self.accepted.enter(&stream, server));
        stream.become_conn(parts, link, server.draining(), place);
        let body = Body::served(Arc::clone(&stream));
        (Conn::new(stream), Response::from_parts(head, body))
    }

    /// Makes the stream of a request that has been answered with `head`.
    fn stream(
        &self,
        request: request::Parts,
        transport: Transport,
        peer: Addr,
        head: &response::Parts,
        carrier: Arc<dyn Carrier>,
        buffers: Arc<Buffers>,
    ) -> Arc<Stream> {
        let link = Arc::new(LinkInfo::of_request(&transport, &request, peer));
        let send_queue = self.settings.send_queue;
        let stream = Stream::new(request, transport, link, carrier, send_queue, buffers);
        stream.reset_on_drop(self.settings.reset_on_drop);
        stream.set_answer(Ok(head.clone()));
        Arc::new(stream)
    }
}

/// Tells a connection when its server is asked to end. Ready then, or when the connection is over.
async fn drain_with(mut shutdown: Shutdown, stream: Arc<Stream>, server: Arc<Server>) {
    let _counted = Counted::new(Kind::Task);
    tokio::select! {
        () = shutdown.begins() => server.set_draining(),
        _ = poll_fn(|cx| stream.poll_done(cx)) => {}
    }
}

/// The form in which a request carries a connection.
pub(crate) enum Form {
    /// In the bodies of the request and the response.
    Bodies,
    #[cfg(feature = "websocket")]
    WebSocket(Arc<WebSockets>, Handshake),
}
