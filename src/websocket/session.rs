//! The task that moves a connection's bytes as messages in both directions: its state, its turn, and receiving.

mod ending;
mod sending;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, protocol::CloseFrame};

use super::carrier::MessageCarrier;
use super::close;
use super::marks::Mark;
use super::messages::{Messages, Outgoing};
use super::pulse::Pulse;
use super::wire::Wire;
use super::{Upgrade, Upgraded};
use crate::conn::{Account, MustEnd, Stream, Wish, runtime_is_gone};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::hosted::{Limits, Linger, Lingering, Server};
use crate::observe::hoarder_reset;

/// The messages that are moved in each direction before other tasks run.
const TURN: usize = 64;

/// The cost of a pong in addition to its payload.
const PONG: usize = 16;

/// The longest header of a frame without content (RFC 6455 §5.2).
const HEADER: usize = 6;

/// Bytes of pongs that may wait for a peer that does not read them.
const PONGS: usize = 64 << 10;

/// The room for a longer frame is not kept for ever.
const LARGE: u64 = 64 << 10;

/// The outcome of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection is over.
    Over,
    /// The buffers of the socket are large and hold nothing: another socket must go on with the
    /// transport.
    Shrink,
}

/// The socket that tungstenite works on.
pub(super) type Socket<T> = WebSocketStream<Wire<T>>;

/// One connection, from its acceptance to its end.
pub(crate) struct Session {
    stream: Arc<Stream>,
    carrier: Arc<MessageCarrier>,
    server: Arc<Server>,
    role: Role,
    /// Bytes that may wait in the inbox.
    room: usize,
    messages: Messages,
    /// The bytes that the program writes, as messages.
    outgoing: Outgoing,
    pulse: Pulse,
    /// Of a connection of a server of this crate.
    account: Option<Box<dyn Account>>,
    /// Nothing more can be sent, because one side has sent its close frame.
    closed: bool,
    /// This side's end is sent. Without marks it is the close frame.
    sent_end: bool,
    /// The transport has not taken everything.
    is_blocked: bool,
    /// Bytes of pongs that the transport may not have taken.
    pongs: usize,
    /// The bytes that had come with the last whole message.
    whole: u64,
    /// Of what has come, the socket holds no whole message.
    has_taken_all: bool,
    /// The socket has room that was not needed for a while.
    must_shrink: bool,
    /// The peer's side has ended in order. Without marks that is the close frame.
    received_end: bool,
    /// The peer's close frame has come, so nothing else comes from it.
    received_close: bool,
    /// The client was told that the server takes no more connections.
    told_draining: bool,
    linger: Linger,
    over: bool,
    /// The messages for an end that came before the transport.
    last_words: Vec<Message>,
    /// The reason why bytes may be lost of which no user can be told.
    loss: Option<Error>,
    /// The same, if the peer never confirms that it has everything.
    unconfirmed: Option<Error>,
}

impl Session {
    pub(crate) fn new(
        stream: Arc<Stream>,
        carrier: Arc<MessageCarrier>,
        role: Role,
        limits: Limits,
        messages: Messages,
        pulse: Pulse,
    ) -> Session {
        let Limits { room, linger } = limits;
        stream.inbox.set_threshold(room / 4);
        Session {
            stream,
            server: Arc::clone(carrier.server()),
            carrier,
            role,
            room,
            messages,
            outgoing: Outgoing::new(messages),
            pulse,
            account: None,
            closed: false,
            sent_end: false,
            is_blocked: false,
            pongs: 0,
            whole: 0,
            has_taken_all: false,
            must_shrink: false,
            received_end: false,
            received_close: false,
            told_draining: false,
            linger: match (messages.are_marked(), role) {
                (false, _) => Linger::asked_at_the_end(linger),
                (true, Role::Client) => Linger::acknowledged(linger, Reason::CANCEL),
                (true, Role::Server) => Linger::acknowledged(linger, Reason::NO_ERROR),
            },
            over: false,
            last_words: Vec::new(),
            loss: None,
            unconfirmed: None,
        }
    }

    /// Counts what the connection holds in this account.
    pub(crate) fn count_in(&mut self, account: Box<dyn Account>) {
        self.stream.inbox.set_threshold(account.threshold().min(self.room / 4));
        self.account = Some(account);
    }

