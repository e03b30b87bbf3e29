//! Connecting by a WebSocket over HTTP/1.1 (RFC 6455 §4) here, and over HTTP/2 in `http2`.

mod http2;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, request, response};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::call::Call;
use super::dial::Progress;
use super::reach::Ways;
use crate::config::{Config, REJECTION_BODY, REJECTION_WAIT, asks_to_upgrade, only, values};
use crate::conn::{Conn, LinkInfo, Shutdown, Stream, Transport};
use crate::error::{Error, ErrorKind, Result, request_name};
use crate::hosted::{Accepted, Body, Limits, Server};
use crate::link::{Socket, TIME_IS_UP, lost_unseen, reset_in_use};
use crate::pipe::Buffers;
use crate::websocket::{
    MessageCarrier, Messages, PLAIN, Pulse, Role, SUBPROTOCOL, Session, Upgrade, WebSockets, run,
};

/// The WebSockets of a client, and what they need.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) settings: WebSockets,
    /// Those that are open.
    pub(super) open: Arc<Accepted>,
    pub(super) ways: Ways,
    buffers: Arc<Buffers>,
}

impl Sockets {
    pub(super) fn new(settings: WebSockets) -> Sockets {
        Sockets { settings, ..Sockets::default() }
    }

    /// Resets those that are still in use.
    ///
    /// # Errors
    ///
    /// Says so, if there were any.
    pub(super) fn end_use(&self) -> Result<()> {
        match self.open.end_use(TIME_IS_UP) {
            0 => Ok(()),
            conns => Err(reset_in_use(conns)),
        }
    }

    /// Resets all that are left, and returns their number. The resets have a moment to leave.
    pub(super) async fn abort(&self) -> usize {
        let left = self.open.reset(TIME_IS_UP);
        let _ = timeout(LAST_WORD, self.open.none()).await;
        self.open.cut(TIME_IS_UP);
        left
    }
}

/// How long the resets of a client that is closed may take to leave.
const LAST_WORD: Duration = Duration::from_millis(500);

impl Call {
    /// Connects by a WebSocket over HTTP/1.1, on a transport of its own.
    pub(super) async fn upgrade_http1(&self) -> Result<(Conn, Response<()>)> {
        let inner = &self.client.inner;
        let what = request_name(&Method::GET, self.target.uri());
        let progress = Progress::default();
        let dial = inner.dialer.transport(&self.target, &what, &progress, Version::HTTP_11);
        let (io, info) = match timeout(inner.connect_timeout, dial).await {
            Ok(dialed) => dialed.inspect_err(|error| self.observe_failure(error, &progress))?,
            Err(_) => return Err(self.no_link(&progress)),
        };
        match timeout(self.response_timeout, self.upgrade(io, info, &what)).await {
            Ok(connected) => connected,
            Err(_) => {
                let message = format!(
                    "{what}: no answer to the handshake of the WebSocket within {} s",
                    self.response_timeout.as_secs_f32()
                );
                Err(Error::new(ErrorKind::TimedOut, message))
            }
        }
    }

    /// Makes a connection of a transport.
    async fn upgrade(
        &self,
        io: Box<dyn Socket>,
        info: LinkInfo,
        what: &str,
    ) -> Result<(Conn, Response<()>)> {
        let key = generate_key();
        let head = self.handshake_of_http1(&key)?;
        let failed = |error: hyper::Error| failed(what, error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
        let driver = tokio::spawn(connection.with_upgrades());
        let driver = Aborted(Some(driver.abort_handle()));
        let request = Request::from_parts(on_the_wire(&head), Body::empty());
        let mut response = sender.send_request(request).await.map_err(failed)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            return Err(refused(what, head, text_of(body).await));
        }
        let messages = is_upgrade(&key, response.headers())
            .and_then(|()| self.messages(&head, response.headers()))
            .map_err(|why| broken(what, response.status(), &why))?;
        self.check_ends(messages, what)?;
        let upgrade = Upgrade::of_answer(hyper::upgrade::on(&mut response));
        driver.keep();
        let (answer, _) = response.into_parts();
        let below = Below {
            transport: Transport::WebSocketHttp1,
            info: Arc::new(info),
            room: self.client.inner.dialer.config.window as usize,
            buffers: Arc::clone(&self.client.inner.sockets.buffers),
            upgrade,
            shutdown: None,
        };
        let stream = self.ride(head, answer.clone(), messages, below)?;
        Ok((Conn::new(stream), Response::from_parts(answer, ())))
    }

