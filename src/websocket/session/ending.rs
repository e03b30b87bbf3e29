//! The ends of a session, good and bad.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::ProtocolError;
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
                self.give_up(&ending);
            }
            Lingering::Ask => {
                let (payload, number) = self.pulse.ask_for_proof();
                self.linger.asked(number);
                self.post(cx, socket, Message::Ping(payload));
                // Its clock must be set.
                cx.waker().wake_by_ref();
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

    pub(super) fn give_up(&mut self, ending: &Ending) {
        self.stream.reset(Reason::CANCEL, ending.to_string());
        self.cut(ending);
    }

    /// Ends a connection whose peer has violated the rules.
    pub(super) fn refuse<S>(&mut self, socket: &mut Socket<S>, code: CloseCode, why: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.say_why(socket, close::refusal(code, why));
        let message = format!("the peer was told {}: {why}", u16::from(code));
        let error = Error::new(ErrorKind::Protocol, message).by_the_peer();
        self.cut(&Ending::Failed(error.with_reason(Reason::PROTOCOL_ERROR)));
    }

    pub(super) fn broken<S>(&mut self, socket: &mut Socket<S>, error: tungstenite::Error)
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
        let (read, write) = (ending.read_error(), ending.write_error());
        // Nobody reads any more if the user has let it go: only the written bytes count.
        let is_let_go = self.received_end || self.stream.wish() == Wish::Close;
        let how = Err(if is_let_go { write.clone() } else { read.clone() });
        self.stream.cut(read, write);
        self.finish(how);
    }

    pub(super) fn finish(&mut self, how: Result<(), Error>) {
        self.over = true;
        self.pulse.end();
        let is_confirmed = how.is_ok() || !self.messages.are_marked();
        self.carrier.end(is_confirmed);
        self.stream.set_done(how);
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
