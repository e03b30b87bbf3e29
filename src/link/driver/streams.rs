//! The driver's work for its streams: their beginning, their turn, their end, their windows.

use std::sync::Arc;

use h2conn_engine::{OpenError, Protocol};
use http::{Request, request};
use tokio::time::Instant;

use super::sending::heads_room;
use super::{Driver, STREAMS_AT_FIRST, Timer, stay};
use crate::config::REJECTION_WAIT;
use crate::conn::{Exchange, Offer, Quiet, Stream, Transport, Wish};
use crate::error::{Ending, Error, ErrorKind, Reason};
use crate::link::Lease;
use crate::link::backlog::{Line, NoPlace};
use crate::link::carrier::LinkCarrier;
use crate::link::entry::{Entry, Head};
use crate::link::events::Arrival;
use crate::link::fault;
use crate::link::ids::Place;
use crate::link::session::Session;
use crate::observe::{self, Cause};

impl Driver {
    /// Takes in a stream that this side opens.
    pub(super) fn open(
        &mut self,
        stream: Arc<Stream>,
        carrier: Arc<LinkCarrier>,
        lease: Option<Lease>,
    ) {
        self.idle.is_over();
        let fields = stream.exchange().and_then(Exchange::take_fields);
        let mut entry = Entry::new(stream, carrier, Head::Unsent(fields.map(Box::new)));
        entry.lease = lease;
        let key = self.insert(entry);
        self.unsent.push_back(key);
        self.look_at(key);
    }

    /// Takes in a stream that the peer has opened.
    pub(super) fn arrive(&mut self, mut arrival: Arrival) {
        let limit = match (arrival.request.take(), self.incoming.as_ref().map(Line::look)) {
            (Some(request), Some(Ok(()))) => return self.take_in(arrival, request),
            (None, _) if arrival.limit.is_none() => {
                // The client has taken it back.
                self.ids.remove(&arrival.id);
                return self.count_waste();
            }
            // The listener is ending.
            (_, Some(Err(NoPlace::Closed)) | None) => None,
            (Some(_), Some(Err(NoPlace::Full))) => Some("backlog"),
            (None, _) => arrival.limit,
        };
        // No task accepts it, or not soon enough, so the client may try again.
        self.ids.remove(&arrival.id);
        self.session.http2().reset(arrival.id, Reason::REFUSED_STREAM);
        self.session.http2().release_connection(arrival.content.len());
        if let Some(limit) = limit {
            observe::refused(limit, &self.shared.info.peer);
        }
        self.count_waste();
    }

    /// Takes back a request that the peer has given up before it was accepted.
    pub(super) fn withdraw(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if !matches!(entry.head, Head::Unanswered) {
            return;
        }
        entry.head = Head::Done;
        if entry.stream.is_ordinary() {
            // A reset by the program is no fault of the client.
            return match entry.stream.wish() {
                Wish::Reset(_) => {}
                _ => self.count_waste(),
            };
        }
        if entry.stream.inbox.is_complete() {
            // It can still be accepted, as from a client that has written and gone.
            return self.count_waste();
        }
        let is_waiting = |line: &Line| entry.id.is_some_and(|id| line.withdraw(id));
        if self.incoming.as_ref().is_some_and(is_waiting) {
            let message = "the request was taken back before it was accepted";
            entry.stream.inbox.abort(Error::new(ErrorKind::Aborted, message));
            self.count_waste();
        }
    }