    /// The head of the request over HTTP/1.1, with the fields of the handshake.
    fn handshake_of_http1(&self, key: &str) -> Result<request::Parts> {
        let mut head = self.handshake()?;
        head.method = Method::GET;
        head.version = Version::HTTP_11;
        let set = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_KEY, key),
        ];
        for (name, value) in set {
            head.headers.insert(name, HeaderValue::try_from(value).map_err(unusable)?);
        }
        if !head.headers.contains_key(header::HOST) {
            let host = head.uri.authority().map_or("", |authority| authority.as_str());
            head.headers.insert(header::HOST, HeaderValue::try_from(host).map_err(unusable)?);
        }
        Ok(head)
    }

    /// The head of the request, with the fields that the handshake has in both versions of HTTP.
    fn handshake(&self) -> Result<request::Parts> {
        let mut head = self.head()?;
        let headers = &mut head.headers;
        headers.remove(header::CONTENT_LENGTH);
        headers.remove(header::SEC_WEBSOCKET_KEY);
        // This side knows none.
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
        let mut offered = self.client.inner.sockets.settings.subprotocols.clone();
        offered.extend(values(headers, header::SEC_WEBSOCKET_PROTOCOL).map(str::to_owned));
        if offered.is_empty() {
            offered.push(PLAIN.to_owned());
        }
        // Last, because some servers choose the first.
        offered.push(SUBPROTOCOL.to_owned());
        let offered = HeaderValue::try_from(offered.join(", ")).map_err(unusable)?;
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, offered);
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        Ok(head)
    }

    /// Which messages the server speaks.
    ///
    /// # Errors
    ///
    /// Why its answer is none to the handshake.
    fn messages(&self, request: &request::Parts, headers: &HeaderMap) -> Result<Messages, String> {
        if headers.contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
            return Err("it uses an extension, and none was offered".to_owned());
        }
        let mut all = values(headers, header::SEC_WEBSOCKET_PROTOCOL);
        let chosen = all.next().unwrap_or_default();
        if let Some(another) = all.next() {
            return Err(format!(
                "it chose the subprotocols {chosen:?} and {another:?}, and must choose one"
            ));
        }
        let mut offered = values(&request.headers, header::SEC_WEBSOCKET_PROTOCOL);
        match chosen {
            SUBPROTOCOL => Ok(Messages::Marked),
            chosen if chosen.is_empty() || offered.any(|name| name == chosen) => {
                Ok(self.client.inner.sockets.settings.messages())
            }
            _ => Err(format!("it chose the subprotocol {chosen:?}, which was not offered")),
        }
    }

    /// A request without content needs marks.
    fn check_ends(&self, messages: Messages, what: &str) -> Result<()> {
        if !self.ends_with_head || messages.are_marked() {
            return Ok(());
        }
        let message = format!(
            "{what}: a request without content needs a connection whose sides end one by one, and the WebSocket of this \
             server has none: it does not speak {SUBPROTOCOL}"
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Makes the stream of a WebSocket that has been answered, and its task.
    fn ride(
        &self,
        request: request::Parts,
        answer: response::Parts,
        messages: Messages,
        below: Below,
    ) -> Result<Arc<Stream>> {
        let inner = &self.client.inner;
        let Config { send_queue, linger_timeout, reset_on_drop, .. } = inner.dialer.config;
        let Below { transport, info, room, buffers, upgrade, shutdown } = below;
        let server = Server::new();
        let carrier = MessageCarrier::new(&server);
        let riding = Arc::clone(&carrier) as _;
        let stream = Stream::new(request, transport, info, riding, send_queue, buffers);
        let stream = Arc::new(stream);
        stream.reset_on_drop(reset_on_drop);
        stream.set_answer(Ok(answer));
        if self.ends_with_head {
            stream.outbox.finish();
        }
        let limits = Limits { room, linger: linger_timeout };
        let role = Role::Client;
        let pulse = Pulse::of(&inner.dialer.config, messages.are_marked());
        let session = Session::new(Arc::clone(&stream), carrier, role, limits, messages, pulse);
        let place = inner.sockets.open.enter(&stream, &server);
        if !inner.sockets.open.is_open() {
            // The client was closed meanwhile, and may not have seen this one.
            return Err(super::pool::closed());
        }
        let most = inner.sockets.settings.longest(messages);
        let totals = inner.pool.share_totals();
        tokio::spawn(async move {
            if let Some(error) = run(session, upgrade, most, shutdown).await {
                totals.lost(lost_unseen(&error));
            }
            drop(place);
        });
        Ok(stream)
    }
}

/// The transport below a WebSocket.
struct Below {
    transport: Transport,
    info: Arc<LinkInfo>,
    /// Bytes that may wait for the user, in addition to those of the transport.
    room: usize,
    /// Those of the link, or of all the client's WebSockets over HTTP/1.1.
    buffers: Arc<Buffers>,
    upgrade: Upgrade,
    /// The end of the link.
    shutdown: Option<Shutdown>,
}

/// Whether the answer over HTTP/1.1 is one to this key.
///
/// # Errors
///
/// Why it is none.
fn is_upgrade(key: &str, headers: &HeaderMap) -> Result<(), String> {
    if !asks_to_upgrade(headers, "websocket") {
        return Err("it does not upgrade to a WebSocket".to_owned());
    }
    let accept = only(headers, header::SEC_WEBSOCKET_ACCEPT);
    if accept.is_none_or(|accept| *accept != derive_accept_key(key.as_bytes())) {
        return Err("its sec-websocket-accept is not that of this request".to_owned());
    }
    Ok(())
}

/// The head as HTTP/1.1 sends it to a server: its target is the path (RFC 9112 §3.2.1).
fn on_the_wire(head: &request::Parts) -> request::Parts {
    let mut head = head.clone();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // It has been part of a URL.
    head.uri = path.parse().unwrap_or_default();
    head
}

/// The task that drives HTTP/1.1, until the transport is a WebSocket.
struct Aborted(Option<AbortHandle>);

impl Aborted {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The beginning of a refusal's text.
async fn text_of(mut body: Incoming) -> Bytes {
    let mut text = BytesMut::new();
    let read = async {
        while text.len() < REJECTION_BODY
            && let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await
        {
            if let Ok(data) = frame.into_data() {
                let room = REJECTION_BODY - text.len();
                text.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
    };
    let _ = timeout(REJECTION_WAIT, read).await;
    text.freeze()
}

fn refused(what: &str, head: response::Parts, text: Bytes) -> Error {
    if !head.status.is_success() {
        return Error::rejected(what, head, text);
    }
    let message = format!(
        "{what}: the server answered {} and not 101: it takes no WebSocket at this URL; check the path, and that each \
         proxy on the way passes the fields connection and upgrade on",
        head.status
    );
    Error::new(ErrorKind::Unsupported, message).by_the_peer()
}

/// The error for an answer that opens no WebSocket although its status does.
fn broken(what: &str, status: StatusCode, why: &str) -> Error {
    let message = format!("{what}: the server answered {}, but {why}", status.as_u16());
    Error::new(ErrorKind::Protocol, message).by_the_peer()
}

fn failed(what: &str, error: hyper::Error) -> Error {
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        // TLS says why it failed, for example that the server does not accept this client's certificate.
        let ours = source.downcast_ref::<std::io::Error>().and_then(Error::from_io);
        if let Some(ours) = ours.or_else(|| source.downcast_ref()) {
            return ours.clone().during(what);
        }
        cause = source.source();
    }
    let (kind, why) = match error.is_parse() {
        true => {
            (ErrorKind::Protocol, "the answer to the handshake of the WebSocket is no HTTP/1.1")
        }
        false => (ErrorKind::Truncated, "the transport ended before the WebSocket was answered"),
    };
    Error::new(kind, format!("{what}: {why}")).with_source(error).by_the_peer()
}

fn unusable(error: header::InvalidHeaderValue) -> Error {
    Error::new(ErrorKind::InvalidInput, "a field of the handshake cannot be sent")
        .with_source(error)
}
