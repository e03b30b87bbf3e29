//! What a connection's user and the driver of its link share.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{StatusCode, request, response};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::stats::Stalls;
use super::{Addr, Carrier, Transport};
use crate::alive::{Counted, Kind};
use crate::error::{Error, ErrorKind, Reason};
use crate::observe::{self, Side};
use crate::pipe::{Buffers, Inbox, Outbox, WakerSet};
use crate::sync::{AtomicBool, Mutex, lock};

/// What all connections of a link have in common.
#[derive(Debug)]
pub(crate) struct LinkInfo {
    pub(crate) local: Addr,
    pub(crate) peer: Addr,
    /// The certificates that the peer showed, in DER, its own first.
    pub(crate) peer_certificates: Vec<Bytes>,
    /// Any task may use the transport: it does not need the runtime in which the link was made, as those can that
    /// programs bring along.
    pub(crate) any_task: bool,
    pub(crate) observed: observe::Link,
}

impl LinkInfo {
    pub(crate) fn new(side: Side, local: Addr, peer: Addr) -> LinkInfo {
        let any_task = !matches!(peer, Addr::Other);
        let (peer_certificates, observed) = (Vec::new(), observe::Link::new(side));
        LinkInfo { local, peer, peer_certificates, any_task, observed }
    }

    /// Reports that the link begins.
    pub(crate) fn opened(mut self) -> LinkInfo {
        let transport = match self.peer {
            Addr::Ip(_) => "tcp",
            Addr::Unix(_) => "unix",
            Addr::Other => "other",
        };
        self.observed.opened(transport, &self.local, &self.peer);
        self
    }
}

/// One stream: the two queues, the two heads, and how it ends.
///
/// The user's side asks by setting state and telling the carrier, whose mover answers by setting state
/// and waking the user's tasks. Neither side waits for the other.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) inbox: Inbox,
    pub(crate) outbox: Outbox,
    pub(crate) request: request::Parts,
    pub(crate) transport: Transport,
    pub(crate) link: Arc<LinkInfo>,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) read_deadline: Deadline,
    pub(super) write_deadline: Deadline,
    pub(crate) stalls: Stalls,
    pub(super) began: Instant,
    answer: Mutex<Answer>,
    fate: Mutex<Fate>,
    reset_on_drop: AtomicBool,
    observed: observe::Conn,
    _counted: Counted,
}

/// The response head: the server's user gives it, the client's user waits for it.
#[derive(Debug, Default)]
struct Answer {
    head: Option<Result<response::Parts, Error>>,
    /// It is the server's, and has not been sent.
    is_unsent: bool,
    watchers: WakerSet,
}

/// How the stream ends.
#[derive(Debug, Default)]
struct Fate {
    /// The user wants it reset.
    reset: Option<Reason>,
    /// Nobody will read any more.
    read_dropped: bool,
    /// Nobody will read or write any more: what is left to do is bounded in time.
    closing: bool,
    /// How many wait to hear that the peer has got everything.
    confirming: usize,
    done: Option<Result<(), Error>>,
    watchers: WakerSet,
}

/// What the user's side wants of the stream's end, as the mover sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Carry on.
    Live,
    /// Nobody reads; writing goes on.
    WriteOnly,
    /// Nobody reads or writes: flush, end, and drain for a bounded time.
    Close,
    /// End it now.
    Reset(Reason),
}

impl Stream {
    pub(crate) fn new(
        request: request::Parts,
        transport: Transport,
        link: Arc<LinkInfo>,
        carrier: Arc<dyn Carrier>,
        send_queue: usize,
        buffers: Arc<Buffers>,
    ) -> Stream {
        Stream {
            inbox: Inbox::new(Arc::clone(&buffers), Arc::clone(&carrier) as _),
            outbox: Outbox::new(send_queue, buffers, Arc::clone(&carrier) as _),
            observed: observe::Conn::opened(&link.observed, &request),
            request,
            transport,
            link,
            carrier,
            read_deadline: Deadline::default(),
            write_deadline: Deadline::default(),
            stalls: Stalls::default(),
            began: Instant::now(),
            answer: Mutex::default(),
            fate: Mutex::default(),
            reset_on_drop: AtomicBool::new(false),
            _counted: Counted::new(Kind::Stream),
        }
    }

    /// Ready with the response head, once it is there.
    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Error>> {
        let mut answer = lock(&self.answer);
        match &answer.head {
            Some(head) => Poll::Ready(head.clone()),
            None => {
                answer.watchers.add(cx);
                Poll::Pending
            }
        }
    }