    /// The account, for the end of the transport, which may still receive a message.
    pub(super) fn take_account(&mut self) -> Option<Box<dyn Account>> {
        self.account.take()
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
                    if self.messages.are_marked() {
                        self.last_words.push(Mark::Reset(reason).message());
                    }
                    self.last_words.push(Message::Close(Some(close::reset(reason))));
                    self.cut(&reset_here(reason));
                }
                Wish::Close | Wish::Live | Wish::WriteOnly => {
                    match self.linger.poll(cx, &self.stream, false, 0) {
                        Lingering::GoesOn | Lingering::Ask => {}
                        Lingering::Over(_, how) => self.finish(how),
                        Lingering::Stuck(ending) => self.cut(&ending),
                    }
                }
            },
        }
        if self.over { Poll::Ready(None) } else { Poll::Pending }
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// The messages that must be sent once the transport is there. They are given once.
    pub(super) fn take_last_words(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.last_words)
    }

    /// The reason why bytes may be lost of which no user can be told.
    pub(super) fn take_loss(&mut self) -> Option<Error> {
        self.loss.take()
    }

    /// The loss of a connection whose user has let it go, if the peer never confirms that it has everything.
    pub(super) fn take_unconfirmed(&mut self) -> Option<Error> {
        self.unconfirmed.take()
    }

    /// The connection, and its end of the server.
    pub(super) fn handles(&self) -> (Arc<Stream>, Arc<Server>) {
        (Arc::clone(&self.stream), Arc::clone(&self.server))
    }

    /// The part of the session that is needed after its end.
    pub(super) fn into_server(self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// Whether everything was sent, but the peer has not confirmed it by its close frame. With marks it has, or this side
    /// has given it up.
    pub(super) fn owes(&self) -> bool {
        self.stream.outbox.is_sent() && !self.received_close && !self.messages.are_marked()
    }

    /// Ready when the connection is over, or needs another socket.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>) -> Poll<Turn>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.server.register_task(cx);
        if let Wish::Reset(reason) = self.stream.wish() {
            self.say_reset(socket, reason);
            self.cut(&reset_here(reason));
        }
        // Also before: a link that makes room has cut the transport, and an error there says less.
        self.keep_account(cx, socket);
        self.receive(cx, socket);
        self.keep_account(cx, socket);
        self.send(cx, socket);
        self.beat(cx, socket);
        self.finish_up(cx, socket);
        if self.over {
            return Poll::Ready(Turn::Over);
        }
        if self.must_shrink && self.can_shrink(cx, socket) {
            self.must_shrink = false;
            return Poll::Ready(Turn::Shrink);
        }
        Poll::Pending
    }

    /// Whether the socket holds nothing that would be lost with it.
    fn can_shrink<S>(&self, cx: &mut Context<'_>, socket: &mut Socket<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let is_ending = self.closed || self.received_close || self.sent_end;
        if is_ending || !self.has_taken_all || !socket.get_mut().frames().are_whole() {
            return false;
        }
        // A ping, or the answer to one, may have come into its output in this turn.
        matches!(Pin::new(socket).poll_flush(cx), Poll::Ready(Ok(())))
    }

    /// Takes received bytes while there is room for them.
    fn receive<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.has_taken_all = false;
        for _ in 0..TURN {
            self.stream.inbox.take_consumed();
            if self.received_close || self.over {
                return;
            }
            if self.is_full() {
                return;
            }
            let Poll::Ready(message) = Pin::new(&mut *socket).poll_next(cx) else {
                self.has_taken_all = true;
                return;
            };
            match &message {
                // They may come amid a message.
                Some(Ok(Message::Ping(payload) | Message::Pong(payload))) => {
                    self.whole += (HEADER + payload.len()) as u64;
                }
                _ => self.whole = socket.get_ref().read(),
            }
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let mark = self.messages.of_binary(bytes);
                    self.take(socket, mark);
                }
                Some(Ok(Message::Text(text))) => {
                    let mark = self.messages.of_text(text);
                    self.take(socket, mark);
                }
                Some(Ok(Message::Close(frame))) => self.peer_closed(frame.as_ref()),
                // tungstenite is already sending the answer.
                Some(Ok(Message::Ping(payload))) => self.pongs += PONG + payload.len(),
                Some(Ok(Message::Pong(payload))) => {
                    if let Some(proof) = self.pulse.answered(&payload) {
                        self.linger.answered(proof);
                    }
                }
                // A raw frame is never received.
                Some(Ok(Message::Frame(_))) => {}
                Some(Err(error)) => self.broken(socket, error),
                None => self.cut(&Ending::Gone(None)),
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Tells how much lies unread, and makes room for others if this is too much.
    fn keep_account<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.over {
            return;
        }
        let Some(account) = &mut self.account else { return };
        // A message is held while it comes.
        let coming = socket.get_ref().read().saturating_sub(self.whole) as usize;
        let Some(must_end) = account.holds(self.stream.inbox.len(), coming) else { return };
        let MustEnd { text, is_reported } = must_end;
        if !is_reported {
            hoarder_reset(&self.stream.link.peer, &text);
        }
        let ending = Ending::Local(Reason::ENHANCE_YOUR_CALM, text.into());
        self.say_reset(socket, Reason::ENHANCE_YOUR_CALM);
        self.flush(cx, socket);
        self.stream.inbox.abort(ending.read_error());
        self.cut(&ending);
    }

    /// Whether to receive nothing for now: the user has enough to read, or the peer does not read
    /// its pongs.
    fn is_full(&self) -> bool {
        self.waits_for_reader() || self.pongs > PONGS
    }

    /// Whether the user has enough to read. The peer can show no life then. One that does not read
    /// its pongs could.
    fn waits_for_reader(&self) -> bool {
        self.stream.inbox.len() >= self.room
    }

    /// Acts on a message, or refuses it.
    fn take<S>(&mut self, socket: &mut Socket<S>, mark: Result<Mark, &str>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // A peer that sends need not receive.
        if matches!(mark, Ok(Mark::Here(true) | Mark::End)) {
            self.pulse.progress();
        }
        match mark {
            Ok(Mark::Data(_) | Mark::End) if self.received_end => {
                self.refuse(socket, CloseCode::Protocol, "the sender had ended its side before");
            }
            Ok(Mark::Data(bytes)) => self.keep(&bytes),
            Ok(Mark::End) => {
                self.received_end = true;
                self.stream.inbox.finish(Ok(()));
            }
            Ok(Mark::Reset(reason)) => self.cut(&Ending::Reset(reason)),
            // A client that goes away concerns only its own end.
            Ok(Mark::Draining) if self.role == Role::Client => self.server.set_draining(),
            Ok(Mark::Draining | Mark::Here(_) | Mark::Unknown) => {}
            Err(why) => self.refuse(socket, CloseCode::Unsupported, why),
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.linger.dropped(bytes.len());
        if !bytes.is_empty() {
            self.stream.inbox.push(bytes);
            self.pulse.received();
            // Bytes that nobody will read do not make a connection live longer.
            let is_wanted = self.stream.wish() != Wish::Close;
            if let Some(quiet) = self.pulse.quiet() {
                quiet.look_at(&self.stream, is_wanted);
            }
        }
    }

    /// The peer has said its last word, and does not listen any more.
    fn peer_closed(&mut self, frame: Option<&CloseFrame>) {
        self.received_close = true;
        if let Err(ending) = close::meaning(frame) {
            return self.cut(&ending);
        }
        if self.messages.are_marked() {
            self.closed = true;
            if !(self.received_end && self.sent_end) {
                // Both sides end by their marks first.
                self.cut(&Ending::Gone(None));
            }
            return;
        }
        self.received_end = true;
        if !self.closed {
            self.closed = true;
            let error = Error::new(ErrorKind::Closed, PEER_CLOSED).by_the_peer();
            self.stream.outbox.finish_with(error.clone());
            // The answer to the peer's close frame is this side's end, and the socket sends
            // it.
            if !self.outgoing.take_end(&self.stream.outbox) {
                self.note_loss(&error);
                self.stream.outbox.fail(error);
            }
        }
        // Finish the read side last: a task that reads the end must not find the write side open.
        self.stream.inbox.finish(Ok(()));
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
