//! What the driver does for its streams: their beginning, their turn, their end, their windows.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::{Driver, Timer, stay};
use crate::config::REJECTION_WAIT;
use crate::conn::{Offer, Stream, Wish};
use crate::error::{Ending, Reason};
use crate::link::Lease;
use crate::link::budget::Share;
use crate::link::carrier::LinkCarrier;
use crate::link::connect;
use crate::link::entry::{Entry, Head};
use crate::link::fault;
use crate::link::peer::{Arrival, Peer};
use crate::link::quiet::Quiet;
use crate::link::recv::head_size;
use crate::link::wire::Reading;
use crate::observe::{self, Cause};
use crate::pipe::Batch;

impl Driver {
    /// A stream of ours.
    pub(super) fn open(
        &mut self,
        stream: Arc<Stream>,
        carrier: Arc<LinkCarrier>,
        lease: Option<Lease>,
    ) {
        self.idle.is_over();
        let mut request = Request::from_parts(stream.request.clone(), ());
        connect::set_protocol(&mut request, &stream.transport);
        let head = Head::Unsent(request);
        let wanted = self.gauge.wanted_resets();
        let mut entry = Entry::new(stream, carrier, head, wanted);
        entry.lease = lease;
        let key = self.insert(entry);
        self.unsent.push_back(key);
        self.look_at(key);
    }

    /// A stream of the peer's.
    pub(super) fn arrive(&mut self, (request, mut respond): Arrival) {
        let memory = self.takes_more();
        let Some(incoming) = &self.incoming else { return };
        let limit = match incoming.clone().try_reserve_owned() {
            Ok(place) if memory => return self.take_in(request, respond, place),
            Ok(_) => Some("max_memory"),
            Err(TrySendError::Full(_)) => Some("backlog"),
            // The listener is on its way out.
            Err(TrySendError::Closed(_)) => None,
        };
        // Nobody takes it, or not soon enough: the client may try again.
        let refused = h2::Reason::REFUSED_STREAM;
        self.gauge.wanted_resets().note(respond.stream_id().as_u32(), refused.into());
        respond.send_reset(refused);
        if let Some(limit) = limit {
            observe::refused(limit, &self.shared.info.peer);
        }
    }

    /// A stream of the peer's, for which the listener has a place.
    fn take_in(
        &mut self,
        request: Request<RecvStream>,
        respond: SendResponse<Batch>,
        place: OwnedPermit<Offer>,
    ) {
        let (mut parts, body) = request.into_parts();
        let transport = connect::transport_of(&mut parts);
        let (stream, carrier) = self.shared.stream(parts, transport);
        carrier.set_id(respond.stream_id().as_u32());
        let head = Head::Unanswered(respond);
        let wanted = self.gauge.wanted_resets();
        let mut entry = Entry::new(Arc::clone(&stream), carrier, head, wanted);
        entry.recv = Some(body);
        place.send(Offer::new(stream));
        let key = self.insert(entry);
        self.look_at(key);
    }

    pub(super) fn insert(&mut self, mut entry: Entry) -> usize {
        entry.quiet = Quiet::new(&self.config);
        entry.stream.inbox.set_threshold(self.windows.stream() as usize / 4);
        self.watch_peer();
        let place = self.streams.vacant_entry();
        entry.carrier.set_key(place.key());
        let key = place.key();
        place.insert(entry);
        key
    }

    /// Does for one stream what can be done now.
    pub(super) fn look_at(&mut self, key: usize) {
        let room = self.heads_room();
        let Some(entry) = self.streams.get_mut(key) else { return };
        let waker = entry.waker();
        let mut cx = Context::from_waker(&waker);
        let wish = entry.stream.wish();
        if let Wish::Reset(reason) = wish
            && !entry.over
        {
            entry.reset(reason, &Ending::Local(reason, "reset on this side".into()));
        }
        let may_answer = room > 0;
        let was_over = entry.over;
        let received = entry.receive(&mut cx, self.end.as_ref(), may_answer);
        if self.end.is_some() && !was_over && entry.over && entry.is_cut {
            self.cut += 1;
        }
        self.heads += received.head;
        if received.waits {
            self.heads_wait = true;
            self.unanswered.push(key);
        }
        self.held = self.held + received.held - received.released;
        self.probe.count(&mut entry.part, received.released);
        entry.look_at_movement(received.held > 0);
        if received.rejected {
            self.set_timer(key, Instant::now() + REJECTION_WAIT);
        }
        self.watch_movement(key);
        self.finish_up(key, wish);
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.can_send() && !entry.send_state.queued {
            entry.send_state.queued = true;
            self.sendable.push_back(key);
        }
    }

