//! The state that a connection's user and its link's driver share.

use std::borrow::Cow;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use http::{StatusCode, request, response};
use tokio::time::Instant;

use super::deadline::Deadline;
use super::exchange::{Exchange, take_with_fields};
use super::stats::Stalls;
use super::{Addr, Carrier, LinkInfo, Transport};
use crate::alive::{Counted, Kind};
use crate::error::{Error, ErrorKind, Reason};
use crate::observe::{self, Side};
use crate::pipe::{Buffers, Inbox, Outbox, WakerSet};
use crate::sync::{AtomicBool, Mutex, lock};

/// One stream: the two queues, the two heads, and how it ends.
///
/// The user's side asks by setting state and telling the carrier. The carrier's mover answers by
/// setting state and waking the user's tasks. Neither side waits for the other.
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
    pub(crate) began: Instant,
    answer: Mutex<Answer>,
    fate: Mutex<Fate>,
    reset_on_drop: AtomicBool,
    is_left_to_rider: AtomicBool,
    /// A client's request has no content, so that its head ends it.
    pub(super) ends_with_head: AtomicBool,
    /// Of the stream of an ordinary request.
    pub(super) exchange: OnceLock<Box<Exchange>>,
    observed: observe::Conn,
    _counted: Counted,
}

/// The response head. The server's user gives it, and the client's user waits for it.
#[derive(Debug, Default)]
struct Answer {
    head: Option<Result<response::Parts, Error>>,
    /// The head is the server's, and has not been sent.
    is_unsent: bool,
    /// Nothing follows the server's head.
    is_whole: bool,
    watchers: WakerSet,
}

/// How the stream ends.
#[derive(Debug, Default)]
struct Fate {
    /// The user wants it reset.
    reset: Option<Reason>,
    /// No task will read any more.
    read_dropped: bool,
    /// No task will read or write any more, so the remaining work has a time limit.
    closing: bool,
    /// The number of tasks that wait to learn that the peer has everything.
    confirming: usize,
    done: Option<Result<(), Error>>,
    /// A drain was told before the stream was over.
    drained: bool,
    watchers: WakerSet,
}

