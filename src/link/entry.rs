//! The driver's side of one stream.

use std::sync::Arc;

use bytes::BytesMut;
use h2conn_engine::{SendError, StreamId};
use http::{Method, Request, Response, response};
use tokio::time::Instant;
use tokio_util::time::delay_queue;

use super::Lease;
use super::bandwidth::Part;
use super::carrier::LinkCarrier;
use super::fault;
use super::quiet::Quiet;
use super::session::Session;
use crate::config::REJECTION_BODY;
use crate::conn::{Linger, Stream};
use crate::error::{Ending, Error, ErrorKind, Reason, request_name};

/// One stream, and how far it has come.
///
/// It is kept until the stream is over, and until the user has read everything, because what is unread
/// counts against the link's window.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: Arc<Stream>,
    pub(super) carrier: Arc<LinkCarrier>,
    pub(super) head: Head,
    /// Its number, once HTTP/2 knows of it.
    pub(super) id: Option<StreamId>,
    /// Content may be sent: the head of this side is through, and its end is not.
    pub(super) sends: bool,
    /// The peer has done something to it, and the driver has not looked at it since.
    pub(super) touched: bool,
    /// Content has come since the driver has looked at it.
    pub(super) received: bool,
    /// END_STREAM, or the end of an error, has come in.
    pub(super) received_end: bool,
    /// Both directions are over, or the stream was cut.
    pub(super) over: bool,
    /// Bytes given to the inbox whose window is not yet given back.
    pub(super) held: usize,
    /// Bytes that nobody gets, whose window is not yet given back.
    spare: usize,
    /// The peer need not have what was sent of it: one end has given it up. Or it is over, and the session knows
    /// what must arrive.
    pub(super) owes_nothing: bool,
    /// It must be reset, as soon as HTTP/2 can be told.
    wants_reset: Option<Reason>,
    /// It must be ended, as soon as HTTP/2 can be told.
    wants_end: bool,
    /// Its part in what is counted for the windows.
    pub(super) part: Part,
    pub(super) send_state: SendState,
    pub(super) linger: Linger,
    /// When its linger, or a refusal's body, is looked at again.
    pub(super) timer: Option<(delay_queue::Key, Instant)>,
    /// Where a timeout is set for it.
    pub(super) quiet: Option<Box<Quiet>>,
    /// A client's place on the link, until the stream is over.
    pub(super) lease: Option<Lease>,
    /// A refusal has come, and the driver has not looked at it since.
    pub(super) was_rejected: bool,
    /// Its answer waits for room, and it is on the driver's list of those.
    pub(super) waits_to_answer: bool,
}

/// Where the exchange of heads stands.
#[derive(Debug)]
pub(super) enum Head {
    /// Client: the request waits for its turn.
    Unsent(Box<Request<()>>),
    /// Client: sent.
    Asked,
    /// Client: the answer is not 2xx, and the beginning of its body is collected.
    Rejected(Box<response::Parts>, BytesMut),
    /// Server: the user has not answered yet.
    Unanswered,
    /// Both heads are through.
    Done,
}

/// What the sending side has to do with the driver's lists.
#[derive(Debug, Default)]
pub(super) struct SendState {
    /// It is in the queue of streams that can send.
    pub(super) queued: bool,
    /// It is in the list of streams whose bytes may not all have left.
    pub(super) unsettled: bool,
    /// Once so much of the link is flushed, the outbox is sent up to this position.
    pub(super) mark: Option<(u64, u64)>,
    /// The peer's window is full.
    pub(super) blocked: bool,
    /// There is a PING between the bytes and END_STREAM, or need not be.
    pub(super) end_may_go: bool,
}

impl Entry {
    pub(super) fn new(stream: Arc<Stream>, carrier: Arc<LinkCarrier>, head: Head) -> Entry {
        Entry {
            stream,
            carrier,
            head,
            id: None,
            sends: false,
            touched: false,
            received: false,
            received_end: false,
            over: false,
            held: 0,
            spare: 0,
            owes_nothing: false,
            wants_reset: None,
            wants_end: false,
            part: Part::default(),
            send_state: SendState::default(),
            linger: Linger::default(),
            timer: None,
            quiet: None,
            lease: None,
            was_rejected: false,
            waits_to_answer: false,
        }
    }

    /// What the request was, for an error's text.
    pub(super) fn what(&self) -> String {
        request_name(&self.stream.request.method, &self.stream.request.uri)
    }

