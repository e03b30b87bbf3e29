//! The task that moves a connection's bytes as messages in both directions, and handles its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::close;
use super::lines::Unsendable;
use super::messages::{Messages, Outgoing};
use super::wire::Wire;
use super::{Upgrade, Upgraded};
use crate::conn::{Stream, Wish, runtime_is_gone};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::hosted::{Limits, Linger, Lingering, Server};

/// The messages that are moved in each direction before other tasks run.
const TURN: usize = 64;

/// The cost of a pong in addition to its payload.
const PONG: usize = 16;

/// Bytes of pongs that may wait for a client that does not read them.
const PONGS: usize = 64 << 10;

/// The socket that tungstenite works on.
pub(super) type Socket<T> = WebSocketStream<Wire<T>>;

/// One connection, from its acceptance to its end.
pub(crate) struct Session {
    stream: Arc<Stream>,
    server: Arc<Server>,
    /// Bytes that may wait in the inbox.
    room: usize,
    messages: Messages,
    /// The bytes that the program writes, as messages.
    outgoing: Outgoing,
    /// Nothing more can be sent, because one side has sent its close frame.
    closed: bool,
    /// Bytes of pongs that the transport may not have taken.
    pongs: usize,
    /// The client's side has ended, well or not.
    received_end: bool,
    linger: Linger,
    over: bool,
    /// The close frame for an end that came before the transport.
    last_word: Option<CloseFrame>,
}

impl Session {
    pub(crate) fn new(
        stream: Arc<Stream>,
        server: Arc<Server>,
        limits: Limits,
        messages: Messages,
    ) -> Session {
        let Limits { room, linger } = limits;
        stream.inbox.set_threshold(room / 4);
        Session {
            stream,
            server,
            room,
            messages,
            outgoing: Outgoing::new(messages),
            closed: false,
            pongs: 0,
            received_end: false,
            linger: Linger::new(linger),
            over: false,
            last_word: None,
        }
    }

    /// Waits for the transport. `None` if the connection is over before there is one.
    pub(super) fn poll_upgrade(
        &mut self,
        cx: &mut Context<'_>,
        upgrade: &mut Upgrade,
    ) -> Poll<Option<Box<dyn Upgraded>>> {
        self.server.register_task(cx);
        if self.server.is_cut_off() {
            self.cut(&no_upgrade(None));
            return Poll::Ready(None);
        }
        match upgrade.poll(cx) {
            Poll::Ready(Ok(upgraded)) => return Poll::Ready(Some(upgraded)),
            Poll::Ready(Err(error)) => self.cut(&no_upgrade(Some(error))),
            Poll::Pending => match self.stream.wish() {
                Wish::Reset(reason) => {
                    self.last_word = Some(close::reset(reason));
                    self.cut(&reset_here(reason));
                }
                Wish::Close | Wish::Live | Wish::WriteOnly => {
                    match self.linger.poll(cx, &self.stream, false, 0) {
                        Lingering::GoesOn => {}
                        Lingering::Over(how) => self.finish(how),
                        Lingering::Stuck(ending) => self.give_up(&ending),
                    }
                }
            },
        }
        if self.over { Poll::Ready(None) } else { Poll::Pending }
    }

    /// The close frame that must be sent once the transport is there. It is given once.
    pub(super) fn take_last_word(&mut self) -> Option<CloseFrame> {
        self.last_word.take()
    }

    /// The connection, and its end of the server.
    pub(super) fn handles(&self) -> (Arc<Stream>, Arc<Server>) {
        (Arc::clone(&self.stream), Arc::clone(&self.server))
    }

