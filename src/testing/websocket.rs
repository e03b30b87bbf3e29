//! The client of a WebSocket, as a page would be.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, Version, header};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message as Inner};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{PIPE, hosted};
use crate::accept::Acceptor;
use crate::config::check_headers;
use crate::conn::Conn;
use crate::error::{Error, ErrorKind, Reason, Result, request_name};
use crate::hosted::Body;

/// A client's end of a WebSocket over HTTP/1.1, in memory.
///
/// Dropping it ends the transport without a close frame, which the server reads as a lost network.
pub struct WebSocket {
    socket: WebSocketStream<DuplexStream>,
    response: Response<()>,
}

/// A message of a [`WebSocket`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// The other side's close frame, with its status and its text, if it has them.
    Close(Option<(u16, String)>),
}

impl WebSocket {
    /// The response to the handshake. Its field `sec-websocket-protocol` has the subprotocol.
    pub fn response(&self) -> &Response<()> {
        &self.response
    }

    /// Sends a text message.
    ///
    /// # Errors
    ///
    /// Fails when the WebSocket has ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<()> {
        self.send(Inner::text(text.into())).await
    }

    /// Sends a binary message.
    ///
    /// # Errors
    ///
    /// Fails when the WebSocket has ended.
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        self.send(Inner::Binary(bytes.into())).await
    }

    /// Sends a close frame. The server's is then still to be read.
    ///
    /// # Errors
    ///
    /// Fails when the WebSocket has ended.
    pub async fn close(&mut self, status: u16, text: impl Into<String>) -> Result<()> {
        let frame = CloseFrame { code: status.into(), reason: text.into().into() };
        self.send(Inner::Close(Some(frame))).await
    }

    async fn send(&mut self, message: Inner) -> Result<()> {
        self.socket.send(message).await.map_err(failed)
    }

    /// Waits for the next message; `None` is the end of the transport. Pings are answered here.
    ///
    /// # Errors
    ///
    /// Fails when the transport ends without a close frame, or the server breaks the rules.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no message.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        loop {
            return match self.socket.next().await.transpose().map_err(failed)? {
                None => Ok(None),
                Some(Inner::Text(text)) => Ok(Some(Message::Text(text.to_string()))),
                Some(Inner::Binary(bytes)) => Ok(Some(Message::Binary(bytes))),
                Some(Inner::Close(frame)) => {
                    let frame = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                    Ok(Some(Message::Close(frame)))
                }
                Some(Inner::Ping(_) | Inner::Pong(_) | Inner::Frame(_)) => continue,
            };
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("response", &self.response).finish_non_exhaustive()
    }
}

/// Makes both ends of a WebSocket: the client's, as a page has it, and the server's, accepted with the settings of `acceptor`.
///
/// The request's URI may be a path, and its method is GET. The fields of the handshake are added. HTTP/1.1 is hyper's, in
/// memory.
///
/// # Errors
///
/// [`ErrorKind::Rejected`], with [`Error::status`], if the acceptor refuses the request, and [`ErrorKind::InvalidInput`]
/// for a request that no client could send.
///
/// # Panics
///
/// Panics outside of a tokio runtime.
///
/// # Examples
///
/// ```
/// use futures_util::{SinkExt, StreamExt};
/// use h2conn::codec::Json;
/// use h2conn::http::Request;
/// use h2conn::testing::{Message, websocket};
/// use h2conn::{Acceptor, WebSockets};
/// use serde_json::{Value, json};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lines = WebSockets::new().json_lines().subprotocols(["json"]);
/// let acceptor = Acceptor::builder().websockets(lines).build()?;
/// let request = Request::get("/live").header("sec-websocket-protocol", "json, bearer.s3cret");
/// let (mut page, conn) = websocket(&acceptor, request.body(())?).await?;
/// assert_eq!(h2conn::bearer_token(conn.headers()), Some("s3cret"));
/// assert_eq!(page.response().headers()["sec-websocket-protocol"], "json");
///
/// let mut values = conn.framed(Json::<Value>::new());
/// page.send_text(r#"{"say":"hello"}"#).await?;
/// assert_eq!(values.next().await.transpose()?, Some(json!({ "say": "hello" })));
/// values.send(json!([1, 2])).await?;
/// assert_eq!(page.next().await?, Some(Message::Text("[1,2]".to_owned())));
/// # Ok(())
/// # }
/// ```
pub async fn websocket(acceptor: &Acceptor, request: Request<()>) -> Result<(WebSocket, Conn)> {
    let (near, far) = duplex(PIPE);
    let mut requests = hosted::http1::<Body>(far);
    let (failed, outcome) = handshake(near, &request)?;
    let (mut received, respond) = requests.first(failed).await?;
    received.extensions_mut().extend(request.into_parts().0.extensions);
    let accepted = acceptor.accept(received);
    let (conn, response) = match accepted {
        Ok((conn, response)) => (Some(conn), response),
        Err(refusal) => (None, refusal.into_response()),
    };
    // A client that has gone is seen below.
    let _ = respond.send(response);
    let page = outcome.await?;
    let refused = || Error::new(ErrorKind::Unsupported, "a refusal was taken for an answer");
    Ok((page, conn.ok_or_else(refused)?))
}