    /// Whether a response is still due to this client's user.
    pub(super) fn awaits_answer(&self) -> bool {
        matches!(self.head, Head::Unsent(_) | Head::Asked)
    }

    /// The server has answered, and what it says is told to the user at once.
    pub(super) fn was_answered(&mut self, response: Response<()>) {
        let (head, ()) = response.into_parts();
        if let Some(lease) = &self.lease {
            lease.was_answered();
        }
        self.stream.set_answer(Ok(head.clone()));
        self.was_rejected = !head.status.is_success();
        self.head = match self.was_rejected {
            false => Head::Done,
            true => Head::Rejected(Box::new(head), BytesMut::new()),
        };
    }

    /// Bytes that it holds: unread ones, and header fields.
    pub(super) fn holds(&self) -> usize {
        self.stream.inbox.len() + self.carrier.fields()
    }

    /// Puts bytes that have come where they belong; says how many the inbox has taken on.
    pub(super) fn keep(&mut self, content: &[u8]) -> usize {
        if self.over {
            self.spare += content.len();
            return 0;
        }
        if let Head::Rejected(_, body) = &mut self.head {
            let room = REJECTION_BODY - body.len();
            body.extend_from_slice(&content[..content.len().min(room)]);
            self.spare += content.len();
            if room <= content.len() {
                self.finish_rejection();
            }
            return 0;
        }
        self.linger.dropped(content.len());
        self.received = true;
        self.held += content.len();
        self.stream.inbox.push(content);
        content.len()
    }

    /// The peer has ended its side.
    pub(super) fn has_received_end(&mut self) {
        if self.over {
            return;
        }
        self.received_end = true;
        if !self.finish_rejection() {
            self.stream.inbox.finish(Ok(()));
        }
    }

    /// Turns a refusal, with what has come of its body, into the error that the user gets. After a complete refusal
    /// this side ends too, if all that was written is sent; a reset would count against the link at many servers. `false` if there is no
    /// refusal.
    pub(super) fn finish_rejection(&mut self) -> bool {
        let what = self.what();
        let Head::Rejected(head, body) = &mut self.head else { return false };
        let error = Error::rejected(&what, (**head).clone(), body.split().freeze());
        self.head = Head::Done;
        // An end behind a part of what was written would look like the end of it all.
        self.wants_end = self.received_end && !self.stream.outbox.has_unsent_bytes();
        self.wants_reset = (!self.wants_end).then_some(Reason::CANCEL);
        self.fail(error.clone(), error);
        true
    }

    /// The peer has ended the stream before its time.
    pub(super) fn was_cut_by_the_peer(&mut self, ending: &Ending) {
        if self.over || self.finish_rejection() {
            return;
        }
        if !self.received_end {
            self.owes_nothing = true;
            return self.cut(ending);
        }
        // With an error behind its END_STREAM the peer may have thrown bytes away.
        let error = ending.write_error();
        self.owes_nothing = matches!(ending, Ending::Reset(Reason::NO_ERROR));
        if !self.owes_nothing {
            self.note_loss(&error);
        }
        self.stream.outbox.fail(error.clone());
        self.end(Err(error));
    }

    /// Sends the server's answer, which its user has given; says whether it accepts the request.
    pub(super) fn answer(&mut self, session: &mut Session) -> bool {
        let (Some(id), Some(head)) = (self.id, self.stream.take_answer()) else { return false };
        self.head = Head::Done;
        // The answer to a HEAD request has no body (RFC 9110 §9.3.2), whatever was written.
        let bodiless = self.stream.request.method == Method::HEAD;
        let status = head.status;
        match session.respond(id, &Response::from_parts(head, ()), bodiless) {
            Ok(()) if bodiless => {
                self.stream.outbox.finish();
                drop(self.stream.outbox.take(usize::MAX));
                self.stream.outbox.mark_sent(self.stream.outbox.settle());
            }
            Ok(()) => self.sends = true,
            Err(SendError::Unsendable(error)) => {
                let ending = fault::unsendable("response", &error);
                self.reset(session, Reason::INTERNAL_ERROR, &ending);
            }
            Err(SendError::Order) => {
                let ending = fault::no_response(status);
                self.reset(session, Reason::INTERNAL_ERROR, &ending);
            }
            // The stream is over, and its user has been told why.
            Err(_) => {}
        }
        status.is_success()
    }

