//! WebSockets over HTTP/1.1 at a listener (feature `websocket`). The request for one waits in the
//! backlog as every other request does, and its client is answered when the program has decided.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, header, request, response};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ListenerBuilder;
use super::handshake::Server;
use super::http1::{Http1Client, Http1Server, NO_WEBSOCKET_BY_HTTP10};
use crate::config::only;
use crate::conn::{LinkInfo, Quiet, Shutdown, Stream, Wish};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::hosted::{self, Body, Limits, plain};
use crate::link::{Guest, NoRoom};
use crate::observe;
use crate::pipe::Buffers;
use crate::websocket::{
    Account, Handshake, KeepAlive, MessageCarrier, Pulse, Refusal, Role, Session, Upgrade,
    WebSockets, run,
};

impl ListenerBuilder {
    /// Also takes WebSockets over HTTP/1.1 (RFC 6455), on the same port: each waits to be accepted as
    /// every other request does, and becomes a [`Conn`](crate::Conn) with the same calls. Default:
    /// none, and requests for one are answered with 501.
    ///
    /// With this a client reaches the listener through a proxy that passes only HTTP/1.1 on
    /// ([`Reach`](crate::Reach)), and so does a web page (`new WebSocket(URL)`). [`WebSockets`] says
    /// what a connection to such a page cannot do.
    ///
    /// * **Requests.** [`Incoming::transport`](crate::Incoming::transport) is
    ///   [`Transport::WebSocketHttp1`](crate::Transport::WebSocketHttp1), and the method is GET:
    ///   [`methods`](ListenerBuilder::methods) does not apply. The status of
    ///   [`accept_with`](crate::Incoming::accept_with) is replaced by 101. An
    ///   [`Incoming`](crate::Incoming) that is dropped is answered with 503, which tells the client to
    ///   try again. An invalid handshake is answered with 400, 405 or 426, without a word to the
    ///   program.
    /// * **Origins** are checked for them too, as for all requests: see
    ///   [`origins`](ListenerBuilder::origins).
    /// * **Limits.** Each WebSocket is a link of its own for
    ///   [`max_links`](ListenerBuilder::max_links) and the like. Its request and its unread bytes
    ///   count for [`max_memory`](ListenerBuilder::max_memory). In addition it takes the frame
    ///   buffers that [`WebSockets`] names. Bytes that wait for their reader are bounded by
    ///   [`initial_window_size`](ListenerBuilder::initial_window_size), which does not grow here.
    /// * **Timeouts.** Those of the listener apply, and the
    ///   [`keep_alive_interval`](ListenerBuilder::keep_alive_interval) too: its PING is that of a
    ///   WebSocket, which browsers answer. A program that answers none while it reads nothing is given
    ///   up. `max_link_age` does not apply.
    /// * **The end.** [`Listener::drain`](crate::Listener::drain) waits for WebSockets too, and tells
    ///   them. Bytes that a client of another library may not have received do not count as lost if
    ///   it has answered the close frame.
    ///
    /// A listener that is given to [`serve`](fn@crate::serve) does not need this: there
    /// [`accept`](fn@crate::accept) takes WebSockets. WebSockets over HTTP/2 (RFC 8441) are not
    /// offered, so browsers use HTTP/1.1.
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.websockets = Some(Arc::new(Settings { websockets, buffers: Arc::default() }));
        self
    }
}

/// The settings that all WebSockets of a listener share.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) websockets: WebSockets,
    buffers: Arc<Buffers>,
}

/// The server for a client that asks for a WebSocket.
pub(super) struct Reception {
    server: Arc<Server>,
    settings: Arc<Settings>,
}

impl Reception {
    pub(super) fn new(server: &Arc<Server>, settings: &Arc<Settings>) -> Reception {
        Reception { server: Arc::clone(server), settings: Arc::clone(settings) }
    }
}

