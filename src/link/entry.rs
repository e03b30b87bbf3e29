//! The driver's side of one stream.

use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, response};
use tokio::time::Instant;
use tokio_util::time::delay_queue;

use super::Lease;
use super::bandwidth::Part;
use super::carrier::LinkCarrier;
use super::fault;
use super::quiet::Quiet;
use super::wire::WantedResets;
use crate::conn::{Linger, Stream};
use crate::error::{Ending, Error, ErrorKind, Reason, request_name};
use crate::pipe::Batch;

/// One stream: its h2 handles, which nobody else touches (T4), and how far it has come.
///
/// The handles are kept until the stream is over, because dropping the last one makes h2 discard
/// what it still has to send (T3), and until the user has read everything, because what is unread
/// counts against the link's window.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) stream: Arc<Stream>,
    pub(super) carrier: Arc<LinkCarrier>,
    pub(super) head: Head,
    pub(super) send: Option<SendStream<Batch>>,
    pub(super) recv: Option<RecvStream>,
    /// END_STREAM, or the end of an error, has come in.
    pub(super) received_end: bool,
    /// Both directions are over, or the stream was cut.
    pub(super) over: bool,
    /// Bytes given to the inbox whose window is not yet given back.
    pub(super) held: usize,
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
    /// It was ended by something that can end a whole link.
    pub(super) is_cut: bool,
    wanted_resets: WantedResets,
}

/// Where the exchange of heads stands.
#[derive(Debug)]
pub(super) enum Head {
    /// Client: the request waits for its turn.
    Unsent(Request<()>),
    /// Client: sent.
    Asked(ResponseFuture),
    /// Client: the answer is not 2xx, and the beginning of its body is collected.
    Rejected(Box<response::Parts>, BytesMut),
    /// Server: the user has not answered yet.
    Unanswered(SendResponse<Batch>),
    /// Both heads are through.
    Done,
}

/// What the sending side has to do with the driver's lists.
#[derive(Debug, Default)]
pub(super) struct SendState {
    /// It is in the queue of streams that can send.
    pub(super) queued: bool,
    /// It is in the list of streams of which h2 or the wire may still hold bytes.
    pub(super) unsettled: bool,
    /// Once the wire has written so much, the outbox is sent up to this position.
    pub(super) mark: Option<(u64, u64)>,
    /// The peer's window is full.
    pub(super) blocked: bool,
    /// There is a PING between the bytes and END_STREAM, or need not be.
    pub(super) end_may_go: bool,
}

impl Entry {
    pub(super) fn new(
        stream: Arc<Stream>,
        carrier: Arc<LinkCarrier>,
        head: Head,
        wanted_resets: WantedResets,
    ) -> Entry {
        Entry {
            stream,
            carrier,
            head,
            send: None,
            recv: None,
            received_end: false,
            over: false,
            held: 0,
            part: Part::default(),
            send_state: SendState::default(),
            linger: Linger::default(),
            timer: None,
            quiet: None,
            lease: None,
            is_cut: false,
            wanted_resets,
        }
    }

    /// Lists the stream for its driver.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.carrier))
    }

    /// What the request was, for an error's text.
    pub(super) fn what(&self) -> String {
        request_name(&self.stream.request.method, &self.stream.request.uri)
    }

    /// Whether a response is still due to this client's user.
    fn awaits_answer(&self) -> bool {
        matches!(self.head, Head::Unsent(_) | Head::Asked(_))
    }

    /// Ends both directions because of `ending`. What has arrived is still read first.
    pub(super) fn cut(&mut self, ending: &Ending) {
        self.is_cut = !ending.is_of_stream();
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
    pub(super) fn reset(&mut self, reason: Reason, ending: &Ending) {
        self.send_reset(reason);
        self.cut(ending);
    }

    /// Sends RST_STREAM; h2 sends it only if the stream is not over already.
    pub(super) fn send_reset(&mut self, reason: Reason) {
        let (code, reason) = (reason.code(), fault::to_h2(reason));
        if let Some(send) = &mut self.send {
            self.wanted_resets.note(send.stream_id().as_u32(), code);
            send.send_reset(reason);
        } else if let Head::Unanswered(respond) = &mut self.head {
            self.wanted_resets.note(respond.stream_id().as_u32(), code);
            respond.send_reset(reason);
        }
    }

    /// Nothing will be sent or received any more.
    pub(super) fn end(&mut self, how: Result<(), Error>) {
        self.over = true;
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