/// The result of a client's handshake.
pub(super) type Outcome = Pin<Box<dyn Future<Output = Result<WebSocket>> + Send>>;

/// Begins the handshake of a client. The first future ends if it fails before it is answered; the second
/// is the outcome.
pub(super) fn handshake(
    io: DuplexStream,
    request: &Request<()>,
) -> Result<(impl Future<Output = Error> + use<>, Outcome)> {
    let request = complete(request)?;
    let name = request_name(request.method(), request.uri());
    let (tell, failed) = oneshot::channel();
    let handshake = tokio::spawn(async move {
        match client_async(request, io).await {
            Ok((socket, response)) => {
                let response = response.map(drop);
                Ok(WebSocket { socket, response })
            }
            Err(tungstenite::Error::Http(response)) => {
                let (head, body) = response.into_parts();
                Err(Error::rejected(&name, head, body.unwrap_or_default().into()))
            }
            Err(error) => {
                let error = failed_handshake(error);
                let _ = tell.send(error.clone());
                Err(error)
            }
        }
    });
    let failed = async {
        match failed.await {
            Ok(error) => error,
            // It was answered.
            Err(_) => std::future::pending().await,
        }
    };
    let outcome = async {
        let gone = || Error::new(ErrorKind::Truncated, "the runtime has ended");
        handshake.await.map_err(|error| gone().with_source(error))?
    };
    Ok((failed, Box::pin(outcome)))
}

/// The request with the fields of the handshake (RFC 6455 §4.1).
fn complete(request: &Request<()>) -> Result<Request<()>> {
    check_headers(request.headers())?;
    if *request.method() != Method::GET {
        let message = format!("a WebSocket is opened by GET, and not by {}", request.method());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let wrong = |error: http::Error| {
        Error::new(ErrorKind::InvalidInput, "the request cannot be made").with_source(error)
    };
    let uri = request.uri();
    let host = uri.authority().map_or("pair", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // tungstenite asks for a scheme of its own.
    let mut complete = Request::get(format!("ws://{host}{path}")).version(Version::HTTP_11);
    if let Some(headers) = complete.headers_mut() {
        headers.clone_from(request.headers());
        let fixed = HeaderValue::from_static;
        headers.insert(header::CONNECTION, fixed("upgrade"));
        headers.insert(header::UPGRADE, fixed("websocket"));
        headers.insert(header::SEC_WEBSOCKET_VERSION, fixed("13"));
    }
    complete
        .header(header::HOST, host)
        .header(header::SEC_WEBSOCKET_KEY, generate_key())
        .body(())
        .map_err(wrong)
}

fn failed_handshake(error: tungstenite::Error) -> Error {
    Error::new(ErrorKind::Protocol, "the handshake of the WebSocket failed").with_source(error)
}

fn failed(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            Error::new(ErrorKind::Closed, "the WebSocket has ended")
        }
        tungstenite::Error::Io(error) => {
            Error::new(ErrorKind::Truncated, "the transport of the WebSocket has failed")
                .with_source(error)
        }
        error => Error::new(ErrorKind::Protocol, "the WebSocket has failed")
            .with_reason(Reason::PROTOCOL_ERROR)
            .with_source(error),
    }
}
