//! Accepting inside a server that the program already has: hyper, axum, anything that gives an
//! `http::Request` with a streaming body.

mod builder;
mod check;
mod drain;
#[cfg(feature = "websocket")]
mod websocket;

use std::error::Error as StdError;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request, response};

use crate::conn::{Addr, Carrier, Conn, LinkInfo, Stream, Transport};
use crate::hosted::{Accepted, Body, BodyCarrier, Pump, Server};
use crate::observe::Side;
#[cfg(feature = "websocket")]
use crate::websocket::{MessageCarrier, Session, run, upgrade};
use builder::Settings;
#[cfg(feature = "websocket")]
use websocket::Handshake;

pub use builder::AcceptorBuilder;
pub use check::AcceptError;
#[cfg(feature = "websocket")]
pub use websocket::WebSockets;

/// Makes a request that a server of the program's has received into a connection: the first is
/// the program's end of it, the second is what the handler answers with.
///
/// [`Conn::peer_addr`] is the `SocketAddr` among the request's extensions, if the program has put
/// one there.
///
/// A request whose body has already ended, or has a length, is a connection too: the client has
/// shut its side down, or will after so many bytes.
///
/// With the feature `websocket`, a request for a WebSocket becomes a connection in the same way:
/// see `WebSockets`.
///
/// A request of a browser for a page of another origin is refused with 403, whatever its form: see
/// [`AcceptorBuilder::origins`].
///
/// The response must go out by the same server that the request came in by; the connection lives
/// on after the handler has returned, so hand it to a task. Dropping the response ends the
/// connection with an error. [`Acceptor`] does the same with settings of its own.
///
/// # What the server underneath cannot do
///
/// Where the program has the choice, [`Listener`](crate::Listener) does all of this. On hyper, and
/// so on axum, tonic and warp:
///
/// * **Small frames.** `h2` has a budget for frames below 256 bytes that are not yet read, and hyper
///   leaves it at half of the HTTP/2 connection's window. So a peer that sends 2,000 of them at
///   once, or one by one to a handler that does not read and whose receive buffer is full, ends the
///   whole HTTP/2 connection (`ENHANCE_YOUR_CALM`). A larger `initial_connection_window_size` puts
///   that off. So does this library as a client: its small writes share frames when they come
///   faster than they leave.
/// * **Sent.** [`Conn::sent`], a shutdown and [`Conn::close`] say that the server has taken the
///   bytes, not that they are on the transport: let the server shut down gracefully before the
///   process ends.
/// * **Reasons.** A write that a reset fails knows the reason only while the reading side waits for
///   the client: not after the client's end, and not while the receive buffer is full. Reading on
///   comes to the reason.
/// * **Giving up.** A reset, or the end of a dropped connection whose client takes nothing, waits in
///   hyper while that client's window is shut, and a graceful shutdown of the server waits with it.
/// * **Memory** per connection is at most the receive buffer and the server's own window
///   (`initial_stream_window_size`, 1 MiB), the send queue and the server's own
///   (`max_send_buf_size`, 400 KiB), and 144 KiB between them.
/// * **A stopped reader** holds its share of the window that all streams of the HTTP/2 connection
///   have together (`initial_connection_window_size`), 1 MiB by default and no more than a stream's
///   own. So two readers that stop, stop all others of that client, until they read on or end.
///   Where that can happen, make it a few times the stream's window.
/// * **Streams.** hyper lets a client have 200 streams open on one HTTP/2 connection
///   (`max_concurrent_streams`); further connections of that client wait.
/// * **Latency.** `TCP_NODELAY` is the program's to set on the sockets that it gives to hyper
///   (axum's `ListenerExt::tap_io`); without it an answer to a small message can take 40 ms.
/// * **Pings and draining.** [`Conn::ping`] fails. hyper's graceful shutdown waits for connections, and
///   [`Conn::draining`] knows nothing of it before the connection has ended: use [`Acceptor::drain`]
///   beside it. What this function has accepted cannot be drained.
///
/// # Errors
///
/// [`AcceptError`] when the request cannot carry a connection; it knows the response that tells
/// the client why.
///
/// # Panics
///
/// Outside of a tokio runtime.
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
/// [`drain`](Acceptor::drain) what it has accepted. Cheap to clone; the clones are one acceptor.
#[derive(Clone, Debug)]
pub struct Acceptor {
    settings: Arc<Settings>,
    accepted: Arc<Accepted>,
}

