//! WebSockets at an acceptor (feature `websocket`): over HTTP/1.1 (RFC 6455) and over HTTP/2
//! (RFC 8441).

mod handshake;

use std::sync::Arc;

use super::AcceptorBuilder;
use crate::websocket::WebSockets;

pub(crate) use handshake::Handshake;

impl AcceptorBuilder {
    /// Sets how WebSockets become connections. They do so by default: see [`WebSockets`]. This
    /// builder's status and methods do not apply to WebSockets; its header fields do.
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.settings.websockets = Some(Arc::new(websockets));
        self
    }

    /// Refuses WebSockets with 501, and a text that says so. Without the feature `websocket` every acceptor does, with a
    /// text that names the feature.
    pub fn no_websockets(mut self) -> Self {
        self.settings.websockets = None;
        self
    }
}
