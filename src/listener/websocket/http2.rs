//! WebSockets over HTTP/2 at a listener (RFC 8441 §5). Until the program accepts it, a request for one
//! is a request of its link like any other. Then a session rides on its stream.
//!
//! ```text
//! Listener::admit ─► Http2::admit: Asked, in the Incoming
//!                      ├─► Asked::accept: 200, and a Session with the stream as its transport
//!                      └─► a refusal, or 503 where the Incoming is dropped
//! ```

use std::sync::{Arc, Weak};

use http::{Response, StatusCode, header, response};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{NOT_TAKEN, session, stream};
use crate::config::{Config, WEBSOCKET};
use crate::conn::{Conn, Stream, Transport};
use crate::error::Result;
use crate::hosted;
use crate::listener::Shared;
use crate::listener::incoming::{Incoming, answer, plain};
use crate::websocket::{
    Handshake, MessageCarrier, Refusal, Upgrade, WebSockets, room_on_stream, run,
};

/// The server for WebSockets on a listener's links. A request that is held must not keep the links.
#[derive(Debug)]
pub(in crate::listener) struct Http2 {
    websockets: Arc<WebSockets>,
    config: Config,
    shared: Weak<Shared>,
    /// A request may be accepted outside of the runtime.
    runtime: Handle,
}

impl Http2 {
    pub(in crate::listener) fn new(
        websockets: &Arc<WebSockets>,
        config: &Config,
        shared: &Arc<Shared>,
    ) -> Arc<Http2> {
        Arc::new(Http2 {
            websockets: Arc::clone(websockets),
            config: config.clone(),
            shared: Arc::downgrade(shared),
            runtime: Handle::current(),
        })
    }

    /// Whether a request asks for a WebSocket. Case does not matter, as with the other protocols.
    pub(in crate::listener) fn is_asked_for(transport: &Transport) -> bool {
        transport.protocol().is_some_and(|protocol| protocol.eq_ignore_ascii_case(WEBSOCKET))
    }

    /// Refuses a request that is invalid.
    pub(in crate::listener) fn admit(self: &Arc<Self>, incoming: Incoming) -> Option<Incoming> {
        let (uri, headers) = (incoming.uri(), incoming.headers());
        match Handshake::of_connect(uri, headers, &self.websockets) {
            Ok(handshake) => {
                let asked = Asked { server: Arc::clone(self), handshake };
                Some(incoming.for_websocket(asked))
            }
            Err(Refusal { status, text, fields }) => {
                incoming.refuse(status, fields, &text);
                None
            }
        }
    }
}

/// A valid request for a WebSocket, which waits for the program.
#[derive(Debug)]
pub(in crate::listener) struct Asked {
    server: Arc<Http2>,
    handshake: Handshake,
}

impl Asked {
    /// Accepts the request, and begins the connection that rides on its stream.
    ///
    /// # Errors
    ///
    /// Fails with the error that ended the stream, if the client has gone already.
    pub(in crate::listener) fn accept(
        self,
        below: Arc<Stream>,
        head: response::Parts,
    ) -> Result<Conn> {
        let Asked { server, handshake } = self;
        let Http2 { websockets, config, shared, runtime } = &*server;
        let (head, ()) = handshake.answer(Response::from_parts(head, ())).into_parts();
        if let Err(error) = below.accept(head.clone()) {
            // Nobody reads what has come of it.
            drop(Conn::new(below));
            return Err(error);
        }
        let carrier = MessageCarrier::new(&hosted::Server::new());
        // The request counts in the memory of its link as long as the program has the connection.
        carrier.ask(handshake.clone(), Box::new(Arc::clone(&below)));
        let (request, buffers) = (below.request.clone(), below.outbox.buffers());
        let stream = stream(config, request, &handshake, &below.link, &carrier, buffers);
        stream.set_answer(Ok(head));
        below.leave_to_rider();
        let room = room_on_stream(config.window);
        let (mut session, most) = session(websockets, config, room, &handshake, &stream, &carrier);
        let (upgrade, shutdown, account) = Upgrade::onto(below);
        session.count_in(account);
        let shared = Weak::clone(shared);
        // A drain waits until the loss is noted.
        let rider = shared.upgrade().map(|shared| shared.links.mount());
        runtime.spawn(async move {
            if run(session, upgrade, most, Some(shutdown)).await.is_some()
                && let Some(shared) = shared.upgrade()
            {
                shared.links.note_loss(Instant::now());
            }
            drop(rider);
        });
        Ok(Conn::new(stream))
    }
}

/// Answers a request for a WebSocket that the program has dropped.
pub(in crate::listener) fn not_taken(stream: Arc<Stream>) {
    let retry = [(header::RETRY_AFTER, "1")];
    answer(stream, plain(StatusCode::SERVICE_UNAVAILABLE, retry, NOT_TAKEN));
}
