//! WebSockets at an acceptor (feature `websocket`): over HTTP/1.1 (RFC 6455) and over HTTP/2
//! (RFC 8441).

use std::sync::Arc;

use super::{AcceptError, AcceptorBuilder};
use crate::websocket::{Refusal, WebSockets};

impl From<Refusal> for AcceptError {
    fn from(refusal: Refusal) -> AcceptError {
        let Refusal { status, text, fields } = refusal;
        fields.into_iter().fold(AcceptError::new(status, text), |error, (name, value)| {
            error.with_field(name, value)
        })
    }
}

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
