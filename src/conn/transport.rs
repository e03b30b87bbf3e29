//! The forms in which two ends can exchange bytes.

use std::fmt;

/// The form in which HTTP carries a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// The bodies of one HTTP/2 request and its response (RFC 9113 §8.1).
    Request,
    /// An HTTP/2 extended CONNECT stream (RFC 8441 §4), with the value of `:protocol`.
    ExtendedConnect(Box<str>),
    /// The messages of a WebSocket over HTTP/1.1 (RFC 6455).
    WebSocketHttp1,
    /// The messages of a WebSocket over HTTP/2 (RFC 8441 §5).
    WebSocketHttp2,
}

impl Transport {
    /// The `:protocol` that a link must ask for, if it asks through extended CONNECT.
    pub(crate) fn protocol(&self) -> Option<&str> {
        match self {
            Transport::ExtendedConnect(protocol) => Some(protocol),
            _ => None,
        }
    }

    /// Its name in logs and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Transport::Request => "request",
            Transport::ExtendedConnect(_) => "connect",
            Transport::WebSocketHttp1 => "websocket_http1",
            Transport::WebSocketHttp2 => "websocket_http2",
        }
    }

    /// Whether it is a WebSocket, by whichever version of HTTP.
    #[cfg(feature = "accept")]
    pub(crate) fn is_websocket(&self) -> bool {
        matches!(self, Transport::WebSocketHttp1 | Transport::WebSocketHttp2)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Transport::Request => f.write_str("HTTP/2 request"),
            Transport::ExtendedConnect(protocol) => {
                write!(f, "HTTP/2 extended CONNECT, {protocol}")
            }
            Transport::WebSocketHttp1 => f.write_str("WebSocket over HTTP/1.1"),
            Transport::WebSocketHttp2 => f.write_str("WebSocket over HTTP/2"),
        }
    }
}