impl Http1Server for Reception {
    fn serve(&self, client: Http1Client) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let visit = Visit {
            server: Arc::clone(&self.server),
            settings: Arc::clone(&self.settings),
            info: Arc::clone(&client.info),
            answered: Arc::clone(&client.answered),
            shutdown: client.shutdown.clone(),
        };
        let visit = Arc::new(visit);
        Box::pin(client.drive(move |request| {
            let visit = Arc::clone(&visit);
            async move {
                let mut response = visit.answer(request).await;
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    // No place is kept for a client without a connection.
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok(response)
            }
        }))
    }
}

/// One client that asks for a WebSocket.
struct Visit {
    server: Arc<Server>,
    settings: Arc<Settings>,
    info: Arc<LinkInfo>,
    answered: Arc<Notify>,
    shutdown: Shutdown,
}

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let websockets = &self.settings.websockets;
        // First, so that a page of another origin is told the same whatever else is wrong.
        let origin = self.server.origins.refusal(request.uri(), request.headers());
        let handshake = match origin {
            Some(text) => Err(Refusal::new(StatusCode::FORBIDDEN, text)),
            None => Handshake::of(&request, websockets),
        };
        let handshake = match handshake {
            Ok(Some(handshake)) => handshake,
            Ok(None) => {
                let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
                return self.refuse(Refusal::new(status, NO_WEBSOCKET_BY_HTTP10));
            }
            Err(refusal) => return self.refuse(refusal),
        };
        let (mut parts, _) = request.into_parts();
        let upgrade = Upgrade::of(&mut parts);
        let mut asked = match self.ask(parts, &handshake) {
            Ok(asked) => asked,
            Err(NoRoom::Closed) => return busy("the server is shutting down"),
            Err(NoRoom::Full(limit)) => {
                observe::refused(limit, &self.info.peer);
                return busy("the server has no room for another connection");
            }
        };
        match poll_fn(|cx| asked.poll(cx)).await {
            Decision::Accepted(head) => self.begin(asked, head, handshake, upgrade),
            Decision::Refused(head, text) => {
                asked.settle(Ok(()));
                Response::from_parts(head, Body::full(text))
            }
            Decision::Dropped(error) => {
                asked.settle(Err(error));
                busy("the server has not taken the connection")
            }
        }
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        self.server.shared.decided.rejected();
        plain(refusal.status, &refusal.text, refusal.fields)
    }

    /// Makes the request wait to be accepted.
    fn ask(&self, mut request: request::Parts, handshake: &Handshake) -> Result<Asked, NoRoom> {
        let Server { entrance, shared, config, tls, .. } = &*self.server;
        if let Some(uri) = whole(&request, tls.is_some()) {
            request.uri = uri;
        }
        let server = hosted::Server::new();
        let task = Waker::from(Arc::clone(&server));
        let mut guest = Guest::new(entrance, &shared.budget, task);
        let memory = guest.charge(&request)?;
        let carrier = MessageCarrier::new(&server);
        carrier.keep(memory);
        let riding = Arc::clone(&carrier) as _;
        let (info, buffers) = (Arc::clone(&self.info), Arc::clone(&self.settings.buffers));
        let transport = handshake.transport();
        let stream = Stream::new(request, transport, info, riding, config.send_queue, buffers);
        stream.reset_on_drop(config.reset_on_drop);
        let stream = Arc::new(stream);
        guest.offer(&stream);
        let text = BytesMut::new();
        Ok(Asked { stream, carrier, server, guest: Some(guest), refusal: None, text })
    }

    /// Begins the connection that the program has accepted.
    fn begin(
        &self,
        mut asked: Asked,
        head: response::Parts,
        handshake: Handshake,
        upgrade: Upgrade,
    ) -> Response<Body> {
        self.answered.notify_one();
        let config = &self.server.config;
        let (messages, most) = handshake.messages(&self.settings.websockets);
        let timeout = config.keep_alive_timeout;
        let keep_alive = config.keep_alive_interval.map(|interval| KeepAlive { interval, timeout });
        let pulse = Pulse::new(keep_alive, Quiet::new(config), handshake.is_marked());
        let limits = Limits { room: config.window as usize, linger: config.linger_timeout };
        let (stream, carrier) = (Arc::clone(&asked.stream), Arc::clone(&asked.carrier));
        let mut session = Session::new(stream, carrier, Role::Server, limits, messages, pulse);
        if let Some(guest) = asked.guest.take() {
            session.count_in(guest);
        }
        let (shared, shutdown) = (Arc::clone(&self.server.shared), self.shutdown.clone().hold());
        tokio::spawn(async move {
            // A drain waits until the loss is noted.
            let _held = shutdown.clone();
            if run(session, upgrade, most, Some(shutdown)).await.is_some() {
                shared.links.note_loss(Instant::now());
            }
        });
        let (head, ()) = handshake.answer(Response::from_parts(head, ())).into_parts();
        asked.stream.amend_answer(head.clone());
        Response::from_parts(head, Body::upgrade(Arc::clone(&asked.server)))
    }
}