    /// Takes in a stream of the peer, for which the listener has a place.
    fn take_in(&mut self, arrival: Arrival, request: Request<()>) {
        let (mut parts, ()) = request.into_parts();
        let transport = transport_of(&mut parts);
        let is_served = self.incoming.as_ref().is_some_and(Line::is_served);
        let fields = is_served.then(|| std::mem::take(&mut parts.headers));
        let (stream, carrier) = self.shared.stream(parts, transport, arrival.charge);
        if let Some(fields) = fields {
            stream.begin_exchange(fields);
        }
        if let (Some(trailers), Some(exchange)) = (arrival.trailers, stream.exchange()) {
            exchange.set_received(trailers.0, trailers.1);
        }
        carrier.set_id(arrival.id.get());
        let fields = carrier.fields();
        let mut entry = Entry::new(Arc::clone(&stream), carrier, Head::Unanswered);
        entry.id = Some(arrival.id);
        if !arrival.content.is_empty() {
            self.held += entry.keep(&arrival.content);
        }
        if arrival.end {
            entry.has_received_end();
        }
        let key = self.insert(entry);
        if let Some(line) = &self.incoming {
            line.push(arrival.id, Offer::new(stream), fields);
        }
        self.ids.insert(arrival.id, Place::Entry(key));
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

    /// Does the possible work for one stream.
    pub(super) fn look_at(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let wish = entry.stream.wish();
        entry.send_wanted_end(&mut self.session);
        if let Wish::Reset(reason) = wish
            && !entry.over
        {
            let ending = Ending::Local(reason, "reset on this side".into());
            entry.reset(&mut self.session, reason, &ending);
        }
        if !entry.over && matches!(entry.head, Head::Unanswered) && entry.has_head_to_send() {
            if heads_room(&self.session) > 0 {
                entry.inform(&mut self.session);
                if entry.answer(&mut self.session) && !self.first.was_accepted {
                    self.first.was_accepted = true;
                    self.shared.accepted.notify_one();
                }
                if matches!(entry.head, Head::Done) {
                    self.waste.make_up();
                }
            } else {
                self.heads_wait = true;
                if !std::mem::replace(&mut entry.waits_to_answer, true) {
                    self.unanswered.push(key);
                }
            }
        }
        self.release(key);
        let Some(entry) = self.streams.get_mut(key) else { return };
        let received = std::mem::take(&mut entry.received);
        entry.look_at_movement(received);
        if std::mem::take(&mut entry.was_rejected) {
            self.set_timer(key, Instant::now() + REJECTION_WAIT);
        }
        self.watch_movement(key);
        self.want_to_send(key);
        if wish != Wish::Close || !self.finishes_later(key) {
            self.finish_up(key, wish);
        }
    }

    /// Leaves the end of a stream to the end of this turn if the stream is about to send the rest.
    /// Most streams end with that, and need no timer.
    fn finishes_later(&mut self, key: usize) -> bool {
        let Some(entry) = self.streams.get_mut(key) else { return false };
        if !entry.send_state.queued || entry.over || entry.linger.has_begun() {
            return false;
        }
        entry.send_state.finishes = true;
        if !std::mem::replace(&mut entry.send_state.unsettled, true) {
            self.unsettled.push(key);
        }
        true
    }

    /// Gives a stream its turn to send, if it has something to send.
    fn want_to_send(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let Some(id) = entry.id.filter(|_| entry.sends && !entry.over && !entry.send_state.queued)
        else {
            return;
        };
        let (bytes, end) = entry.stream.outbox.pending();
        if bytes == 0 && !end {
            return;
        }
        let http2 = self.session.http2();
        if bytes == 0 {
            http2.want_send_end(id);
        } else {
            http2.want_send(id);
        }
        let is_blocked = bytes > 0 && http2.send_capacity(id) == 0;
        entry.note_stall(is_blocked);
        entry.send_state.queued = !is_blocked;
        self.sendable |= !is_blocked;
        self.has_queued |= !is_blocked;
    }

    /// Sets when the stream is examined again. It has one timer, and the last call counts.
    pub(super) fn set_timer(&mut self, key: usize, at: Instant) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.timer.as_ref().is_some_and(|(_, set)| *set == at) {
            return;
        }
        if let Some((old, _)) = entry.timer.take() {
            self.timers.remove(&old);
        }
        entry.timer = Some((self.timers.insert_at(Timer::Stream(key), at), at));
    }

    pub(super) fn remove(&mut self, key: usize) {
        let Some(mut entry) = self.streams.try_remove(key) else { return };
        note_what_is_owed(&mut entry, &mut self.session);
        entry.carrier.leave_link();
        // The link's window gets every received byte back once, including those that the user has
        // just read.
        self.held -= entry.release(&mut self.session);
        self.session.http2().release_connection(entry.held);
        if let Some(id) = &entry.id {
            self.ids.remove(id);
        }
        let quiet = entry.quiet.as_ref().and_then(|quiet| quiet.timer.as_ref());
        for (timer, _) in entry.timer.iter().chain(quiet) {
            self.timers.remove(timer);
        }
        self.held -= entry.held;
        if entry.is_wide {
            self.wide.remove(key);
        }
        if self.streams.is_empty() {
            // The link may have been waiting for this, to say goodbye.
            self.shared.ask();
        }
    }

