//! WebSockets at a listener (feature `websocket`): those over HTTP/1.1 here, those over HTTP/2 in
//! `http2`. The request for one waits in the backlog as every other request does, and its client is
//! answered when the program has decided.
//!
//! ```text
//! Reception::serve ─► Visit::answer ─► Visit::ask: Asked, in the backlog as a Guest
//!                                        ├─► Visit::begin: 101, and a Session with the transport
//!                                        └─► a refusal, with the program's text
//! ```

mod http2;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::header::HeaderValue;
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, StatusCode, Uri, header, request, response};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::ListenerBuilder;
use super::handshake::Server;
use super::http1::{Http1Client, Http1Server};
use crate::config::{Config, no_websocket_by_http10, only};
use crate::conn::{Account, LinkInfo, MustEnd, Quiet, Shutdown, Stream, Transport, Wish};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::hosted::{self, Body, Limits, plain};
use crate::link::Guest;
use crate::observe::{self, Side};
use crate::pipe::Buffers;
use crate::websocket::{
    Handshake, MessageCarrier, Pulse, Refusal, Role, Session, Upgrade, WITH_CONTENT, WebSockets,
    run,
};

pub(super) use http2::{Asked as AskedByHttp2, Http2, not_taken};

impl ListenerBuilder {
    /// Also takes WebSockets, on the same port: over HTTP/1.1 (RFC 6455), and over HTTP/2 by extended
    /// CONNECT (RFC 8441 §5), which this offers in the SETTINGS. Each waits to be accepted as every other
    /// request does, and becomes a [`Conn`](crate::Conn) with the same calls. Default: none, and
    /// requests for one are answered with 501.
    ///
    /// With this a client reaches the listener through a proxy that passes only HTTP/1.1 on
    /// ([`Reach`](crate::Reach)), and so does a web page (`new WebSocket(URL)`). A page that has come
    /// from this port over HTTP/2 opens its WebSockets on the same link. [`WebSockets`] says what a
    /// connection to a page cannot do.
    ///
    /// * **Requests.** [`Incoming::transport`](crate::Incoming::transport) is
    ///   [`Transport::WebSocketHttp1`](crate::Transport::WebSocketHttp1), and the method is GET; or
    ///   [`Transport::WebSocketHttp2`](crate::Transport::WebSocketHttp2) and CONNECT.
    ///   [`methods`](ListenerBuilder::methods) does not apply. The status of
    ///   [`accept_with`](crate::Incoming::accept_with) is replaced by 101 or 200. An
    ///   [`Incoming`](crate::Incoming) that is dropped is answered with 503, which tells the client to
    ///   try again. Over HTTP/2 a request that the program has not seen is refused as every other
    ///   there, by `REFUSED_STREAM`, and a refusal with a 2xx is sent as 500, because a 2xx would open
    ///   the WebSocket. An invalid handshake is answered with 400, 405, 426 or 505, and the program
    ///   does not see it; [`ListenerStats::rejected`](crate::ListenerStats::rejected) counts it.
    /// * **Origins** are checked for them too, as for all requests: see
    ///   [`origins`](ListenerBuilder::origins).
    /// * **Limits over HTTP/1.1.** Each WebSocket is a link of its own for
    ///   [`max_links`](ListenerBuilder::max_links) and the like. Bytes that wait for their reader are
    ///   bounded by [`initial_window_size`](ListenerBuilder::initial_window_size), which does not grow
    ///   here, and one message more. A stranger that must make room is closed without an answer.
    /// * **Limits over HTTP/2.** Each is a connection of its link for
    ///   [`max_conns_per_link`](ListenerBuilder::max_conns_per_link) and
    ///   [`max_link_memory`](ListenerBuilder::max_link_memory). Bytes that wait for their reader are
    ///   bounded by the stream's window, a quarter of
    ///   [`initial_window_size`](ListenerBuilder::initial_window_size) more, and one message more. Bytes
    ///   that wait to be sent take up to twice the
    ///   [`send_queue_size`](ListenerBuilder::send_queue_size), and 128 KiB of frames.
    /// * **Memory.** The request and the unread bytes count for
    ///   [`max_memory`](ListenerBuilder::max_memory), and so do the bytes of a message that has come in
    ///   part. In addition a WebSocket takes the frame buffers that [`WebSockets`] names.
    /// * **Timeouts.** Those of the listener apply, and the
    ///   [`keep_alive_interval`](ListenerBuilder::keep_alive_interval) too: its PING is that of a
    ///   WebSocket, which browsers answer by themselves, over HTTP/2 beside the PING of the link. A
    ///   client of another library that stops reading answers none, and is given up, unless the
    ///   program itself reads nothing meanwhile: its answer could not be seen then. `max_link_age`
    ///   applies to links, and so to WebSockets over HTTP/2.
    /// * **The end.** [`Listener::drain`](crate::Listener::drain) waits for WebSockets too, and tells
    ///   them. The bytes for a client of another library count as delivered when that client has
    ///   answered the close frame. A WebSocket over HTTP/2 that is left at the deadline is reset as its
    ///   stream is, without a close frame. Chromium ends one over HTTP/2 by a reset of the stream
    ///   (`CANCEL`) when the user leaves the page, which is an error here.
    ///
    /// A value `websocket` among the [`protocols`](ListenerBuilder::protocols) has no effect beside
    /// this. Without this it gives the program the bytes of the stream as they are, frames and all.
    /// [`serve`](fn@crate::serve) does not need this for WebSockets over HTTP/1.1, which
    /// [`accept`](fn@crate::accept) takes there. Those over HTTP/2 need the offer, from here or from
    /// `protocols`.
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.websockets = Some(Arc::new(websockets));
        self
    }
}