/// With every setting at its default. Each one is drained by itself.
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

    /// As [`accept`](fn@accept).
    ///
    /// # Errors
    ///
    /// As [`accept`](fn@accept).
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn accept<B>(&self, request: Request<B>) -> Result<(Conn, Response<Body>), AcceptError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let form = self.check(&request)?;
        Ok(self.accept_as(form, request))
    }

    /// Whether the request can carry a connection, and in which form.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<Form, AcceptError> {
        self.check_open(request.method())?;
        let form = self.form_of(request)?;
        match self.settings.origins.refusal(request.uri(), request.headers()) {
            None => Ok(form),
            Some(text) => Err(AcceptError::new(StatusCode::FORBIDDEN, text)),
        }
    }

    fn form_of<B>(&self, request: &Request<B>) -> Result<Form, AcceptError> {
        #[cfg(feature = "websocket")]
        if let Some(websockets) = &self.settings.websockets
            && let Some(handshake) = Handshake::of(request, websockets)?
        {
            return Ok(Form::WebSocket(Arc::clone(websockets), handshake));
        }
        check::check(request, &self.settings.methods)?;
        Ok(Form::Bodies)
    }

    /// Accepts a request in the form that [`Acceptor::check`] has found.
    pub(crate) fn accept_as<B>(&self, form: Form, request: Request<B>) -> (Conn, Response<Body>)
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let server = Server::new();
        match form {
            Form::Bodies => {
                let (parts, received) = request.into_parts();
                let (head, ()) = self.settings.response().into_parts();
                let carrier = BodyCarrier::new(&server);
                let riding = Arc::clone(&carrier) as _;
                let stream = self.stream(parts, Transport::Request, &head, riding);
                let body = Body::new(Arc::clone(&stream), Arc::clone(&carrier));
                let limits = self.settings.limits();
                let place = self.accepted.enter(&stream, &server);
                tokio::spawn(Pump::new(Arc::clone(&stream), carrier, received, limits, place));
                (Conn::new(stream), Response::from_parts(head, body))
            }
            #[cfg(feature = "websocket")]
            Form::WebSocket(websockets, handshake) => {
                let (mut parts, _) = request.into_parts();
                let upgrade = upgrade(&mut parts);
                let transport = handshake.transport();
                let (head, ()) = handshake.answer(self.settings.response()).into_parts();
                let stream = self.stream(parts, transport, &head, MessageCarrier::new(&server));
                let body = match stream.transport {
                    Transport::WebSocketHttp1 => Body::upgrade(Arc::clone(&server)),
                    _ => Body::empty(),
                };
                let limits = self.settings.limits();
                let place = self.accepted.enter(&stream, &server);
                let text = websockets.text_messages;
                let session = Session::new(Arc::clone(&stream), server, limits, text);
                tokio::spawn(run(session, upgrade, websockets.max_message_size, place));
                (Conn::new(stream), Response::from_parts(head, body))
            }
        }
    }

    /// A stream that has been answered with `head`.
    fn stream(
        &self,
        request: request::Parts,
        transport: Transport,
        head: &response::Parts,
        carrier: Arc<dyn Carrier>,
    ) -> Arc<Stream> {
        let Settings { send_queue, buffers, .. } = &*self.settings;
        let link = LinkInfo::new(Side::Accept, Addr::Other, builder::peer_of(&request));
        let (link, buffers) = (Arc::new(link), Arc::clone(buffers));
        let stream = Stream::new(request, transport, link, carrier, *send_queue, buffers);
        stream.reset_on_drop(self.settings.reset_on_drop);
        stream.set_answer(Ok(head.clone()));
        Arc::new(stream)
    }
}

/// How a request carries a connection.
pub(crate) enum Form {
    /// In its body, and that of the response.
    Bodies,
    #[cfg(feature = "websocket")]
    WebSocket(Arc<WebSockets>, Handshake),
}