    /// The part of the session that is needed after its end.
    pub(super) fn into_server(self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// Whether everything was sent, but the client has not confirmed it.
    pub(super) fn owes(&self) -> bool {
        self.stream.outbox.is_sent() && !self.received_end
    }

    /// Ready when the connection is over.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.server.register_task(cx);
        if let Wish::Reset(reason) = self.stream.wish() {
            self.say_why(socket, close::reset(reason));
            self.cut(&reset_here(reason));
        }
        self.receive(cx, socket);
        self.send(cx, socket);
        self.finish_up(cx, socket);
        if self.over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Takes received bytes while there is room for them.
    fn receive<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for _ in 0..TURN {
            self.stream.inbox.take_consumed();
            if self.received_end || self.over || self.is_full() {
                return;
            }
            let Poll::Ready(message) = Pin::new(&mut *socket).poll_next(cx) else { return };
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let bytes = self.messages.of_binary(bytes);
                    self.keep(socket, bytes);
                }
                Some(Ok(Message::Text(text))) => {
                    let bytes = self.messages.of_text(text);
                    self.keep(socket, bytes);
                }
                Some(Ok(Message::Close(frame))) => self.peer_closed(frame.as_ref()),
                // tungstenite is already sending the answer.
                Some(Ok(Message::Ping(payload))) => self.pongs += PONG + payload.len(),
                // A raw frame is never received.
                Some(Ok(Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => self.broken(socket, error),
                None => self.cut(&Ending::Gone(None)),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Whether to receive nothing for now: the user has enough to read, or the client does not read
    /// its pongs.
    fn is_full(&self) -> bool {
        self.stream.inbox.len() >= self.room || self.pongs > PONGS
    }

    /// Takes the bytes of a message, or refuses it.
    fn keep<S>(&mut self, socket: &mut Socket<S>, bytes: Result<Bytes, &str>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(why) => return self.refuse(socket, CloseCode::Unsupported, why),
        };
        self.linger.dropped(bytes.len());
        if !bytes.is_empty() {
            self.stream.inbox.push(&bytes);
        }
    }

    /// The client has said its last word, and does not listen any more.
    fn peer_closed(&mut self, frame: Option<&CloseFrame>) {
        if let Err(ending) = close::meaning(frame) {
            return self.cut(&ending);
        }
        self.received_end = true;
        if !self.closed {
            self.closed = true;
            let error = Error::new(ErrorKind::Closed, PEER_CLOSED).by_the_peer();
            self.stream.outbox.finish_with(error.clone());
            // The answer to the client's close frame is this side's end, and the socket sends
            // it.
            if !self.outgoing.take_end(&self.stream.outbox) {
                self.stream.outbox.fail(error);
            }
        }
        // Finish the read side last: a task that reads the end must not find the write side open.
        self.stream.inbox.finish(Ok(()));
    }

    /// Hands over the bytes to be sent, as far as the transport takes them.
    fn send<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(error) = self.try_send(cx, socket) {
            self.broken(socket, error);
        }
        if let Some(error) = socket.get_mut().take_failure() {
            self.unheard(error);
        }
    }

    /// Nothing more can be written. Bytes that the client has sent before can still be read.
    fn unheard(&mut self, error: io::Error) {
        if self.received_end && !self.stream.outbox.has_unsent_bytes() {
            // The client did not wait for the answer to its close frame.
            return self.stream.outbox.mark_sent(self.outgoing.position());
        }
        let error = Ending::Gone(Some(Arc::new(error))).write_error();
        self.closed = true;
        self.stream.outbox.fail(error.clone());
        // A task that does not read must be told too.
        self.stream.set_done(Err(error));
    }

    fn try_send<S>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket<S>,
    ) -> Result<(), tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for turn in 0.. {
            if self.closed || self.over || Pin::new(&mut *socket).poll_ready(cx)?.is_pending() {
                break;
            }
            if turn == TURN {
                cx.waker().wake_by_ref();
                break;
            }
            let next = match self.outgoing.next(&self.stream.outbox) {
                Ok(Some(next)) => next,
                Ok(None) => break,
                Err(unsendable) => {
                    self.unsendable(socket, unsendable);
                    break;
                }
            };
            if let Some(message) = next.message {
                Pin::new(&mut *socket).start_send(message)?;
            }
            if next.end {
                self.closed = true;
                let end = close::end(self.server.is_draining());
                Pin::new(&mut *socket).start_send(Message::Close(Some(end)))?;
            }
        }
        // After the close, tungstenite's flush does not flush the transport.
        let flushed = Pin::new(&mut *socket).poll_flush(cx)?.is_ready()
            && Pin::new(socket.get_mut()).poll_flush(cx)?.is_ready();
        if flushed {
            if self.pongs > PONGS {
                cx.waker().wake_by_ref();
            }
            self.pongs = 0;
            if !socket.get_ref().is_broken() {
                self.stream.outbox.mark_sent(self.outgoing.position());
            }
        }
        Ok(())
    }

    /// Ends a connection whose program has written what no text message can hold.
    fn unsendable<S>(&mut self, socket: &mut Socket<S>, unsendable: Unsendable)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.say_why(socket, close::refusal(CloseCode::Error, unsendable.told()));
        let error = Error::new(ErrorKind::InvalidInput, unsendable.message());
        self.cut(&Ending::Failed(error));
    }

    /// Handles the end: the user's wish, and the remaining waits.
    fn finish_up<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.over {
            return;
        }
        let written = socket.get_ref().written();
        match self.linger.poll(cx, &self.stream, self.received_end, written) {
            Lingering::GoesOn => {}
            Lingering::Over(how) => self.finish(how),
            Lingering::Stuck(ending) => {
                self.say_why(socket, close::reset(Reason::CANCEL));
                self.give_up(&ending);
            }
        }
    }

    fn give_up(&mut self, ending: &Ending) {
        self.stream.reset(Reason::CANCEL, ending.to_string());
        self.cut(ending);
    }

    /// Ends a connection whose client has violated the rules.
    fn refuse<S>(&mut self, socket: &mut Socket<S>, code: CloseCode, why: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.say_why(socket, close::refusal(code, why));
        let message = format!("the peer was told {}: {why}", u16::from(code));
        let error = Error::new(ErrorKind::Protocol, message).by_the_peer();
        self.cut(&Ending::Failed(error.with_reason(Reason::PROTOCOL_ERROR)));
    }

    fn broken<S>(&mut self, socket: &mut Socket<S>, error: tungstenite::Error)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        use tungstenite::Error::{Capacity, Protocol, Utf8};
        let code = match &error {
            Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return self.cut(&Ending::Gone(None));
            }
            Protocol(_) => CloseCode::Protocol,
            Capacity(_) => CloseCode::Size,
            Utf8(_) => CloseCode::Invalid,
            _ => return self.cut(&Ending::Gone(Some(Arc::new(into_io(error))))),
        };
        self.refuse(socket, code, &error.to_string());
    }

    /// Sends the close frame that says how the connection ends, unless one has been sent.
    fn say_why<S>(&mut self, socket: &mut Socket<S>, frame: CloseFrame)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.closed && !self.over {
            self.closed = true;
            // If the frame does not get through, the end of the transport says enough.
            let _ = Pin::new(socket).start_send(Message::Close(Some(frame)));
        }
    }

    /// Fails everything that is not yet over.
    fn cut(&mut self, ending: &Ending) {
        if self.over {
            return;
        }
        let (read, write) = (ending.read_error(), ending.write_error());
        let how = Err(if self.received_end { write.clone() } else { read.clone() });
        self.stream.cut(read, write);
        self.finish(how);
    }

    fn finish(&mut self, how: Result<(), Error>) {
        self.over = true;
        self.stream.set_done(how);
    }
}

fn reset_here(reason: Reason) -> Ending {
    Ending::Local(reason, "the connection was reset on this side".into())
}

fn no_upgrade(error: Option<hyper::Error>) -> Ending {
    let message = "the server has not handed over the transport of the WebSocket: the response was \
                   dropped, or the server does not serve upgrades (hyper: with_upgrades)";
    let dropped = Error::new(ErrorKind::Truncated, message);
    Ending::Failed(match error {
        Some(error) => dropped.with_source(error),
        None => dropped,
    })
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

const PEER_CLOSED: &str = "the peer has closed the WebSocket, and takes nothing more: what was \
                           not yet sent is lost";

/// A session that ends before its stream, with its runtime or by a panic, fails the stream.
impl Drop for Session {
    fn drop(&mut self) {
        if !self.over {
            let error = runtime_is_gone();
            self.stream.cut(error.clone(), error.clone());
            self.finish(Err(error));
        }
    }
}