/// Makes the stream of a WebSocket, which `carrier` carries.
fn stream(
    config: &Config,
    request: request::Parts,
    handshake: &Handshake,
    info: &Arc<LinkInfo>,
    carrier: &Arc<MessageCarrier>,
    buffers: Arc<Buffers>,
) -> Arc<Stream> {
    let (riding, transport) = (Arc::clone(carrier) as _, handshake.transport());
    let info = Arc::clone(info);
    let stream = Stream::new(request, transport, info, riding, config.send_queue, buffers);
    stream.reset_on_drop(config.reset_on_drop);
    Arc::new(stream)
}

/// Begins the session of an accepted WebSocket, of whose bytes `room` may lie unread. Also gives the
/// longest message that it accepts.
fn session(
    websockets: &WebSockets,
    config: &Config,
    room: usize,
    handshake: &Handshake,
    stream: &Arc<Stream>,
    carrier: &Arc<MessageCarrier>,
) -> (Session, usize) {
    let (messages, most) = handshake.messages(websockets);
    let pulse = Pulse::of(config, handshake.is_marked());
    let limits = Limits { room, linger: config.linger_timeout };
    let (stream, carrier) = (Arc::clone(stream), Arc::clone(carrier));
    (Session::new(stream, carrier, Role::Server, limits, messages, pulse), most)
}

/// The text for a client whose request the program has dropped.
const NOT_TAKEN: &str = "the server has not taken the connection; try again";

/// The server for a client that asks for a WebSocket.
pub(super) struct Reception {
    server: Arc<Server>,
    websockets: Arc<WebSockets>,
}

impl Reception {
    pub(super) fn new(server: &Arc<Server>, websockets: &Arc<WebSockets>) -> Reception {
        Reception { server: Arc::clone(server), websockets: Arc::clone(websockets) }
    }
}