impl Account for Guest {
    fn holds(&mut self, unread: usize) -> Option<String> {
        Guest::holds(self, unread)
    }
}

/// The program's decision on a request.
enum Decision {
    Accepted(response::Parts),
    /// With the text that follows.
    Refused(response::Parts, Bytes),
    Dropped(Error),
}

/// A request that waits for the program. Dropping it takes the request back.
struct Asked {
    stream: Arc<Stream>,
    carrier: Arc<MessageCarrier>,
    server: Arc<hosted::Server>,
    /// Until the request is decided on.
    guest: Option<Guest>,
    /// The head of a refusal, and the part of its text that was written so far.
    refusal: Option<response::Parts>,
    text: BytesMut,
}

impl Asked {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decision> {
        self.server.register_task(cx);
        if self.refusal.is_none() {
            match self.stream.take_answer() {
                // A request for a WebSocket that a server of ordinary requests has got, because its
                // program began to serve while the request waited.
                Some(_) if self.stream.is_ordinary() => {
                    let message = "a WebSocket that had come before the program began to serve";
                    return Poll::Ready(Decision::Dropped(dropped(message)));
                }
                Some((head, _)) if head.status.is_success() => {
                    return Poll::Ready(Decision::Accepted(head));
                }
                Some((head, _)) => self.refusal = Some(head),
                None => {}
            }
        }
        if let Wish::Reset(_) = self.stream.wish() {
            let message = "the request was dropped unanswered";
            return Poll::Ready(Decision::Dropped(dropped(message)));
        }
        if self.refusal.is_none() {
            return Poll::Pending;
        }
        loop {
            let run = self.stream.outbox.take_run(usize::MAX);
            self.stream.outbox.mark_sent(run.position);
            if let Some(bytes) = &run.bytes {
                self.text.extend_from_slice(bytes);
            }
            match (run.end, self.refusal.take()) {
                (true, Some(head)) => {
                    return Poll::Ready(Decision::Refused(head, self.text.split().freeze()));
                }
                (_, head) => self.refusal = head,
            }
            if run.bytes.is_none() {
                return Poll::Pending;
            }
        }
    }

    /// The request is decided on, and there is no connection.
    fn settle(mut self, how: Result<(), Error>) {
        self.guest = None;
        if let Err(error) = &how {
            self.stream.cut(error.clone(), error.clone());
        }
        self.stream.set_done(how);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let Some(guest) = &self.guest else { return };
        guest.withdraw();
        let ending = Ending::Gone(None);
        self.stream.cut(ending.read_error(), ending.write_error());
        self.stream.set_done(Err(ending.read_error()));
    }
}

fn dropped(message: &'static str) -> Error {
    Error::new(ErrorKind::Aborted, message).with_reason(Reason::REFUSED_STREAM)
}

/// Tells a client that it may try again.
fn busy(why: &str) -> Response<Body> {
    let text = format!("{why}; try again");
    plain(StatusCode::SERVICE_UNAVAILABLE, &text, [(header::RETRY_AFTER, "1")])
}

/// The target with its scheme and host, as requests over HTTP/2 have it. `None` if the client has
/// sent no valid ones.
fn whole(request: &request::Parts, tls: bool) -> Option<Uri> {
    let mut parts = request.uri.clone().into_parts();
    if parts.authority.is_none() {
        let host = only(&request.headers, header::HOST)?;
        parts.authority = Some(host.as_bytes().try_into().ok()?);
    }
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).ok()
}