    /// Looks again at the streams whose answers had to wait for room.
    pub(super) fn send_answers(&mut self) {
        self.heads_wait = false;
        if self.unanswered.is_empty() || heads_room(&self.session) == 0 {
            self.heads_wait = !self.unanswered.is_empty();
            return;
        }
        for key in std::mem::take(&mut self.unanswered) {
            if let Some(entry) = self.streams.get_mut(key) {
                entry.waits_to_answer = false;
            }
            self.look_at(key);
        }
    }

    /// Sends the requests that wait, as far as the peer takes more streams.
    pub(super) fn send_requests(&mut self) {
        self.settings_wait = false;
        self.limit_waits = false;
        if self.end.is_some() {
            return;
        }
        while let Some(&key) = self.unsent.front() {
            if heads_room(&self.session) == 0 {
                self.heads_wait = true;
                return;
            }
            if !self.send_request(key) {
                return;
            }
            self.unsent.pop_front();
            self.look_at(key);
        }
    }

    /// Sends a request. `false` if it must wait, and with it the requests behind it.
    fn send_request(&mut self, key: usize) -> bool {
        let Some(entry) = self.streams.get_mut(key).filter(|entry| !entry.over) else {
            return true;
        };
        let Head::Unsent(fields) = &entry.head else { return true };
        let state = self.session.state();
        let has_settings = state.has_peer_settings();
        let protocol = entry.stream.transport.protocol();
        if !has_settings && (protocol.is_some() || state.open_streams() >= STREAMS_AT_FIRST) {
            self.settings_wait = true;
            return false;
        }
        let end = entry.stream.ends_with_head();
        let request = &entry.stream.request;
        let headers = fields.as_deref().unwrap_or(&request.headers);
        let asked = protocol.and_then(|protocol| Protocol::new(protocol).ok());
        let ending = match (self.session.open(request, headers, asked.as_ref(), end), protocol) {
            (Ok(id), _) => {
                entry.head = Head::Asked;
                entry.id = Some(id);
                entry.sends = !end;
                if end {
                    entry.end_went_with_the_head();
                }
                entry.carrier.set_id(id.get());
                self.ids.insert(id, Place::Entry(key));
                let now = self.session.now();
                entry.activity.went = Some(now);
                self.has_asked(id, now);
                if stay::is_nearly_last(id, self.config.last_stream_id) {
                    self.shared.info.observed.retired(Cause::UsedUp);
                    self.shut_down();
                }
                return true;
            }
            (Err(OpenError::Limit { .. }), _) => {
                self.limit_waits = true;
                return false;
            }
            (Err(OpenError::NotOffered), Some(protocol)) => fault::not_offered(protocol),
            (Err(OpenError::Unsendable(error)), _) => fault::unsendable("request", &error),
            (Err(error), _) => match &self.news.goaway {
                Some(goaway) => fault::not_processed(goaway),
                None => Ending::NotProcessed(error.to_string().into()),
            },
        };
        entry.cut(&ending);
        true
    }

    /// Tells the users whose bytes have left, and examines the ends that were left for this.
    pub(super) fn settle(&mut self) {
        if self.end.is_some() {
            // It is unknown how much of it is sent.
            return;
        }
        let mut index = 0;
        while let Some(&key) = self.unsettled.get(index) {
            if self.settle_one(key) {
                index += 1;
            } else {
                self.unsettled.swap_remove(index);
            }
        }
    }

    /// Whether there is more to check for the stream.
    fn settle_one(&mut self, key: usize) -> bool {
        let moved = self.moved();
        let Some(entry) = self.streams.get_mut(key) else { return false };
        let more = entry.settle(&moved);
        entry.send_state.unsettled = more;
        entry.look_at_movement(false);
        // A stream that has had no turn may have none for long, so its clock begins now.
        let finishes = std::mem::take(&mut entry.send_state.finishes);
        if finishes || (!entry.sends && entry.stream.outbox.is_sent()) {
            let wish = entry.stream.wish();
            self.finish_up(key, wish);
        }
        more && self.streams.contains(key)
    }
}

/// Makes the session remember, once, that a stream which is over must arrive in full.
pub(super) fn note_what_is_owed(entry: &mut Entry, session: &mut Session) {
    if !std::mem::replace(&mut entry.owes_nothing, true) && entry.id.is_some() {
        session.must_be_whole();
    }
}

/// The transport that a client's request asks for.
fn transport_of(request: &mut request::Parts) -> Transport {
    match request.extensions.remove::<Protocol>() {
        Some(protocol) => Transport::ExtendedConnect(protocol.as_str().into()),
        None => Transport::Request,
    }
}
