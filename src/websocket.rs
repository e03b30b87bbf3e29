//! WebSockets as connections (feature `websocket`): over HTTP/1.1 (RFC 6455) and over HTTP/2
//! (RFC 8441).
//!
//! ```text
//! user write ─► outbox ─► Session ─► messages ─► the transport
//! inbox ◄─ Session ◄─ messages ◄─ the transport
//! ```

mod carrier;
mod close;
mod farewell;
mod handshake;
mod lines;
mod marks;
mod messages;
mod pulse;
mod session;
mod settings;
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
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::alive::{Counted, Kind};
use crate::conn::{Account, Conn, Ridden, Shutdown, Stream};
use crate::error::{Error, Reason};
use crate::hosted::{SHUTTING_DOWN, Server};
use farewell::Farewell;
use wire::Wire;

pub(crate) use carrier::MessageCarrier;
pub(crate) use handshake::{Handshake, Refusal};
pub(crate) use marks::{PLAIN, SUBPROTOCOL};
pub(crate) use messages::Messages;
pub(crate) use pulse::{KeepAlive, Pulse};
pub(crate) use session::Session;
use session::Turn;
pub use settings::WebSockets;
pub(crate) use tokio_tungstenite::tungstenite::protocol::Role;

/// Idle connections keep this buffer too. It is cleared before each read.
const READ_BUFFER: usize = 16 << 10;

/// Messages go to the transport together when there are this many bytes, and at the end of a turn.
const WRITE_BUFFER: usize = 64 << 10;

/// The transport that will be handed over.
pub(crate) enum Upgrade {
    /// By hyper: a server's once the request has been answered, a client's with the answer.
    Hyper(OnUpgrade),
    /// A stream of a link of this crate.
    Stream(Conn),
    Taken,
}

/// A transport that was handed over.
trait Upgraded: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Upgraded for T {}

impl Upgrade {
    /// A request without it is refused by `Handshake::of`. But parts of a
    /// request can be copied, and accepted twice.
    pub(crate) fn of(request: &mut request::Parts) -> Upgrade {
        request.extensions.remove::<OnUpgrade>().map_or(Upgrade::Taken, Upgrade::Hyper)
    }

    /// A stream of a server of this crate, with the end of its link and the account of what the WebSocket holds.
    pub(crate) fn onto(stream: Arc<Stream>) -> (Upgrade, Shutdown, Box<dyn Account>) {
        // The WebSocket says how it ends.
        stream.reset_on_drop(false);
        let (shutdown, account) = (Shutdown::of_link(&stream), Ridden::new(&stream));
        (Upgrade::Stream(Conn::new(stream)), shutdown, Box::new(account))
    }

    /// A stream of a client's link that was answered, with the end of its link.
    pub(crate) fn onto_answered(conn: Conn, stream: &Stream) -> (Upgrade, Shutdown) {
        // The WebSocket says how it ends, and reports it.
        stream.reset_on_drop(false);
        stream.leave_to_rider();
        (Upgrade::Stream(conn), Shutdown::of_link(stream))
    }

    /// The transport of an answer with the status 101.
    pub(crate) fn of_answer(upgrade: OnUpgrade) -> Upgrade {
        Upgrade::Hyper(upgrade)
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

/// How long the reset of a connection may take to leave when the server's time is up.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The bytes that may lie unread at a WebSocket on a stream with this window, in addition to those of the stream: one part
/// is read while the other one fills.
pub(crate) fn room_on_stream(window: u32) -> usize {
    (window / 4).max(1) as usize
}

pub(crate) const WITH_CONTENT: &str = "a request for a WebSocket must have no content";

/// Moves the bytes of a connection from the time when its request has been answered. Returns the reason why bytes may be
/// lost of which no user can be told.
pub(crate) async fn run(
    mut session: Session,
    mut upgrade: Upgrade,
    max_message_size: usize,
    shutdown: Option<Shutdown>,
) -> Option<Error> {
    let _counted = Counted::new(Kind::Task);
    let mut upgraded = poll_fn(|cx| session.poll_upgrade(cx, &mut upgrade)).await;
    let last_words = session.take_last_words();
    if !last_words.is_empty() {
        // The user has been told already. The response may be in transit.
        let late = timeout(UPGRADE, poll_fn(|cx| upgrade.poll(cx))).await;
        upgraded = late.ok().and_then(|upgraded| upgraded.ok());
    }
    let Some(transport) = upgraded else { return session.take_loss() };
    let wire = Wire::new(transport);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size));
    let mut socket = WebSocketStream::from_raw_socket(wire, session.role(), Some(config)).await;
    let mut ending = pin!(end_with(shutdown, session.handles()));
    loop {
        let turn = tokio::select! {
            turn = poll_fn(|cx| session.poll(cx, &mut socket)) => turn,
            () = &mut ending => break,
        };
        match turn {
            Turn::Over => break,
            // tungstenite does not free its buffers.
            Turn::Shrink => {
                let wire = socket.into_inner();
                socket = WebSocketStream::from_raw_socket(wire, session.role(), Some(config)).await;
            }
        }
    }
    let owes = session.owes();
    let farewell = Farewell { last_words, owes, account: session.take_account() };
    let loss = session.take_loss().or(session.take_unconfirmed());
    let server = session.into_server();
    // The peer must learn how the connection ended before its transport ends (RFC 6455 §7.1.1).
    let is_confirmed = tokio::select! {
        is_confirmed = farewell.say(socket) => is_confirmed,
        () = server.cut() => false,
        () = ending => false,
    };
    loss.filter(|_| !(owes && is_confirmed))
}

/// Tells a connection of the end of the server that it came from. Never ready.
async fn end_with(shutdown: Option<Shutdown>, (stream, server): (Arc<Stream>, Arc<Server>)) {
    if let Some(mut shutdown) = shutdown {
        shutdown.begins().await;
        server.set_draining();
        shutdown.is_cut().await;
        stream.reset(Reason::CANCEL, SHUTTING_DOWN);
        sleep(LAST_WORD).await;
        server.set_cut();
    }
    std::future::pending().await
}
