//! The sending side of a session: messages, pings and signs of life.

use std::io;
use std::pin::Pin;
use std::task::Context;

use futures_util::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{LARGE, PONGS, Session, Socket, TURN};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::websocket::close;
use crate::websocket::lines::Unsendable;
use crate::websocket::marks::Mark;
use crate::websocket::pulse::Due;

const STUCK: &str = "the peer has not taken everything: it has made no progress for 30 s";

const UNREAD: &str = "the peer sends pings and does not read: it has taken none of its pongs for as long as a silent \
                      peer has until it is given up";

impl Session {
    /// Sends the pings that are due, and gives up a peer whose time is up.
    pub(super) fn beat<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if socket.get_mut().frames().take_longest() > LARGE {
            self.pulse.keep_room();
        }
        let wire = socket.get_ref();
        self.pulse.look(wire.read(), wire.written(), wire.is_full(), self.is_blocked);
        // The answer to the peer's close frame may still be on its way.
        if self.over || (self.received_close && !self.is_blocked) {
            return;
        }
        if self.waits_for_reader() {
            self.pulse.cannot_read();
        }
        if self.closed {
            self.pulse.close();
        }
        let callers = self.carrier.take_callers();
        if !callers.is_empty()
            && !self.closed
            && let Some(payload) = self.pulse.ask(callers)
        {
            self.post(cx, socket, Message::Ping(payload));
        }
        if let Some(quiet) = self.pulse.quiet() {
            quiet.look_at(&self.stream, false);
        }
        while let Some(due) = self.pulse.poll(cx) {
            let text = match due {
                Due::Ping(payload) => {
                    self.post(cx, socket, Message::Ping(payload));
                    continue;
                }
                Due::Sign(has_received) => {
                    self.post(cx, socket, Mark::Here(has_received).message());
                    if self.waits_for_reader() {
                        self.pulse.cannot_read();
                    }
                    continue;
                }
                Due::Room => {
                    self.must_shrink = true;
                    continue;
                }
                Due::Stuck => STUCK.to_owned(),
                Due::Silent(_) if self.pongs > PONGS => UNREAD.to_owned(),
                Due::Silent(text) => text,
                Due::Quiet(knob, text) => {
                    self.stream.link.observed.timed_out(knob, self.stream.request.uri.path());
                    text
                }
            };
            self.say_reset(socket, Reason::CANCEL);
            self.flush(cx, socket);
            return self.cut(&Ending::Silent(text.into()));
        }
    }

    /// Sends a message, unless the close frame was sent. If it does not get through, the end of the transport says
    /// enough.
    pub(super) fn post<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>, message: Message)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if !self.closed {
            let _ = Pin::new(&mut *socket).start_send(message);
            self.flush(cx, socket);
        }
    }

    /// Hands over the bytes to be sent, as far as the transport takes them.
    pub(super) fn send<S>(&mut self, cx: &mut Context<'_>, socket: &mut Socket<S>)
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

    /// Nothing more can be written. Bytes that the peer has sent before can still be read.
    pub(super) fn unheard(&mut self, error: io::Error) {
        if self.received_close && !self.stream.outbox.has_unsent_bytes() {
            // The peer did not wait for the answer to its close frame.
            return self.stream.outbox.mark_sent(self.outgoing.position());
        }
        let error = self.without_transport(error).write_error();
        self.note_loss(&error);
        self.closed = true;
        self.stream.outbox.fail(error.clone());
        // A task that does not read must be told too.
        self.stream.set_done(Err(error));
    }

    pub(super) fn try_send<S>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket<S>,
    ) -> Result<(), tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let may_tell = self.messages.are_marked() && self.role == Role::Server && !self.closed;
        if may_tell && self.server.is_draining() && !self.told_draining {
            self.told_draining = true;
            Pin::new(&mut *socket).start_send(Mark::Draining.message())?;
        }
        for turn in 0.. {
            let done = self.closed || self.sent_end || self.over;
            if done || !self.takes_more(cx, socket)? {
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
                self.sent_end = true;
                if self.messages.are_marked() {
                    Pin::new(&mut *socket).start_send(Mark::End.message())?;
                }
            }
        }
        // With marks, the close frame says that both ends are known here.
        if self.sent_end && !self.closed && (self.received_end || !self.messages.are_marked()) {
            self.closed = true;
            if !self.messages.are_marked() && self.stream.outbox.progress().0 > 0 {
                // The answer to the close frame is that of a program, which may take its time.
                let (payload, _) = self.pulse.ask_for_proof();
                Pin::new(&mut *socket).start_send(Message::Ping(payload))?;
            }
            let end = close::end(self.role == Role::Server && self.server.is_draining());
            Pin::new(&mut *socket).start_send(Message::Close(Some(end)))?;
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
        self.is_blocked = !flushed;
        Ok(())
    }

    /// Whether the socket takes another message. It would also take some while its transport is
    /// full, which more than doubles the memory of a connection whose peer does not read.
    fn takes_more<S>(
        &self,
        cx: &mut Context<'_>,
        socket: &mut Socket<S>,
    ) -> Result<bool, tungstenite::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.is_blocked && Pin::new(&mut *socket).poll_flush(cx)?.is_pending() {
            return Ok(false);
        }
        Ok(Pin::new(socket).poll_ready(cx)?.is_ready())
    }

    /// Ends a connection whose program has written what no text message can hold.
    pub(super) fn unsendable<S>(&mut self, socket: &mut Socket<S>, unsendable: Unsendable)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.say_why(socket, close::refusal(CloseCode::Error, unsendable.told()));
        let error = Error::new(ErrorKind::InvalidInput, unsendable.message());
        self.cut(&Ending::Failed(error));
    }
}
