//! The receiving side of an accepted connection, and its end: a task that takes bytes from the
//! request's body while there is room for them.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Limits;
use super::accepted::Place;
use super::carrier::BodyCarrier;
use super::linger::{Linger, Lingering};
use super::reason;
use crate::alive::{Counted, Kind};
use crate::conn::{Stream, Wish, runtime_is_gone};
use crate::error::{Ending, Error, ErrorKind, Reason};

/// The frames that are taken before other tasks run.
const TURN: usize = 64;

pub(crate) struct Pump<B> {
    stream: Arc<Stream>,
    carrier: Arc<BodyCarrier>,
    /// `None` when the body will not be read any more.
    body: Option<Pin<Box<B>>>,
    /// Bytes that may wait in the inbox.
    room: usize,
    /// The body tells a reset from an end. hyper's does not, if the reason is NO_ERROR.
    is_exact: bool,
    linger: Linger,
    over: bool,
    _place: Place,
    _counted: Counted,
}

impl<B> Pump<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    pub(crate) fn new(
        stream: Arc<Stream>,
        carrier: Arc<BodyCarrier>,
        body: B,
        is_exact: bool,
        limits: Limits,
        place: Place,
    ) -> Pump<B> {
        let Limits { room, linger } = limits;
        stream.inbox.set_threshold(room / 4);
        Pump {
            stream,
            carrier,
            body: Some(Box::pin(body)),
            room,
            is_exact,
            linger: Linger::new(linger),
            over: false,
            _place: place,
            _counted: Counted::new(Kind::Task),
        }
    }

    /// Takes received bytes while there is room for them.
    fn receive(&mut self, cx: &mut Context<'_>) {
        for _ in 0..TURN {
            self.stream.inbox.take_consumed();
            let Some(body) = &mut self.body else { return };
            if self.stream.inbox.len() >= self.room {
                return;
            }
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else { return };
            let ended = body.is_end_stream();
            match frame {
                Some(Ok(frame)) => {
                    // Trailers have no meaning for a connection.
                    if let Ok(bytes) = frame.into_data() {
                        self.keep(bytes);
                    }
                    if ended {
                        self.end_of_body();
                    }
                }
                None if ended || self.is_exact => self.end_of_body(),
                // hyper reports a reset with NO_ERROR, and no other reset, as an end.
                None => return self.cut(&Ending::Reset(Reason::NO_ERROR)),
                Some(Err(error)) => return self.cut(&reason::ending(error.into())),
            }
        }
        cx.waker().wake_by_ref();
    }

    fn keep(&mut self, bytes: Bytes) {
        self.linger.dropped(bytes.len());
        if !bytes.is_empty() {
            self.stream.inbox.push(&bytes);
        }
    }

    fn end_of_body(&mut self) {
        self.body = None;
        self.stream.inbox.finish(Ok(()));
    }

    /// Fails everything that is not yet over.
    fn cut(&mut self, ending: &Ending) {
        self.fail(ending.read_error(), ending.write_error());
    }

    fn fail(&mut self, read: Error, write: Error) {
        let how = Err(if self.body.is_none() { write.clone() } else { read.clone() });
        self.stream.cut(read, write);
        self.finish(how);
    }

    fn finish(&mut self, how: Result<(), Error>) {
        self.over = true;
        self.body = None;
        self.stream.set_done(how);
        // If the response has not ended, it must end with the reset.
        self.carrier.wake_body();
    }

    /// Handles the end: the user's wish, and the remaining waits.
    fn finish_up(&mut self, cx: &mut Context<'_>) {
        if self.over {
            return;
        }
        let sent = self.stream.outbox.is_sent();
        if !sent && self.carrier.server().is_cut_off() {
            // Bytes that the client has sent before can still be read.
            self.stream.outbox.fail(cut_off());
            // A task that does not read must be told too.
            self.stream.set_done(Err(cut_off()));
        }
        let (received_end, position) = (self.body.is_none(), self.stream.outbox.settle());
        match self.linger.poll(cx, &self.stream, received_end, position) {
            // A server gives no way to ask.
            Lingering::GoesOn | Lingering::Ask => {}
            Lingering::Over(_, how) => self.finish(how),
            Lingering::Stuck(ending) => {
                self.stream.reset(Reason::CANCEL, ending.to_string());
                self.cut(&ending);
            }
        }
    }
}

fn cut_off() -> Error {
    let message = "the response was dropped before its end: the client has reset the stream or \
                   gone away, or the server has given the response up; which, the server does not \
                   say";
    Error::new(ErrorKind::Reset, message)
}

impl<B> Future for Pump<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.carrier.server().register_task(cx);
        if let Wish::Reset(reason) = this.stream.wish() {
            // First, because the request's body would report the reset in its own words.
            let ending = Ending::Local(reason, "the connection was reset on this side".into());
            this.cut(&ending);
        }
        this.receive(cx);
        this.finish_up(cx);
        if this.over { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A pump that ends before its stream, with its runtime or by a panic, fails the stream.
impl<B> Drop for Pump<B> {
    fn drop(&mut self) {
        if !self.over {
            let error = runtime_is_gone();
            self.stream.cut(error.clone(), error.clone());
            self.stream.set_done(Err(error));
        }
    }
}
