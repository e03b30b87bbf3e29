//! The driver's side of one stream.

mod heads;

use std::sync::Arc;

use bytes::BytesMut;
use h2conn_engine::StreamId;
use http::{HeaderMap, Response, response};
use tokio::time::Instant;
use tokio_util::time::delay_queue;

use super::Lease;
use super::bandwidth::Part;
use super::carrier::LinkCarrier;
use super::session::Session;
use super::silence::Activity;
use crate::config::REJECTION_BODY;
use crate::conn::{Linger, Quiet, Stream, Wish};
use crate::error::{Ending, Error, ErrorKind, Reason, request_name};

/// One stream, and its progress.
///
/// It is kept until the stream is over and the user has read everything, because unread bytes count
/// against the link's window.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: Arc<Stream>,
    pub(super) carrier: Arc<LinkCarrier>,
    pub(super) head: Head,
    /// The stream's number, once HTTP/2 knows the stream.
    pub(super) id: Option<StreamId>,
    /// Whether content may be sent: this side's head is sent, and its end is not.
    pub(super) sends: bool,
    /// The peer has acted on it since the driver has last examined it.
    pub(super) touched: bool,
    /// Content has come since the driver has last examined it.
    pub(super) received: bool,
    /// The peer's end has come, as END_STREAM or as an error.
    pub(super) received_end: bool,
    /// This side's end had left before the peer's end came. The end of an ordinary response then
    /// shows that the server has the request.
    is_proven: bool,
    /// Both directions are over, or the stream was cut.
    pub(super) over: bool,
    /// Bytes in the inbox whose window is not yet given back.
    pub(super) held: usize,
    /// Discarded bytes whose window is not yet given back.
    spare: usize,
    /// The peer need not receive what was sent of it: one end has given it up, or it is over and
    /// the session knows what must arrive.
    pub(super) owes_nothing: bool,
    /// The stream must be reset with this reason, as soon as HTTP/2 can be told.
    wants_reset: Option<Reason>,
    /// The stream must be ended, as soon as HTTP/2 can be told.
    wants_end: bool,
    /// Its part in the measurement for the windows.
    pub(super) part: Part,
    /// Whether it has a window of its own, a larger one.
    pub(super) is_wide: bool,
    pub(super) send_state: SendState,
    pub(super) linger: Linger,
    /// The next check of its linger, or of a refusal's body.
    pub(super) timer: Option<(delay_queue::Key, Instant)>,
    /// The state of its timeouts, if it has any.
    pub(super) quiet: Option<Box<Quiet>>,
    pub(super) activity: Activity,
    /// A client's place on the link, until the stream is over.
    pub(super) lease: Option<Lease>,
    /// A refusal has come since the driver has last examined it.
    pub(super) was_rejected: bool,
    /// Its answer waits for room, and the stream is on the driver's list for that.
    pub(super) waits_to_answer: bool,
}

/// The progress of the two heads.
#[derive(Debug)]
pub(super) enum Head {
    /// Client: the request waits for its turn. An ordinary one has its fields here.
    Unsent(Option<Box<HeaderMap>>),
    /// Client: the request is sent.
    Asked,
    /// Client: the answer is not 2xx. The beginning of its body is collected.
    Rejected(Box<response::Parts>, BytesMut),
    /// Server: the user has not answered yet.
    Unanswered,
    /// Both heads are sent or received.
    Done,
}