    /// Gives back the windows of what the user has read, and of what nobody gets; says how many bytes
    /// the user had read.
    pub(super) fn release(&mut self, session: &mut Session) -> usize {
        let consumed = self.stream.inbox.take_consumed();
        let released = consumed + std::mem::take(&mut self.spare);
        if released > 0 {
            self.held -= consumed;
            if self.over {
                self.stream.inbox.set_threshold(self.held);
            }
            if let Some(id) = self.id {
                session.http2().release_stream(id, released);
            }
            session.http2().release_connection(released);
        }
        consumed
    }

    /// Ends both directions because of `ending`. What has arrived is still read first.
    pub(super) fn cut(&mut self, ending: &Ending) {
        let (read, write) = if self.awaits_answer() {
            if let (Ending::Reset(Reason::REFUSED_STREAM), Some(lease)) = (ending, &self.lease) {
                lease.was_refused();
            }
            let what = self.what();
            let connect = ending.connect_error(&what);
            match ending {
                Ending::Gone(_) => (connect, ending.write_error()),
                _ => (connect.clone(), connect),
            }
        } else {
            (ending.read_error(), ending.write_error())
        };
        self.fail(read, write);
    }

    /// As [`Entry::cut`], with the errors themselves.
    pub(super) fn fail(&mut self, read: Error, write: Error) {
        self.note_loss(&write);
        // Before the user hears of it, who may want another.
        self.lease = None;
        self.stream.cut(read.clone(), write);
        self.end(Err(read));
    }

    /// Tells a client that a connection which its user has let go has not been through: nobody else can
    /// be told. A reset that the user asked for is no loss.
    fn note_loss(&self, error: &Error) {
        if let Some(lease) = &self.lease
            && self.stream.fails_untold()
            && !self.linger.is_told()
        {
            lease.was_lost(error);
        }
    }

    /// Sends RST_STREAM, and fails what the user still waits for with `ending`.
    pub(super) fn reset(&mut self, session: &mut Session, reason: Reason, ending: &Ending) {
        self.send_reset(session, reason);
        self.cut(ending);
    }

    /// Sends RST_STREAM, if the stream is not over already.
    pub(super) fn send_reset(&mut self, session: &mut Session, reason: Reason) {
        self.wants_reset = None;
        // Where END_STREAM has gone, the peer must have all that came before it in spite of the reset.
        self.owes_nothing |= !self.stream.outbox.is_end_taken();
        if let Some(id) = self.id {
            session.http2().reset(id, reason);
        }
    }

    /// Sends the end, or the RST_STREAM, that could not be sent before.
    pub(super) fn send_wanted_end(&mut self, session: &mut Session) {
        if std::mem::take(&mut self.wants_end) {
            // The bytes that were written have no reader.
            self.owes_nothing |= !self.stream.outbox.is_end_taken();
            if let Some(id) = self.id {
                session.http2().end(id);
            }
        }
        if let Some(reason) = self.wants_reset {
            self.send_reset(session, reason);
        }
    }

    /// Nothing will be sent or received any more.
    pub(super) fn end(&mut self, how: Result<(), Error>) {
        self.over = true;
        self.sends = false;
        self.received_end = true;
        self.note_stall(false);
        self.lease = None;
        if let Err(error) = &how
            && self.awaits_answer()
        {
            self.stream.set_answer(Err(error.clone()));
        }
        self.give_up_on_an_answer();
        self.stream.set_done(how);
        // What is unread is reported once, when the last of it has been read.
        let unread = self.held.max(1);
        self.stream.inbox.set_threshold(unread);
    }

    /// A client's user who still waits for the answer hears that there will be none.
    pub(super) fn give_up_on_an_answer(&mut self) {
        if self.awaits_answer() {
            let message = "the connection was closed on this side before the server answered";
            self.stream.set_answer(Err(Error::new(ErrorKind::Aborted, message)));
        }
    }

    /// Whether bytes are lost when it ends now, and nobody holds it who could be told.
    pub(super) fn loses_unseen(&self) -> bool {
        !self.stream.is_asked_about() && self.stream.outbox.has_unsent_bytes()
    }

    /// Whether nothing is left to do or to count.
    pub(super) fn is_finished(&self) -> bool {
        self.over && self.stream.inbox.len() == 0
    }
}
