//! The ways to a server.

use std::fmt;

use h2conn::Reach;

/// A form of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Http2,
    WebSocket,
}

impl Way {
    pub(crate) const ALL: [Way; 2] = [Way::Http2, Way::WebSocket];

    pub(crate) fn reach(self) -> Reach {
        match self {
            Way::Http2 => Reach::Http2,
            Way::WebSocket => Reach::WebSocket,
        }
    }

    /// The value of `--reach`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Http2 => "http2",
            Way::WebSocket => "websocket",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Http2 => "HTTP/2",
            Way::WebSocket => "WebSocket",
        })
    }
}