impl Http1Server for Reception {
    fn serve(&self, mut client: Http1Client) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        // The request has timeouts of its own, and so has the WebSocket.
        client.quiet = None;
        let visit = Visit {
            server: Arc::clone(&self.server),
            websockets: Arc::clone(&self.websockets),
            info: Arc::clone(&client.info),
            answered: Arc::clone(&client.answered),
            shutdown: client.shutdown.clone(),
            refused: Notify::new(),
        };
        let (visit, limit) = (Arc::new(visit), self.server.config.handshake_timeout);
        let visited = Arc::clone(&visit);
        let answer = move |request| {
            let visit = Arc::clone(&visit);
            async move { Ok(visit.answer_once(request).await) }
        };
        // A request that has come can be accepted while the listener ends. There is no second request.
        let served: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(client.drive(answer, pending::<()>()));
        Box::pin(async move {
            let taking_too_long = async {
                visited.refused.notified().await;
                sleep(limit).await;
            };
            tokio::select! {
                biased;
                () = served => {}
                // It does not take the text of its refusal.
                () = taking_too_long => {}
            }
        })
    }
}

/// One client that asks for a WebSocket.
struct Visit {
    server: Arc<Server>,
    websockets: Arc<WebSockets>,
    info: Arc<LinkInfo>,
    answered: Arc<Notify>,
    shutdown: Shutdown,
    /// Is told when the request is refused.
    refused: Notify,
}

impl Visit {
    /// Answers the client, which has no other request unless its WebSocket is accepted.
    async fn answer_once(&self, request: Request<Incoming>) -> Response<Body> {
        let mut response = self.answer(request).await;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let close = HeaderValue::from_static("close");
            response.headers_mut().append(header::CONNECTION, close);
            self.refused.notify_one();
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let websockets = &self.websockets;
        // First, so that a page of another origin is told the same whatever else is wrong.
        let origin = self.server.origins.refusal(request.uri(), request.headers());
        let handshake = match origin {
            Some(text) => Err(Refusal::new(StatusCode::FORBIDDEN, text)),
            // The client's end could not be seen behind it.
            None if !request.body().is_end_stream() => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, WITH_CONTENT))
            }
            None => Handshake::of(&request, websockets).and_then(|handshake| {
                let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
                handshake.ok_or_else(|| Refusal::new(status, no_websocket_by_http10("HTTP/1.1")))
            }),
        };
        let handshake = match handshake {
            Ok(handshake) => handshake,
            Err(refusal) => return self.refuse(&request, refusal),
        };
        let path = request.uri().path().to_owned();
        let (mut parts, _) = request.into_parts();
        let upgrade = Upgrade::of(&mut parts);
        let mut asked = self.ask(parts, &handshake);
        let decided = poll_fn(|cx| asked.poll(cx));
        let decision = tokio::select! {
            biased;
            decision = decided => decision,
            (knob, text) = idles_too_long(Quiet::new(&self.server.config)) => {
                self.info.observed.timed_out(knob, &path);
                Decided::Dropped(Error::new(ErrorKind::TimedOut, text))
            }
        };
        match decision {
            Decided::Accepted(head) => self.begin(asked, head, &handshake, upgrade),
            Decided::Refused(mut head, text) => {
                asked.settle(Ok(()));
                if head.status.is_informational() {
                    // No final answer (RFC 9110 §15.2), and no handshake.
                    head.status = StatusCode::INTERNAL_SERVER_ERROR;
                }
                // hyper sets the length of the text.
                head.headers.remove(header::CONTENT_LENGTH);
                head.headers.remove(header::TRANSFER_ENCODING);
                Response::from_parts(head, Body::full(text))
            }
            Decided::Dropped(error) => {
                asked.settle(Err(error));
                plain(StatusCode::SERVICE_UNAVAILABLE, NOT_TAKEN, [(header::RETRY_AFTER, "1")])
            }
        }
    }

    fn refuse<B>(&self, request: &Request<B>, refusal: Refusal) -> Response<Body> {
        let Refusal { status, text, fields } = refusal;
        self.server.shared.decided.rejected();
        let form = Transport::WebSocketHttp1.name();
        observe::rejected(Side::Server, form, request, status, &text);
        plain(status, &text, fields)
    }

    /// Makes the request wait to be accepted.
    fn ask(&self, mut request: request::Parts, handshake: &Handshake) -> Asked {
        let Server { entrance, shared, config, tls, .. } = &*self.server;
        if let Some(uri) = whole(&request, tls.is_some()) {
            request.uri = uri;
        }
        let server = hosted::Server::new();
        let task = Waker::from(Arc::clone(&server));
        let mut guest = Guest::new(entrance, &shared.budget, task);
        let carrier = MessageCarrier::new(&server);
        carrier.ask(handshake.clone(), guest.charge(&request));
        let buffers = shared.budget.guest_buffers();
        let stream = stream(config, request, handshake, &self.info, &carrier, buffers);
        guest.offer(&stream);
        let text = BytesMut::new();
        Asked { stream, carrier, server, guest: Some(guest), refusal: None, text }
    }

    /// Begins the connection that the program has accepted.
    fn begin(
        &self,
        mut asked: Asked,
        head: response::Parts,
        handshake: &Handshake,
        upgrade: Upgrade,
    ) -> Response<Body> {
        self.answered.notify_one();
        let config = &self.server.config;
        let (room, stream) = (config.window as usize, &asked.stream);
        let (mut session, most) =
            session(&self.websockets, config, room, handshake, stream, &asked.carrier);
        if let Some(guest) = asked.guest.take() {
            session.count_in(Box::new(guest));
        }
        let (shared, shutdown) = (Arc::clone(&self.server.shared), self.shutdown.clone().hold());
        tokio::spawn(async move {
            // A drain waits until the loss is noted.
            let _held = shutdown.clone();
            if run(session, upgrade, most, Some(shutdown)).await.is_some() {
                shared.links.note_loss(Instant::now());
            }
        });
        Response::from_parts(head, Body::upgrade(Arc::clone(&asked.server)))
    }
}

