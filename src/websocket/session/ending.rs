//! The ends of a session, good and bad.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::{Session, Socket};
use crate::conn::Wish;
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::hosted::Lingering;
use crate::websocket::close;
use crate::websocket::marks::Mark;

impl Session {
    /// Handles the end: the user's wish, and the remaining waits.
    pub(super) fn finish_up<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.over {
            return;
        }
        let written = socket.get_ref().written();
        // The peer's close frame confirms that it has received everything.
        let is_ended = self.received_end && self.received_close;
        match self.linger.poll(cx, &self.stream, is_ended, written) {
            Lingering::GoesOn => {}
            Lingering::Over(reason, how) => {
                if let Some(reason) = reason {
                    self.say_reset(socket, reason);
                    self.flush(cx, socket);
                }
                self.finish(how);
            }
            Lingering::Stuck(ending) => {
                self.say_reset(socket, Reason::CANCEL);
                self.cut(&ending);
            }
            Lingering::Ask => {
                self.ask(cx, socket);
                // Its clock must be set.
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Asks whether the peer has everything. Without marks it was asked before the close frame.
    fn ask<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.messages.are_marked() {
            let (payload, number) = self.pulse.ask_for_proof();
            self.linger.asked(number);
            return self.post(cx, socket, Message::Ping(payload));
        }
        match self.pulse.awaited_proof() {
            Some(number) => self.linger.asked(number),
            // It has answered, or there was nothing to ask for.
            None => {
                self.linger.asked(0);
                self.linger.answered(0);
            }
        }
    }

    /// Sends what is queued, as far as the transport takes it.
    pub(super) fn flush<S>(&self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let _ = Pin::new(&mut *socket).poll_flush(cx);
    }

    /// Ends a connection whose peer has violated the rules.
    pub(super) fn refuse<S>(&mut self, socket: &mut Socket<S>, code: CloseCode, why: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.refuse_with(socket, code, why, "");
    }

    /// The same, with an advice for this side's user.
    fn refuse_with<S>(&mut self, socket: &mut Socket<S>, code: CloseCode, why: &str, advice: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.say_why(socket, close::refusal(code, why));
        let message = format!("the peer was told {}: {why}{advice}", u16::from(code));
        let error = Error::new(ErrorKind::Protocol, message).by_the_peer();
        self.cut(&Ending::Failed(error.with_reason(Reason::PROTOCOL_ERROR)));
    }

    pub(super) fn broken<S>(&mut self, socket: &mut Socket<S>, error: tungstenite::Error)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        use tungstenite::Error::{Capacity, Protocol, Utf8};
        if let Capacity(CapacityError::MessageTooLong { size, max_size }) = &error {
            let why = format!("a message of {size} bytes, at most {max_size} were expected");
            let advice = match self.messages.are_marked() {
                true => "",
                false => "; take longer ones (`WebSockets::max_message_size`)",
            };
            return self.refuse_with(socket, CloseCode::Size, &why, advice);
        }
        let code = match &error {
            Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                return self.cut(&Ending::Gone(None));
            }
            Protocol(_) => CloseCode::Protocol,
            Capacity(_) => CloseCode::Size,
            Utf8(_) => CloseCode::Invalid,
            _ => return self.cut(&self.without_transport(into_io(error))),
        };
        self.refuse(socket, code, &error.to_string());
    }

    /// The ending for a transport that has failed. A stream of this crate says why it has.
    pub(super) fn without_transport(&self, error: io::Error) -> Ending {
        match Error::from_io(&error) {
            Some(error) if !self.has_everything() => Ending::Failed(error.clone()),
            _ => Ending::Gone(Some(Arc::new(error))),
        }
    }

    /// Tells the peer of a reset.
    pub(super) fn say_reset<S>(&mut self, socket: &mut Socket<S>, reason: Reason)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.messages.are_marked() && !self.closed && !self.over {
            let _ = Pin::new(&mut *socket).start_send(Mark::Reset(reason).message());
        }
        self.say_why(socket, close::reset(reason));
    }

    /// Sends the close frame that says how the connection ends, unless one has been sent.
    pub(super) fn say_why<S>(&mut self, socket: &mut Socket<S>, frame: CloseFrame)
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
    pub(super) fn cut(&mut self, ending: &Ending) {
        if self.over {
            return;
        }
        if matches!(ending, Ending::Gone(_)) && self.has_everything() {
            // The peer did not wait for the answer to its end.
            return self.finish(Ok(()));
        }
        let (read, write) = (ending.read_error(), ending.write_error());
        self.note_loss(&write);
        // Nobody reads any more if the user has let it go: only the written bytes count.
        let is_let_go = self.received_end || self.stream.wish() == Wish::Close;
        let how = Err(if is_let_go { write.clone() } else { read.clone() });
        self.stream.cut(read, write);
        self.finish(how);
    }

    /// Whether both sides have ended, and the peer has proved that it has everything.
    fn has_everything(&self) -> bool {
        let are_ended = self.received_end && self.stream.outbox.is_sent();
        self.messages.are_marked() && are_ended && self.linger.is_told()
    }

    /// Whether the peer has received everything, as far as it can be known: with marks by its pong, and otherwise by its
    /// close frame behind everything. A peer that was sent no content has nothing to lose.
    fn is_told(&self) -> bool {
        let (written, _) = self.stream.outbox.progress();
        match self.messages.are_marked() {
            true => self.linger.is_told(),
            false => written == 0 || (self.received_end && !self.stream.outbox.has_unsent_bytes()),
        }
    }

    /// Keeps the failure of a connection which its user has let go: no other code can be told.
    pub(super) fn note_loss(&mut self, error: &Error) {
        let is_seen = !self.stream.fails_untold() || self.is_told();
        let wants_no_more = error.reason() == Some(Reason::NO_ERROR);
        if !is_seen && (self.stream.outbox.has_unsent_bytes() || !wants_no_more) {
            self.loss.get_or_insert_with(|| error.clone());
        }
    }

    pub(super) fn finish(&mut self, how: Result<(), Error>) {
        let (written, _) = self.stream.outbox.progress();
        // The user is told by `set_done`, and may then let the connection go.
        if self.owes() && written > 0 && self.stream.fails_untold() {
            let error = Error::new(ErrorKind::Closed, UNCONFIRMED).by_the_peer();
            self.unconfirmed = Some(error);
        }
        self.over = true;
        if let Some(account) = &mut self.account {
            account.is_over();
        }
        self.pulse.end();
        let is_confirmed = how.is_ok() || !self.messages.are_marked();
        self.carrier.end(is_confirmed);
        self.stream.set_done(how);
    }
}

const UNCONFIRMED: &str =
    "the WebSocket ended before the peer answered the close frame: the last bytes may be lost";

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