/// The user's wish for the stream's end, as the mover sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Keep the stream going.
    Live,
    /// No task reads. Writing goes on.
    WriteOnly,
    /// No task reads or writes: flush, end, and drain for a limited time.
    Close,
    /// End the stream now.
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
            observed: observe::Conn::opened(&link.observed, transport.name(), &request),
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
            is_left_to_rider: AtomicBool::new(false),
            ends_with_head: AtomicBool::new(false),
            exchange: OnceLock::new(),
            _counted: Counted::new(Kind::Stream),
        }
    }

    /// Ready with the response head, once it is there.
    pub(crate) fn poll_answer(&self, cx: &mut Context<'_>) -> Poll<Result<response::Parts, Error>> {
        self.poll_answer_with(cx, |head| head.clone())
    }

    /// The same, with what `read` makes of the head.
    pub(super) fn poll_answer_with<T>(
        &self,
        cx: &mut Context<'_>,
        read: impl FnOnce(&mut response::Parts) -> T,
    ) -> Poll<Result<T, Error>> {
        let mut answer = lock(&self.answer);
        match &mut answer.head {
            Some(Ok(head)) => Poll::Ready(Ok(read(head))),
            Some(Err(error)) => Poll::Ready(Err(error.clone())),
            None => {
                answer.watchers.add(cx);
                Poll::Pending
            }
        }
    }

    /// Sets the answer that the server's user has chosen.
    ///
    /// # Errors
    ///
    /// The error that ended the stream before, if it has ended.
    pub(crate) fn give_answer(&self, head: response::Parts) -> Result<(), Error> {
        self.answer_with(head, false)
    }

    /// The same, for the answer that makes a connection of the request.
    pub(crate) fn accept(&self, head: response::Parts) -> Result<(), Error> {
        self.answer_with(self.carrier.accepting(head), false)
    }

    /// The same, for an answer without content: END_STREAM goes with its head.
    pub(crate) fn give_whole_answer(&self, head: response::Parts) -> Result<(), Error> {
        self.answer_with(head, true)
    }

    fn answer_with(&self, head: response::Parts, is_whole: bool) -> Result<(), Error> {
        let answered = self.put_answer(head, is_whole);
        self.tell();
        answered
    }

    /// The same, without a word to the carrier, which must be told of something else afterwards.
    pub(crate) fn put_answer(&self, head: response::Parts, is_whole: bool) -> Result<(), Error> {
        let mut answer = lock(&self.answer);
        (answer.is_unsent, answer.is_whole) = (true, is_whole);
        match answer.head.replace(Ok(head)) {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the head of the answer has this field.
    #[cfg(feature = "serve")]
    pub(crate) fn answer_has(&self, name: &http::HeaderName) -> bool {
        matches!(&lock(&self.answer).head, Some(Ok(head)) if head.headers.contains_key(name))
    }

    /// Whether the answer came before the end.
    pub(crate) fn was_answered(&self) -> bool {
        matches!(lock(&self.answer).head, Some(Ok(_)))
    }

    /// Whether an answer waits to be sent.
    pub(crate) fn has_answer(&self) -> bool {
        lock(&self.answer).is_unsent
    }

    /// Takes the answer that must be sent, and whether nothing follows it. It is given once.
    pub(crate) fn take_answer(&self) -> Option<(response::Parts, bool)> {
        let mut answer = lock(&self.answer);
        if !std::mem::take(&mut answer.is_unsent) {
            return None;
        }
        let is_whole = answer.is_whole;
        let Some(Ok(head)) = &mut answer.head else { return None };
        if !self.is_ordinary() {
            return Some((head.clone(), is_whole));
        }
        // No user asks for the fields of an ordinary response.
        Some((take_with_fields(head), is_whole))
    }

    /// Whether the answer refuses the request. A WebSocket over HTTP/1.1 is accepted with 101.
    pub(crate) fn is_refused(&self) -> bool {
        if self.is_ordinary() && self.link.observed.side() == Side::Client {
            // No status of an ordinary response is an error.
            return false;
        }
        let answer = lock(&self.answer);
        let accepts = |status: StatusCode| status.is_success() || status.is_informational();
        matches!(&answer.head, Some(Ok(head)) if !accepts(head.status))
    }

    /// Sets the response head, or the error that came instead. The first call counts.
    pub(crate) fn set_answer(&self, head: Result<response::Parts, Error>) {
        let mut answer = lock(&self.answer);
        answer.head.get_or_insert(head);
        let mut watchers = answer.watchers.take();
        drop(answer);
        watchers.wake_all();
    }

    /// Resets the stream. Everything that is queued is lost, on both sides.
    pub(crate) fn reset(&self, reason: Reason, why: impl Into<Cow<'static, str>>) {
        self.reset_with(reason, Error::new(ErrorKind::Aborted, why).with_reason(reason));
    }

    /// The same, with the error for all later calls.
    pub(crate) fn reset_with(&self, reason: Reason, error: Error) {
        let mut fate = lock(&self.fate);
        if fate.done.is_none() {
            fate.reset.get_or_insert(reason);
        }
        drop(fate);
        self.inbox.abort(error.clone());
        self.outbox.fail(error);
        self.tell();
    }

    /// A WebSocket that rides on the stream holds these bytes of what it has read. `false` if the
    /// stream was reset to make room.
    #[cfg(feature = "websocket")]
    pub(super) fn rides(&self, bytes: usize) -> bool {
        Arc::clone(&self.carrier).rides(bytes)
    }

    /// Leaves the reports and the timeouts to a WebSocket that rides on the stream.
    #[cfg(feature = "websocket")]
    pub(crate) fn leave_to_rider(&self) {
        self.observed.is_ridden();
        self.is_left_to_rider.store(true, SeqCst);
    }

    /// Whether a WebSocket that rides on the stream has the timeouts of a connection on which nothing
    /// moves.
    pub(crate) fn is_left_to_rider(&self) -> bool {
        self.is_left_to_rider.load(SeqCst)
    }

    /// Tells the carrier that the stream's wish has changed.
    pub(super) fn tell(&self) {
        Arc::clone(&self.carrier).changed();
    }

    /// The same as [`Stream::close`], for a caller that will ask whether the peer has everything.
    /// The caller waits until the value is dropped.
    pub(super) fn close_confirmed(&self) -> Confirming<'_> {
        lock(&self.fate).confirming += 1;
        self.close();
        Confirming(self)
    }

    /// Whether a caller is about to ask whether the peer has everything.
    pub(crate) fn awaits_confirmation(&self) -> bool {
        lock(&self.fate).confirming > 0
    }

    /// Whether a caller may still ask so, because the stream is still held.
    pub(crate) fn is_asked_about(&self) -> bool {
        let is_ordinary = self.is_ordinary();
        let fate = lock(&self.fate);
        fate.confirming > 0 || (!fate.closing && !is_ordinary)
    }

    /// Whether no task can learn what happens to the written bytes: the user has let the stream go
    /// without a reset.
    pub(crate) fn fails_untold(&self) -> bool {
        self.wish() == Wish::Close && !self.is_asked_about() && self.outbox.position() > 0
    }

    /// Begins an orderly end of both directions.
    pub(crate) fn close(&self) {
        self.close_because(Error::new(
            ErrorKind::Aborted,
            "the connection was closed on this side",
        ));
    }

    /// The same, with the error for all later calls.
    pub(crate) fn close_because(&self, error: Error) {
        self.outbox.finish_with(error.clone());
        self.inbox.abort(error);
        lock(&self.fate).closing = true;
        self.tell();
    }

    pub(crate) fn reset_on_drop(&self, reset: bool) {
        self.reset_on_drop.store(reset, SeqCst);
    }

    /// The reader has been dropped.
    pub(crate) fn drop_reader(&self) {
        if std::thread::panicking() && !self.is_ordinary() {
            self.reset_by_panic();
        }
        let mut fate = lock(&self.fate);
        fate.read_dropped = true;
        fate.closing |= self.outbox.is_finishing();
        let closing = fate.closing;
        drop(fate);
        let has_more = self.inbox.discard();
        // The body of a GET is dropped before the answer is given. A turn for it would be wasted.
        if has_more || closing {
            self.tell();
        }
    }

    /// The writer has been dropped.
    pub(crate) fn drop_writer(&self) {
        if std::thread::panicking() && !self.is_ordinary() {
            self.reset_by_panic();
        } else if self.reset_on_drop.load(SeqCst)
            && !self.outbox.is_finishing()
            && !self.is_ordinary()
        {
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

    /// Fails everything that is not yet over. Bytes that have arrived can still be read first.
    pub(crate) fn cut(&self, read: Error, write: Error) {
        self.set_answer(Err(read.clone()));
        // Fail writes first: a task that reads the end must not find the write side open.
        self.outbox.fail(write);
        self.inbox.finish(Err(read));
    }

    /// Sets how the stream is over. The first call counts.
    pub(crate) fn set_done(&self, how: Result<(), Error>) {
        self.observed.ended(&self.link.observed, &how, self.is_refused());
        let draining = self.is_draining();
        let mut fate = lock(&self.fate);
        if fate.done.is_none() {
            fate.done = Some(how);
            fate.drained |= draining;
        }
        let mut watchers = fate.watchers.take();
        drop(fate);
        watchers.wake_all();
        drop(self.exchange().and_then(Exchange::take_place));
    }

    pub(crate) fn is_done(&self) -> bool {
        lock(&self.fate).done.is_some()
    }

    /// Whether a drain was told while the stream was not over.
    pub(super) fn was_drained(&self) -> bool {
        let draining = self.is_draining();
        let mut fate = lock(&self.fate);
        // A drain that was told once is told again, also after the end.
        fate.drained |= draining && fate.done.is_none();
        fate.drained
    }

    fn is_draining(&self) -> bool {
        *self.carrier.draining().borrow() || self.exchange().is_some_and(Exchange::is_draining)
    }

    /// The request, as its program knows it.
    pub(super) fn request(&self) -> &request::Parts {
        self.exchange().and_then(Exchange::request).unwrap_or(&self.request)
    }

    /// The facts for reports of the connection's user.
    #[cfg(feature = "axum")]
    pub(super) fn observed_link(&self) -> Arc<LinkInfo> {
        let own = self.exchange().and_then(Exchange::link);
        own.unwrap_or_else(|| Arc::clone(&self.link))
    }

    /// The other end's address, as the program knows it.
    pub(super) fn peer(&self) -> &Addr {
        self.exchange().and_then(Exchange::peer).unwrap_or(&self.link.peer)
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

/// A caller that waits to learn that the peer has everything.
pub(super) struct Confirming<'a>(&'a Stream);

impl Drop for Confirming<'_> {
    fn drop(&mut self) {
        lock(&self.0.fate).confirming -= 1;
    }
}
