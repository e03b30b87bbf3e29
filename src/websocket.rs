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

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::request;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::alive::{Counted, Kind};
use crate::conn::{Conn, Shutdown, Stream};
use crate::hosted::{Place, Server, cut};
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
pub(crate) enum Upgrade {
    /// By hyper, once the request has been answered.
    Hyper(OnUpgrade),
    /// The stream of a server of this crate.
    Stream(Conn),
    Taken,
}

/// A transport that was handed over.
trait Upgraded: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Upgraded for T {}

impl Upgrade {
    /// A request without it is refused by `accept::websocket::Handshake::of`. But parts of a
    /// request can be copied, and accepted twice.
    pub(crate) fn of(request: &mut request::Parts) -> Upgrade {
        request.extensions.remove::<OnUpgrade>().map_or(Upgrade::Taken, Upgrade::Hyper)
    }

    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Upgrade::Taken)
    }

    /// Waits for the transport.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<dyn Upgraded>, hyper::Error>> {
        match self {
            Upgrade::Hyper(upgrade) => {
                let upgraded = ready!(Pin::new(upgrade).poll(cx))?;
                Poll::Ready(Ok(Box::new(TokioIo::new(upgraded))))
            }
            Upgrade::Stream(_) => match std::mem::replace(self, Upgrade::Taken) {
                Upgrade::Stream(conn) => Poll::Ready(Ok(Box::new(conn))),
                _ => Poll::Pending,
            },
            Upgrade::Taken => Poll::Pending,
        }
    }
}

/// How long to wait for a transport, to tell its client of a reset that came before it.
const UPGRADE: Duration = Duration::from_secs(1);

/// Moves the bytes of a connection from the time when its request has been answered.
pub(crate) async fn run(
    mut session: Session,
    mut upgrade: Upgrade,
    max_message_size: usize,
    shutdown: Option<Shutdown>,
    _place: Place,
) {
    let _counted = Counted::new(Kind::Task);
    let mut upgraded = poll_fn(|cx| session.poll_upgrade(cx, &mut upgrade)).await;
    let last_word = session.take_last_word();
    if last_word.is_some() {
        // The user has been told already. The response may be in transit.
        let late = timeout(UPGRADE, poll_fn(|cx| upgrade.poll(cx))).await;
        upgraded = late.ok().and_then(|upgraded| upgraded.ok());
    }
    let Some(transport) = upgraded else { return };
    let wire = Wire::new(transport);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size));
    let mut socket = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
    let mut ending = pin!(end_with(shutdown, session.handles()));
    tokio::select! {
        () = poll_fn(|cx| session.poll(cx, &mut socket)) => {}
        () = &mut ending => {}
    }
    let farewell = Farewell { last_word, owes: session.owes() };
    let server = session.into_server();
    // The client must learn how the connection ended before its transport ends (RFC 6455 §7.1.1).
    tokio::select! {
        () = farewell.say(socket) => {}
        () = server.cut() => {}
        () = ending => {}
    }
}

/// Tells a connection of the end of the server that it came from. Never ready.
async fn end_with(shutdown: Option<Shutdown>, (stream, server): (Arc<Stream>, Arc<Server>)) {
    if let Some(mut shutdown) = shutdown {
        shutdown.begins().await;
        server.set_draining();
        shutdown.is_cut().await;
        cut(&stream, &server);
    }
    std::future::pending().await
}