/// The program's decision on a request.
enum Decided {
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
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Decided> {
        self.server.register_task(cx);
        if self.refusal.is_none() {
            match self.stream.take_answer() {
                Some((head, _)) if self.carrier.is_accepted() => {
                    return Poll::Ready(Decided::Accepted(head));
                }
                Some((head, _)) => self.refusal = Some(head),
                None => {}
            }
        }
        if let Wish::Reset(_) = self.stream.wish() {
            let error = Error::new(ErrorKind::Aborted, "the request was dropped unanswered");
            let error = error.with_reason(Reason::REFUSED_STREAM);
            return Poll::Ready(Decided::Dropped(error));
        }
        if self.refusal.is_none() {
            let must_end = self.guest.as_mut().and_then(|guest| guest.holds(0, 0));
            let Some(MustEnd { text, .. }) = must_end else { return Poll::Pending };
            observe::hoarder_reset(&self.stream.link.peer, &text);
            let error = Error::new(ErrorKind::Aborted, text);
            return Poll::Ready(Decided::Dropped(error.with_reason(Reason::ENHANCE_YOUR_CALM)));
        }
        loop {
            let run = self.stream.outbox.take_run(usize::MAX);
            self.stream.outbox.mark_sent(run.position);
            if let Some(bytes) = &run.bytes {
                self.text.extend_from_slice(bytes);
            }
            match (run.end, self.refusal.take()) {
                (true, Some(head)) => {
                    return Poll::Ready(Decided::Refused(head, self.text.split().freeze()));
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

/// Waits until a request on which nothing moves has waited too long. Gives the knob that says so, and a text.
async fn idles_too_long(quiet: Option<Box<Quiet>>) -> (&'static str, String) {
    if let Some(quiet) = quiet
        && let Some(due) = quiet.due()
    {
        sleep_until(due).await;
        if let Some(verdict) = quiet.verdict(Instant::now()) {
            return verdict;
        }
    }
    pending().await
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
