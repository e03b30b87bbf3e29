//! WebSockets as connections (feature `websocket`): over HTTP/1.1 (RFC 6455) and over HTTP/2
//! (RFC 8441).
//!
//! ```text
//! user write ─► outbox ─► Session ─► messages ─► the server's transport
//! inbox ◄─ Session ◄─ messages ◄─ the server's transport
//! ```

mod carrier;
mod close;
mod farewell;
mod lines;
mod messages;
mod session;
mod wire;

use std::future::poll_fn;
use std::time::Duration;

use http::request;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::alive::{Counted, Kind};
use crate::hosted::Place;
use farewell::Farewell;
use wire::Wire;

pub(crate) use carrier::MessageCarrier;
pub(crate) use messages::Messages;
pub(crate) use session::Session;

/// Idle connections keep this buffer too. It is cleared before each read.
const READ_BUFFER: usize = 16 << 10;

/// Messages go to the transport together when there are this many bytes, and at the end of a turn.
const WRITE_BUFFER: usize = 64 << 10;

/// The transport that the server will hand over.
pub(crate) fn upgrade(request: &mut request::Parts) -> OnUpgrade {
    let upgrade = request.extensions.remove::<OnUpgrade>();
    upgrade.expect("a request without it is refused by `accept::websocket::Handshake::of`")
}

/// How long to wait for a transport, to tell its client of a reset that came before it.
const UPGRADE: Duration = Duration::from_secs(1);

/// Moves the bytes of a connection from the time when its request has been answered.
pub(crate) async fn run(
    mut session: Session,
    mut upgrade: OnUpgrade,
    max_message_size: usize,
    _place: Place,
) {
    let _counted = Counted::new(Kind::Task);
    let mut upgraded = poll_fn(|cx| session.poll_upgrade(cx, &mut upgrade)).await;
    let last_word = session.take_last_word();
    if last_word.is_some() {
        // The user has been told already. The response may be in transit.
        upgraded = timeout(UPGRADE, upgrade).await.ok().and_then(|upgraded| upgraded.ok());
    }
    let Some(transport) = upgraded.map(TokioIo::new) else { return };
    let wire = Wire::new(transport);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size));
    let mut socket = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
    poll_fn(|cx| session.poll(cx, &mut socket)).await;
    let farewell = Farewell { last_word, owes: session.owes() };
    let server = session.into_server();
    // The client must learn how the connection ended before its transport ends (RFC 6455 §7.1.1).
    tokio::select! {
        () = farewell.say(socket) => {}
        () = server.cut() => {}
    }
}