/// The sending side's state in the driver's lists.
#[derive(Debug, Default)]
pub(super) struct SendState {
    /// The stream was put into the queue of streams that can send, and has not had its turn. Its
    /// window may be shut since.
    pub(super) queued: bool,
    /// The stream is in the driver's list `unsettled`.
    pub(super) unsettled: bool,
    /// The stream was let go, and its end is examined at the end of the turn.
    pub(super) finishes: bool,
    /// When this much of the link is flushed, the outbox is sent up to this position.
    pub(super) mark: Option<(u64, u64)>,
    /// The peer's window is full.
    pub(super) blocked: bool,
    /// A PING follows the bytes, or none is needed, so END_STREAM may go.
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
            is_proven: false,
            over: false,
            held: 0,
            spare: 0,
            owes_nothing: false,
            wants_reset: None,
            wants_end: false,
            part: Part::default(),
            is_wide: false,
            send_state: SendState::default(),
            linger: Linger::default(),
            timer: None,
            quiet: None,
            activity: Activity::default(),
            lease: None,
            was_rejected: false,
            waits_to_answer: false,
        }
    }

    /// Records what has moved, where that has a timeout.
    pub(super) fn look_at_movement(&mut self, received: bool) {
        if let Some(quiet) = &mut self.quiet {
            quiet.look_at(&self.stream, received);
        }
    }

    /// The name of the request, for an error's text.
    pub(super) fn what(&self) -> String {
        request_name(&self.stream.request.method, &self.stream.request.uri)
    }

    /// Whether this client's user still waits for a response.
    pub(super) fn awaits_answer(&self) -> bool {
        matches!(self.head, Head::Unsent(_) | Head::Asked)
    }

    /// Tells the user at once how the server has answered.
    pub(super) fn was_answered(&mut self, response: Response<()>) {
        let (head, ()) = response.into_parts();
        if let Some(lease) = &self.lease {
            lease.was_answered();
        }
        // The status of an ordinary response is its user's matter.
        self.was_rejected = !head.status.is_success() && !self.stream.is_ordinary();
        self.head = match self.was_rejected {
            false => Head::Done,
            true => Head::Rejected(Box::new(head.clone()), BytesMut::new()),
        };
        self.stream.set_answer(Ok(head));
    }

    /// Bytes that the stream holds: unread ones, those of a riding WebSocket, and header fields.
    pub(super) fn holds(&self) -> usize {
        self.stream.inbox.len() + self.carrier.ridden() + self.carrier.fields()
    }

    /// Puts received bytes where they belong. Returns how many the inbox has taken.
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
        // Bytes that nobody will read do not make a connection live longer.
        self.received |= self.stream.wish() != Wish::Close;
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
        self.is_proven |= self.stream.outbox.is_sent();
        if !self.finish_rejection() {
            self.stream.inbox.finish(Ok(()));
        }
    }

    /// Turns a refusal, with the received part of its body, into the error that the user gets.
    /// After a complete refusal this side ends too, if all written bytes are sent, because many
    /// servers count a reset against the link. `false` if there is no refusal.
    pub(super) fn finish_rejection(&mut self) -> bool {
        if !matches!(self.head, Head::Rejected(..)) {
            return false;
        }
        let Head::Rejected(head, body) = std::mem::replace(&mut self.head, Head::Done) else {
            return false;
        };
        let error = Error::rejected(&self.what(), *head, body.freeze());
        // An end after only a part of the written bytes would look like the end of them all.
        self.wants_end = self.received_end && !self.stream.outbox.has_unsent_bytes();
        self.wants_reset = (!self.wants_end).then_some(Reason::CANCEL);
        self.fail(error.clone(), error);
        true
    }

    /// The peer has ended the stream early.
    pub(super) fn was_cut_by_the_peer(&mut self, ending: &Ending) {
        if self.over || self.finish_rejection() {
            return;
        }
        if !self.received_end {
            self.owes_nothing = true;
            return self.cut(ending);
        }
        // With an error after its END_STREAM the peer may have discarded bytes.
        let error = ending.write_error();
        self.owes_nothing = matches!(ending, Ending::Reset(Reason::NO_ERROR));
        if !self.owes_nothing {
            self.note_loss(&error);
        }
        self.stream.outbox.fail(error.clone());
        // The response is whole, and its server wants no more of the request (RFC 9113 §8.1).
        let is_whole = self.owes_nothing && self.lease.is_some() && self.stream.is_ordinary();
        self.end(if is_whole { Ok(()) } else { Err(error) });
    }

    /// Gives back the windows of bytes that the user has read and of discarded bytes. Returns how
    /// many bytes the user had read.
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

    /// Ends both directions because of `ending`. Received bytes can still be read first.
    pub(super) fn cut(&mut self, ending: &Ending) {
        let note = self.silence_before(ending).unwrap_or_default();
        self.cut_with(ending, &note);
    }

    /// The same, with a text that explains the ending.
    pub(super) fn cut_with(&mut self, ending: &Ending, note: &str) {
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
        self.fail(read.with_note(note), write.with_note(note));
    }

    /// The same as [`Entry::cut`], with the errors themselves.
    pub(super) fn fail(&mut self, read: Error, write: Error) {
        self.note_loss(&write);
        // Before the user is told, because the user may want another lease.
        self.lease = None;
        self.stream.cut(read.clone(), write);
        self.end(Err(read));
    }

    /// Tells a client or a listener that a connection which its user has let go has failed: no other
    /// code can be told. A reset that the user asked for is no loss.
    fn note_loss(&self, error: &Error) {
        if !self.stream.fails_untold() || self.linger.is_told() {
            return;
        }
        let outbox = &self.stream.outbox;
        if let Some(lease) = &self.lease {
            // A client's WebSocket tells of its own bytes.
            if !self.stream.is_left_to_rider() {
                lease.was_lost(error);
            }
        } else if outbox.has_unsent_bytes()
            || outbox.progress().0 > 0 && error.reason() != Some(Reason::NO_ERROR)
        {
            self.carrier.has_lost_bytes();
        }
    }

    /// The reason for a reset that this side's limits cause, and not its user. It is NO_ERROR after a
    /// server's END_STREAM: after any other, Node.js, nginx and HAProxy discard the part of a complete
    /// answer that they still hold (RFC 9113 §8.1).
    pub(super) fn reason_to_give_up(&self) -> Reason {
        let is_client = self.lease.is_some();
        match !is_client && self.stream.outbox.is_end_taken() {
            true => Reason::NO_ERROR,
            false => Reason::CANCEL,
        }
    }

    /// Sends RST_STREAM, and fails the user's waiting calls with `ending`.
    pub(super) fn reset(&mut self, session: &mut Session, reason: Reason, ending: &Ending) {
        self.send_reset(session, reason);
        self.cut(ending);
    }

    /// Sends RST_STREAM, unless the stream is over already.
    pub(super) fn send_reset(&mut self, session: &mut Session, reason: Reason) {
        self.wants_reset = None;
        // Once END_STREAM is taken, the peer must get everything before it in spite of the reset.
        self.owes_nothing |= !self.stream.outbox.is_end_taken();
        if let Some(id) = self.id {
            session.http2().reset(id, reason);
        }
    }

    /// Sends the END_STREAM or RST_STREAM that could not be sent before.
    pub(super) fn send_wanted_end(&mut self, session: &mut Session) {
        if std::mem::take(&mut self.wants_end) {
            // The written bytes have no reader.
            self.owes_nothing |= !self.stream.outbox.is_end_taken();
            if let Some(id) = self.id {
                session.http2().end(id);
            }
        }
        if let Some(reason) = self.wants_reset {
            self.send_reset(session, reason);
        }
    }

    /// Marks both directions as over.
    pub(super) fn end(&mut self, how: Result<(), Error>) {
        self.over = true;
        self.sends = false;
        self.received_end = true;
        self.note_stall(false);
        let is_request = self.stream.is_ordinary() || self.stream.ends_with_head();
        let is_of_a_client = self.lease.is_some() && is_request;
        self.owes_nothing |= how.is_ok() && is_of_a_client && self.is_proven;
        self.lease = None;
        if let Err(error) = &how
            && self.awaits_answer()
        {
            self.stream.set_answer(Err(error.clone()));
        }
        self.give_up_on_an_answer();
        self.stream.set_done(how);
        // Unread bytes are reported once, when the last of them has been read.
        let unread = self.held.max(1);
        self.stream.inbox.set_threshold(unread);
    }

    /// Tells a client's user who still waits for the answer that none will come.
    pub(super) fn give_up_on_an_answer(&mut self) {
        if self.awaits_answer() {
            let message = "the connection was closed on this side before the server answered";
            self.stream.set_answer(Err(Error::new(ErrorKind::Aborted, message)));
        }
    }

    /// Whether bytes are lost if it ends now, and no caller holds it who could be told.
    pub(super) fn loses_unseen(&self) -> bool {
        // The user of an ordinary request hears of it by the response, until that was let go.
        let is_asked_about = match self.lease.is_some() && self.stream.is_ordinary() {
            true => self.stream.wish() != Wish::Close,
            false => self.stream.is_asked_about(),
        };
        !is_asked_about && self.stream.outbox.has_unsent_bytes()
    }

    /// Whether nothing is left to do or to count.
    pub(super) fn is_finished(&self) -> bool {
        self.over && self.stream.inbox.len() == 0
    }
}