    /// Looks at the stream again then. It has one timer; the last one counts.
    pub(super) fn set_timer(&mut self, key: usize, at: Instant) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.timer.as_ref().is_some_and(|(_, set)| *set == at) {
            return;
        }
        if let Some((old, _)) = entry.timer.take() {
            self.timers.try_remove(&old);
        }
        entry.timer = Some((self.timers.insert_at(Timer::Stream(key), at), at));
    }

    pub(super) fn remove(&mut self, key: usize) {
        let Some(entry) = self.streams.try_remove(key) else { return };
        let quiet = entry.quiet.as_ref().and_then(|quiet| quiet.timer.as_ref());
        for (timer, _) in entry.timer.iter().chain(quiet) {
            self.timers.try_remove(timer);
        }
        self.held -= entry.held;
        if self.streams.is_empty() {
            // The link may have been waiting for that, to say goodbye.
            self.shared.ask();
        }
    }

    /// Looks again at the streams whose answers had to wait for room.
    pub(super) fn send_answers(&mut self) {
        self.heads_wait = false;
        for key in std::mem::take(&mut self.unanswered) {
            self.look_at(key);
        }
    }

    /// Sends the requests that wait, as far as the peer takes more streams.
    pub(super) fn send_requests(&mut self) {
        self.settings_wait = false;
        while let Some(&key) = self.unsent.front() {
            if self.heads_room() == 0 {
                self.heads_wait = true;
                return;
            }
            let Some(entry) = self.streams.get_mut(key) else {
                self.unsent.pop_front();
                continue;
            };
            if entry.over || !matches!(entry.head, Head::Unsent(_)) {
                self.unsent.pop_front();
                continue;
            }
            let Peer::Client { send: Some(send), .. } = &mut self.peer else {
                self.unsent.pop_front();
                entry.cut(&Ending::NotProcessed("the link was closed before the request".into()));
                self.look_at(key);
                continue;
            };
            if let Some(protocol) = entry.stream.transport.protocol() {
                if !self.reading.has_settings {
                    self.settings_wait = true;
                    return;
                }
                if !send.is_extended_connect_protocol_enabled() {
                    self.unsent.pop_front();
                    entry.cut(&connect::not_offered(protocol));
                    self.look_at(key);
                    continue;
                }
            }
            let result = match send.poll_ready(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => return,
                Poll::Ready(result) => result,
            };
            self.unsent.pop_front();
            let Head::Unsent(request) = std::mem::replace(&mut entry.head, Head::Done) else {
                continue;
            };
            self.heads += head_size(request.headers()) + request.uri().path().len();
            let retry = request.clone();
            let mut used_up = false;
            match result.and_then(|()| send.send_request(request, false)) {
                Ok((response, send)) => {
                    entry.carrier.set_id(response.stream_id().as_u32());
                    used_up =
                        stay::is_nearly_last(response.stream_id(), self.config.last_stream_id);
                    entry.head = Head::Asked(response);
                    entry.send = Some(send);
                }
                Err(error) => {
                    entry.head = Head::Unsent(retry);
                    let ending = match fault::stream_end(error, self.end.as_ref(), false) {
                        Ending::Violation(_, text) => Ending::NotProcessed(text),
                        ending => ending,
                    };
                    entry.cut(&ending);
                }
            }
            self.look_at(key);
            if used_up {
                self.shared.info.observed.retired(Cause::UsedUp);
                self.shut_down();
            }
        }
    }

    /// Tells the users whose bytes have left.
    pub(super) fn settle(&mut self) {
        if self.end.is_some() {
            // h2 has dropped what it had, sent or not.
            return;
        }
        let Reading { accepted, flushed, .. } = self.reading;
        let mut index = 0;
        while let Some(&key) = self.unsettled.get(index) {
            if self.settle_one(key, accepted, flushed) {
                index += 1;
            } else {
                self.unsettled.swap_remove(index);
            }
        }
    }

    /// Whether there is more to see of the stream.
    fn settle_one(&mut self, key: usize, accepted: u64, flushed: u64) -> bool {
        let Some(entry) = self.streams.get_mut(key) else { return false };
        let more = entry.settle(accepted, flushed);
        entry.send_state.unsettled = more;
        entry.look_at_movement(false);
        if entry.stream.outbox.is_sent() {
            let wish = entry.stream.wish();
            self.finish_up(key, wish);
        }
        more && self.streams.contains(key)
    }

    /// New windows are in force: streams whose window fell below what their users have read must
    /// say so, and h2 looks at that only when it is asked.
    pub(super) fn refresh_windows(&mut self) {
        let acks = std::mem::replace(&mut self.settings_acks, self.reading.settings_acks);
        if acks == self.reading.settings_acks {
            return;
        }
        if acks == 0 {
            // A round trip that has cost nothing.
            self.shared.set_first_rtt(self.shared.began.elapsed());
        }
        for (_, entry) in &mut self.streams {
            if let Some(recv) = &mut entry.recv
                && !entry.over
            {
                let _ = recv.flow_control().release_capacity(0);
            }
        }
    }

    /// Keeps what the peer may send within the link's memory (T6).
    pub(super) fn adjust_windows(&mut self) {
        self.measure();
        if let Some(window) = self.windows.wanted_link_window(self.held) {
            self.peer.set_link_window(window);
        }
        if let Some(window) = self.windows.wanted_stream_window(self.streams.len())
            && self.peer.set_stream_window(window)
        {
            self.settings_sent += 1;
            self.windows.set_stream_window(window);
            for (_, entry) in &self.streams {
                if !entry.over {
                    entry.stream.inbox.set_threshold(window as usize / 4);
                }
            }
        }
        if self.windows.is_over(self.held) {
            self.release_all();
        }
        if self.windows.is_over(self.held) {
            let memory = self.windows.memory();
            self.reset_the_hoarder(format_args!(
                "whose connections hold all of the {memory} bytes that they may together"
            ));
        }
        self.keep_to_the_share();
    }

    /// Begins to measure what the windows need, if that can change anything, and the peer knows
    /// those that are.
    fn measure(&mut self) {
        if self.windows.can_grow()
            && self.settings_acks == self.settings_sent
            && self.probe.is_due(self.windows.stream())
            && self.send_ping()
        {
            self.probe.begin();
        }
    }

    /// Keeps to what the links of the listener may hold together.
    fn keep_to_the_share(&mut self) {
        let conns = self.streams.len();
        let Some(share) = &mut self.share else { return };
        if !share.update(self.held, conns) && share.takes_more() && !share.is_asked() {
            return;
        }
        self.tell_what_is_unread();
        while let Some(share) = &mut self.share
            && share.must_hold_less()
        {
            let (before, cap) = (self.held, share.cap());
            self.reset_the_hoarder(format_args!(
                "and all links of the listener hold the {cap} bytes that they may together"
            ));
            if self.held >= before {
                return;
            }
            self.tell_what_is_unread();
        }
    }

    /// Counts nothing that users have read in what is told to the other links.
    fn tell_what_is_unread(&mut self) {
        self.release_all();
        if let Some(share) = &mut self.share {
            share.update(self.held, self.streams.len());
            share.answer();
        }
    }

    /// Whether there is memory for one more stream of the peer's.
    fn takes_more(&mut self) -> bool {
        let takes_more = |share: &Option<Share>| share.as_ref().is_none_or(Share::takes_more);
        if !takes_more(&self.share) {
            self.tell_what_is_unread();
        }
        takes_more(&self.share)
    }

    /// Gives back the windows of all that users have read, which otherwise waits until it is worth
    /// a frame: little is left, and nobody is to be told off for what is not unread.
    fn release_all(&mut self) {
        for (_, entry) in &mut self.streams {
            let released = entry.release();
            self.held -= released;
            self.probe.count(&mut entry.part, released);
        }
    }

    fn reset_the_hoarder(&mut self, all: fmt::Arguments<'_>) {
        let most = self.streams.iter_mut().max_by_key(|(_, entry)| entry.stream.inbox.len());
        let Some((key, entry)) = most.filter(|(_, entry)| entry.stream.inbox.len() > 0) else {
            return;
        };
        let message = format!(
            "reset here: {} bytes of it lie unread, the most of its link, {all}; read faster, or \
             allow more memory",
            entry.stream.inbox.len(),
        );
        observe::hoarder_reset(&entry.stream.link.peer, &message);
        let ending = Ending::Local(Reason::ENHANCE_YOUR_CALM, message.into());
        entry.stream.inbox.abort(ending.read_error());
        if !entry.over {
            entry.reset(Reason::ENHANCE_YOUR_CALM, &ending);
        }
        self.look_at(key);
    }
}