    /// The server's user has decided what to answer.
    ///
    /// # Errors
    ///
    /// What had ended the stream before.
    pub(crate) fn give_answer(&self, head: response::Parts) -> Result<(), Error> {
        let mut answer = lock(&self.answer);
        answer.is_unsent = true;
        let before = answer.head.replace(Ok(head));
        drop(answer);
        self.tell();
        match before {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the answer came before the end.
    pub(crate) fn was_answered(&self) -> bool {
        matches!(lock(&self.answer).head, Some(Ok(_)))
    }

    /// Whether there is an answer to be sent.
    pub(crate) fn has_answer(&self) -> bool {
        lock(&self.answer).is_unsent
    }

    /// The answer that is to be sent; given once.
    pub(crate) fn take_answer(&self) -> Option<response::Parts> {
        let mut answer = lock(&self.answer);
        let head = std::mem::take(&mut answer.is_unsent).then(|| answer.head.clone());
        head.flatten()?.ok()
    }

    /// Whether the answer refuses the request. A WebSocket over HTTP/1.1 is accepted by 101.
    pub(crate) fn is_refused(&self) -> bool {
        let answer = lock(&self.answer);
        let accepts = |status: StatusCode| status.is_success() || status.is_informational();
        matches!(&answer.head, Some(Ok(head)) if !accepts(head.status))
    }

    /// The response head has arrived, or will not. The first word counts.
    pub(crate) fn set_answer(&self, head: Result<response::Parts, Error>) {
        let mut answer = lock(&self.answer);
        answer.head.get_or_insert(head);
        let mut watchers = answer.watchers.take();
        drop(answer);
        watchers.wake_all();
    }

    /// Resets the stream: everything that is queued is lost, on both sides.
    pub(crate) fn reset(&self, reason: Reason, why: impl Into<Cow<'static, str>>) {
        let mut fate = lock(&self.fate);
        if fate.done.is_none() {
            fate.reset.get_or_insert(reason);
        }
        drop(fate);
        let error = Error::new(ErrorKind::Aborted, why).with_reason(reason);
        self.inbox.abort(error.clone());
        self.outbox.fail(error);
        self.tell();
    }

    /// Tells the carrier that something else is wanted.
    fn tell(&self) {
        Arc::clone(&self.carrier).changed();
    }

    /// As [`Stream::close`], for somebody who will ask whether the peer has got everything, and who waits
    /// until the value is dropped.
    pub(super) fn close_confirmed(&self) -> Confirming<'_> {
        lock(&self.fate).confirming += 1;
        self.close();
        Confirming(self)
    }

    /// Whether somebody is about to ask that.
    pub(crate) fn awaits_confirmation(&self) -> bool {
        lock(&self.fate).confirming > 0
    }

    /// Whether somebody may ask that, for the stream is still held.
    pub(crate) fn is_asked_about(&self) -> bool {
        let fate = lock(&self.fate);
        fate.confirming > 0 || !fate.closing
    }

    /// Whether nobody can be told what becomes of the bytes that were written: the user has let the stream
    /// go, and has not reset it.
    pub(crate) fn fails_untold(&self) -> bool {
        self.wish() == Wish::Close && !self.is_asked_about() && self.outbox.position() > 0
    }

    /// Starts an orderly end of both directions.
    pub(crate) fn close(&self) {
        let error = Error::new(ErrorKind::Aborted, "the connection was closed on this side");
        self.outbox.finish_with(error.clone());
        self.inbox.abort(error);
        lock(&self.fate).closing = true;
        self.tell();
    }

    pub(crate) fn reset_on_drop(&self, reset: bool) {
        self.reset_on_drop.store(reset, SeqCst);
    }

    /// The reader is gone.
    pub(crate) fn drop_reader(&self) {
        if std::thread::panicking() {
            self.reset_by_panic();
        }
        let mut fate = lock(&self.fate);
        fate.read_dropped = true;
        fate.closing |= self.outbox.is_finishing();
        drop(fate);
        self.inbox.discard();
        self.tell();
    }

    /// The writer is gone.
    pub(crate) fn drop_writer(&self) {
        if std::thread::panicking() {
            self.reset_by_panic();
        } else if self.reset_on_drop.load(SeqCst) && !self.outbox.is_finishing() {
            self.reset(Reason::CANCEL, "the connection was dropped, and was set to reset then");
        }
        self.outbox.finish();
        let mut fate = lock(&self.fate);
        fate.closing |= fate.read_dropped;
        drop(fate);
        self.tell();
    }

    fn reset_by_panic(&self) {
        self.reset(Reason::INTERNAL_ERROR, "a task that held the connection panicked");
    }

    pub(crate) fn wish(&self) -> Wish {
        let fate = lock(&self.fate);
        match (fate.reset, fate.closing, fate.read_dropped) {
            (Some(reason), _, _) => Wish::Reset(reason),
            (None, true, _) => Wish::Close,
            (None, false, true) => Wish::WriteOnly,
            (None, false, false) => Wish::Live,
        }
    }

    /// Fails whatever is not yet over; bytes that have arrived are still read first.
    pub(crate) fn cut(&self, read: Error, write: Error) {
        self.set_answer(Err(read.clone()));
        // Who reads of the end must find that writing has ended too.
        self.outbox.fail(write);
        self.inbox.finish(Err(read));
    }

    /// The stream is over, for good or ill. The first word counts.
    pub(crate) fn set_done(&self, how: Result<(), Error>) {
        self.observed.ended(&how, self.is_refused());
        let mut fate = lock(&self.fate);
        fate.done.get_or_insert(how);
        let mut watchers = fate.watchers.take();
        drop(fate);
        watchers.wake_all();
    }

    /// Ready once the stream is over.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut fate = lock(&self.fate);
        match &fate.done {
            Some(how) => Poll::Ready(how.clone()),
            None => {
                fate.watchers.add(cx);
                Poll::Pending
            }
        }
    }
}

/// Somebody who waits to hear that the peer has got all of a stream.
pub(super) struct Confirming<'a>(&'a Stream);

impl Drop for Confirming<'_> {
    fn drop(&mut self) {
        lock(&self.0.fate).confirming -= 1;
    }
}

/// A stream of the peer's that waits to be taken. Dropping it refuses the request with
/// `REFUSED_STREAM`, wherever on its way it is dropped.
#[derive(Debug)]
pub(crate) struct Offer(Option<Arc<Stream>>);

impl Offer {
    pub(crate) fn new(stream: Arc<Stream>) -> Offer {
        Offer(Some(stream))
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        self.0.as_ref().expect("only `take`, which consumes self, takes it out")
    }

    pub(crate) fn take(mut self) -> Arc<Stream> {
        self.0.take().expect("only `take`, which consumes self, takes it out")
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            stream.reset(Reason::REFUSED_STREAM, "the request was dropped unanswered");
        }
    }
}
