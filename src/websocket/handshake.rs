//! The request for a WebSocket, and a server's answer to it.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::marks::SUBPROTOCOL;
use super::messages::Messages;
use super::settings::WebSockets;
use crate::config::{asks_to_upgrade, method_not_allowed, only, values};
use crate::conn::{Served, Transport};

/// The only version of the protocol that there is (RFC 6455 §4.4).
const VERSION: &str = "13";

/// A key is 16 bytes in base64 (RFC 6455 §4.1).
const KEY: usize = 24;

/// The answer to an invalid request for a WebSocket.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// The header fields that the status needs.
    pub(crate) fields: Vec<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Refusal {
        Refusal { status, text: text.into(), fields: Vec::new() }
    }

    fn with_field(mut self, name: HeaderName, value: &'static str) -> Refusal {
        self.fields.push((name, value));
        self
    }
}

/// A valid request for a WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    /// The client's key, from which the answer is made. HTTP/2 has no key.
    key: Option<HeaderValue>,
    subprotocol: Option<HeaderValue>,
    /// Both ends are of this library: the messages have marks.
    is_marked: bool,
}

impl Handshake {
    /// Reads a request for a WebSocket. `None` if the request does not ask for one.
    ///
    /// # Errors
    ///
    /// Fails when the request for a WebSocket is invalid.
    pub(crate) fn of<B>(
        request: &Request<B>,
        websockets: &WebSockets,
    ) -> Result<Option<Handshake>, Refusal> {
        let headers = request.headers();
        let key = match request.version() {
            Version::HTTP_11 if asks_to_upgrade(headers, "websocket") => {
                if request.method() != Method::GET {
                    let text = method_not_allowed(request.method(), "GET");
                    return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, text)
                        .with_field(header::ALLOW, "GET"));
                }
                Some(key(headers)?)
            }
            Version::HTTP_2 if is_extended_connect(request) => None,
            _ => return Ok(None),
        };
        let handshake = Handshake::new(key, request.uri(), headers, websockets)?;
        let served = request.extensions().get::<Served>();
        let has_stream = handshake.key.is_none() && served.is_some_and(Served::can_be_taken);
        if !has_stream && request.extensions().get::<OnUpgrade>().is_none() {
            let text = "the server underneath gives no access to the transport of a WebSocket";
            return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, text));
        }
        Ok(Some(handshake))
    }

    /// Reads an extended CONNECT for a WebSocket (RFC 8441 §5).
    ///
    /// # Errors
    ///
    /// Fails when the request is invalid.
    pub(crate) fn of_connect(
        uri: &Uri,
        headers: &HeaderMap,
        websockets: &WebSockets,
    ) -> Result<Handshake, Refusal> {
        Handshake::new(None, uri, headers, websockets)
    }

    fn new(
        key: Option<HeaderValue>,
        uri: &Uri,
        headers: &HeaderMap,
        websockets: &WebSockets,
    ) -> Result<Handshake, Refusal> {
        if only(headers, header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
            return Err(wrong_version(key.is_some()));
        }
        if uri.authority().is_none() && only(headers, header::HOST).is_none() {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "a WebSocket needs one field host"));
        }
        let is_marked = is_offered(headers, SUBPROTOCOL);
        let subprotocol = match is_marked {
            true => Some(HeaderValue::from_static(SUBPROTOCOL)),
            false => choose(headers, &websockets.subprotocols),
        };
        Ok(Handshake { key, subprotocol, is_marked })
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.is_marked
    }

    /// The messages that both ends will use, and the longest that is accepted.
    pub(crate) fn messages(&self, websockets: &WebSockets) -> (Messages, usize) {
        let messages = if self.is_marked { Messages::Marked } else { websockets.messages() };
        (messages, websockets.longest(messages))
    }

    pub(crate) fn transport(&self) -> Transport {
        match self.key {
            Some(_) => Transport::WebSocketHttp1,
            None => Transport::WebSocketHttp2,
        }
    }

    /// Turns `response` into the answer to this handshake. Its status and header fields are those
    /// for other requests.
    pub(crate) fn answer(&self, mut response: Response<()>) -> Response<()> {
        *response.status_mut() = match self.key {
            Some(_) => StatusCode::SWITCHING_PROTOCOLS,
            None => StatusCode::OK,
        };
        let headers = response.headers_mut();
        // RFC 9110 §8.6 and §9.3.6.
        headers.remove(header::CONTENT_LENGTH);
        if let Some(key) = &self.key {
            // RFC 9112 §6.1.
            headers.remove(header::TRANSFER_ENCODING);
            let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes()));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.expect("base64 is a value"));
        }
        if let Some(subprotocol) = &self.subprotocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
        }
        response
    }
}

/// RFC 8441 §5.
fn is_extended_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

fn key(headers: &HeaderMap) -> Result<HeaderValue, Refusal> {
    let in_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/".contains(byte);
    match only(headers, header::SEC_WEBSOCKET_KEY) {
        Some(key)
            if key.len() == KEY
                && key.as_bytes().ends_with(b"==")
                && key.as_bytes()[..KEY - 2].iter().all(in_base64) =>
        {
            Ok(key.clone())
        }
        _ => {
            let text = "a WebSocket needs one field sec-websocket-key, of 16 bytes in base64";
            Err(Refusal::new(StatusCode::BAD_REQUEST, text))
        }
    }
}

/// Over HTTP/1.1 the status is 426, which names the protocol to upgrade to (RFC 9110 §15.5.22).
fn wrong_version(http1: bool) -> Refusal {
    let text = format!("a WebSocket needs sec-websocket-version: {VERSION}");
    let error = match http1 {
        true => Refusal::new(StatusCode::UPGRADE_REQUIRED, text)
            .with_field(header::UPGRADE, "websocket")
            .with_field(header::CONNECTION, "upgrade"),
        false => Refusal::new(StatusCode::BAD_REQUEST, text),
    };
    error.with_field(header::SEC_WEBSOCKET_VERSION, VERSION)
}

/// The first of the server's subprotocols that the client offers.
fn choose(headers: &HeaderMap, spoken: &[String]) -> Option<HeaderValue> {
    let chosen = spoken.iter().find(|name| is_offered(headers, name));
    chosen.and_then(|name| HeaderValue::try_from(name).ok())
}

fn is_offered(headers: &HeaderMap, name: &str) -> bool {
    values(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == name)
}
