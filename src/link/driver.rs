//! The one task of a link: the only code that touches h2.
//!
//! A turn takes what users ask for, moves what has come to the inboxes, hands what is to go to h2,
//! lets h2 read and write, and looks at what has left. Turns go on while there is work, a bounded
//! number at a time.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use slab::Slab;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::time::DelayQueue;

use super::entry::{Entry, Head, Linger};
use super::fault;
use super::peer::{Arrival, Peer};
use super::ping::Pinger;
use super::send::Sent;
use super::signal::{NO_KEY, StreamWaker};
use super::window::Windows;
use super::wire::{DATA_ROOM, Gauge, Reading};
use super::{Command, Shared, unsent};
use crate::config::{Config, LINGER_DRAIN, LINGER_STALL, REJECTION_WAIT};
use crate::conn::{Offer, Stream, Wish, runtime_is_gone};
use crate::error::{Error, Event, Reason};

/// Turns before other tasks are let in.
const TURNS: usize = 16;

/// What one stream may send before the next has its turn.
const SHARE: usize = 64 << 10;

/// Heads wait while this much waits for the transport: they are control bytes, which may not fill
/// the spill.
const HEADS_ROOM: usize = 64 << 10;

/// A link that has said goodbye must be gone after this.
const GOODBYE: Duration = Duration::from_secs(10);

/// A transport that takes no more may still give the reason, for this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the transport is kept, after this side has ended it, for the peer to end it too.
const PARTING: Duration = Duration::from_secs(2);

pub(super) struct Driver {
    shared: Arc<Shared>,
    peer: Peer,
    gauge: Gauge,
    config: Config,
    windows: Windows,
    pinger: Pinger,
    streams: Slab<Entry>,
    /// Streams whose request is not yet sent.
    unsent: VecDeque<usize>,
    /// Streams that have something to send, in turn.
    sendable: VecDeque<usize>,
    /// Streams of which something has been handed over and not yet written.
    unsettled: Vec<usize>,
    /// Room for the keys of a turn's ready streams.
    ready: Vec<usize>,
    arrivals: VecDeque<Arrival>,
    /// Where a server's new streams go.
    incoming: Option<mpsc::Sender<Offer>>,
    timers: DelayQueue<Timer>,
    /// Bytes that all streams hold unread.
    held: usize,
    reading: Reading,
    closing: bool,
    broken: bool,
    end: Option<Event>,
    /// Everything is over but the transport.
    parting: Option<Pin<Box<Sleep>>>,
    waker: Waker,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug)]
enum Timer {
    /// The peer's SETTINGS should have come.
    Handshake,
    /// The transport takes no more, and should have said why.
    Broken,
    /// The link should be gone.
    Goodbye,
    /// A stream's linger, or a refusal's body.
    Stream(usize),
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        mut peer: Peer,
        gauge: Gauge,
        config: Config,
        windows: Windows,
        incoming: Option<mpsc::Sender<Offer>>,
    ) -> Driver {
        let mut timers = DelayQueue::new();
        timers.insert(Timer::Handshake, config.handshake_timeout);
        let pinger = Pinger::new(peer.ping_pong());
        let reading = gauge.drive(&mut Context::from_waker(Waker::noop()));
        let waker = Waker::from(Arc::clone(&shared.signal));
        Driver {
            shared,
            peer,
            gauge,
            config,
            windows,
            pinger,
            streams: Slab::new(),
            unsent: VecDeque::new(),
            sendable: VecDeque::new(),
            unsettled: Vec::new(),
            ready: Vec::new(),
            arrivals: VecDeque::new(),
            incoming,
            timers,
            held: 0,
            reading,
            closing: false,
            broken: false,
            end: None,
            parting: None,
            waker,
        }
    }

    fn turn(&mut self) {
        self.obey();
        self.look_at_ready_streams();
        self.send_requests();
        self.send_data();
        self.drive_h2();
        self.settle();
        self.adjust_windows();
        self.check_peer();
        self.poll_timers();
    }

    /// Takes what the link's handles ask for.
    fn obey(&mut self) {
        for command in self.shared.take_commands() {
            match command {
                Command::Open(stream, waker) => self.open(stream, waker),
                Command::Ping(answer) => self.pinger.ask(answer),
                Command::ShutDown => self.shut_down(),
                Command::Abort(reason, why) => self.abort(reason, why),
            }
        }
        let unused = self.shared.is_unused() && self.streams.is_empty();
        if unused && matches!(self.peer, Peer::Client { .. }) {
            self.shut_down();
        }
    }

    fn shut_down(&mut self) {
        if !self.closing {
            self.closing = true;
            self.shared.set_going_away();
            self.peer.shut_down();
        }
    }

    /// Resets what lives, so that each stream's peer learns why, and then says goodbye.
    fn abort(&mut self, reason: Reason, why: &'static str) {
        let event = Event::Local(reason, why.into());
        for (_, entry) in &mut self.streams {
            if !entry.over {
                entry.reset(reason, &event);
            }
        }
        if self.end.is_none() {
            let waker = self.waker.clone();
            let mut cx = Context::from_waker(&waker);
            let _ = self.peer.poll(&mut cx, &mut self.arrivals);
        }
        self.peer.abort(h2::Reason::NO_ERROR);
        self.give_up(event);
    }

    /// A stream of ours.
    fn open(&mut self, stream: Arc<Stream>, waker: Arc<StreamWaker>) {
        let parts = stream.request.clone();
        let head = Head::Unsent(Request::from_parts(parts, ()));
        let key = self.insert(Entry::new(stream, Waker::from(Arc::clone(&waker)), head));
        waker.set_key(key);
        self.unsent.push_back(key);
        self.look_at(key);
    }

    /// A stream of the peer's.
    fn arrive(&mut self, (request, mut respond): Arrival) {
        let (parts, body) = request.into_parts();
        let Some(incoming) = &self.incoming else { return };
        let Ok(place) = incoming.try_reserve() else {
            // Nobody takes it, or not soon enough: the client may try again.
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            return;
        };
        let waker = StreamWaker::new(&self.shared.signal);
        let stream = self.shared.stream(parts, Arc::clone(&waker));
        let mut entry = Entry::new(
            Arc::clone(&stream),
            Waker::from(Arc::clone(&waker)),
            Head::Unanswered(respond),
        );
        entry.recv = Some(body);
        place.send(Offer::new(stream));
        let key = self.insert(entry);
        waker.set_key(key);
        self.look_at(key);
    }

    fn insert(&mut self, entry: Entry) -> usize {
        entry.stream.inbox.set_threshold(self.windows.stream() as usize / 4);
        let key = self.streams.insert(entry);
        self.shared.set_open(self.streams.len());
        key
    }

    fn look_at_ready_streams(&mut self) {
        let mut ready = std::mem::take(&mut self.ready);
        self.shared.signal.take_ready(&mut ready);
        for key in ready.drain(..) {
            if key != NO_KEY {
                self.look_at(key);
            }
        }
        self.ready = ready;
    }

    /// Does for one stream what can be done now.
    fn look_at(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let waker = entry.waker.clone();
        let mut cx = Context::from_waker(&waker);
        let wish = entry.stream.wish();
        if let Wish::Reset(reason) = wish
            && !entry.over
        {
            entry.reset(reason, &Event::Local(reason, "reset on this side".into()));
        }
        let received = entry.receive(&mut cx, self.end.as_ref());
        self.held = self.held + received.held - received.released;
        if received.rejected {
            self.set_timer(key, REJECTION_WAIT);
        }
        self.finish_up(key, wish);
        let Some(entry) = self.streams.get_mut(key) else { return };
        if entry.can_send() && !entry.send_state.queued {
            entry.send_state.queued = true;
            self.sendable.push_back(key);
        }
    }

    /// Sees to a stream's end: what is still awaited, and its removal when nothing is.
    fn finish_up(&mut self, key: usize, wish: Wish) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        let sent = entry.stream.outbox.is_sent();
        if !entry.over && entry.received_end && sent {
            entry.end(Ok(()));
        }
        if !entry.over && wish == Wish::Close {
            let (next, time) = match entry.linger {
                Linger::No if !sent => {
                    (Some(Linger::Flushing(entry.stream.outbox.settle())), LINGER_STALL)
                }
                Linger::No | Linger::Flushing(_) if sent => {
                    (Some(Linger::Draining(0)), LINGER_DRAIN)
                }
                _ => (None, LINGER_DRAIN),
            };
            if let Some(next) = next {
                entry.linger = next;
                self.set_timer(key, time);
            }
        }
        if self.streams.get(key).is_some_and(Entry::is_finished) {
            self.remove(key);
        }
    }

    /// Looks at the stream again after `time`. It has one timer; the last one counts.
    fn set_timer(&mut self, key: usize, time: Duration) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        if let Some(old) = entry.timer.take() {
            self.timers.try_remove(&old);
        }
        entry.timer = Some(self.timers.insert(Timer::Stream(key), time));
    }

    fn remove(&mut self, key: usize) {
        let Some(entry) = self.streams.try_remove(key) else { return };
        if let Some(timer) = &entry.timer {
            self.timers.try_remove(timer);
        }
        self.held -= entry.held;
        self.shared.set_open(self.streams.len());
        if self.streams.is_empty() {
            // The link may have been waiting for that, to say goodbye.
            self.shared.ask();
        }
    }

    /// Sends the requests that wait, as far as the peer takes more streams.
    fn send_requests(&mut self) {
        while let Some(&key) = self.unsent.front() {
            if self.reading.backlog() > HEADS_ROOM {
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
                entry.cut(&Event::NotProcessed("the link was closed before the request".into()));
                self.look_at(key);
                continue;
            };
            let result = match send.poll_ready(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => return,
                Poll::Ready(result) => result,
            };
            self.unsent.pop_front();
            let Head::Unsent(request) = std::mem::replace(&mut entry.head, Head::Done) else {
                continue;
            };
            let retry = request.clone();
            match result.and_then(|()| send.send_request(request, false)) {
                Ok((response, send)) => {
                    entry.head = Head::Asked(response);
                    entry.send = Some(send);
                }
                Err(error) => {
                    entry.head = Head::Unsent(retry);
                    let event = match fault::stream_end(error, self.end.as_ref(), false) {
                        Event::Violation(_, text) => Event::NotProcessed(text),
                        event => event,
                    };
                    entry.cut(&event);
                }
            }
            self.look_at(key);
        }
    }

    /// Hands data to h2 while the transport takes it, a share to each stream in turn.
    fn send_data(&mut self) {
        while let Some(key) = self.sendable.pop_front() {
            let room = self.data_room();
            if room == 0 {
                self.sendable.push_front(key);
                return;
            }
            let Some(entry) = self.streams.get_mut(key) else { continue };
            let waker = entry.waker.clone();
            let mut cx = Context::from_waker(&waker);
            let sent = entry.send(&mut cx, SHARE.min(room), self.end.as_ref());
            if !entry.send_state.unsettled {
                entry.send_state.unsettled = true;
                self.unsettled.push(key);
            }
            match sent {
                Sent::More => self.sendable.push_back(key),
                Sent::All | Sent::Blocked => entry.send_state.queued = false,
            }
        }
    }

    /// How much more data may wait for the transport.
    fn data_room(&self) -> usize {
        let waiting = self.reading.backlog() + self.shared.buffers.in_flight();
        DATA_ROOM.saturating_sub(waiting)
    }

    /// Lets h2 read and write, once.
    fn drive_h2(&mut self) {
        self.gauge.begin_turn();
        self.shared.signal.clear();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if self.end.is_none()
            && let Poll::Ready(result) = self.peer.poll(&mut cx, &mut self.arrivals)
        {
            self.end_of_link(result);
        }
        self.pinger.poll(&mut cx);
        self.reading = self.gauge.drive(&mut cx);
        while let Some(arrival) = self.arrivals.pop_front() {
            self.arrive(arrival);
        }
    }

    /// h2 says that the link is over: its reason comes before what the streams will say (T9).
    fn end_of_link(&mut self, result: Result<(), h2::Error>) {
        let reading = self.gauge.read();
        let failure = self.gauge.take_read_error();
        let explained = failure.as_ref().and_then(Error::from_io);
        self.end = Some(match (explained, self.gauge.write_error()) {
            // The transport knows better than h2 what went wrong: TLS, most of all.
            (Some(error), _) if !reading.seen_settings => Event::Failed(error.clone()),
            (_, Some(error)) if result.is_ok() && !self.streams.is_empty() => {
                Event::Gone(Some(Arc::new(error)))
            }
            _ => fault::link_end(result, &self.gauge.first_bytes(), reading.seen_settings),
        });
    }

    /// Ends the link without waiting for the peer; what h2 has to say is said if it can be.
    fn give_up(&mut self, event: Event) {
        if self.end.is_none() {
            let mut cx = Context::from_waker(&self.waker);
            let _ = self.peer.poll(&mut cx, &mut self.arrivals);
            self.gauge.drive(&mut cx);
            self.end = Some(event);
        }
    }

    /// Tells the users whose bytes have left.
    fn settle(&mut self) {
        let Reading { accepted, flushed, .. } = self.reading;
        let mut index = 0;
        while let Some(&key) = self.unsettled.get(index) {
            let more = match self.streams.get_mut(key) {
                None => false,
                Some(entry) => {
                    let more = entry.settle(accepted, flushed);
                    entry.send_state.unsettled = more;
                    let (wish, sent) = (entry.stream.wish(), entry.stream.outbox.is_sent());
                    if sent {
                        self.finish_up(key, wish);
                    }
                    more
                }
            };
            if more {
                index += 1;
            } else {
                self.unsettled.swap_remove(index);
            }
        }
    }

    /// Keeps what the peer may send within the link's memory (T6).
    fn adjust_windows(&mut self) {
        if let Some(window) = self.windows.wanted_link_window(self.held) {
            self.peer.set_link_window(window);
        }
        if let Some(window) = self.windows.wanted_stream_window(self.streams.len())
            && self.peer.set_stream_window(window)
        {
            self.windows.set_stream_window(window);
            for (_, entry) in &self.streams {
                if !entry.over {
                    entry.stream.inbox.set_threshold(window as usize / 4);
                }
            }
        }
        if self.windows.is_over(self.held) {
            self.reset_the_hoarder();
        }
    }

    fn reset_the_hoarder(&mut self) {
        let most = self.streams.iter_mut().max_by_key(|(_, entry)| entry.stream.inbox.len());
        let Some((key, entry)) = most else { return };
        let message = format!(
            "reset here: {} bytes of it lie unread, the most of its link, whose connections hold \
             all of the {} bytes that they may together; read faster, or allow more memory",
            entry.stream.inbox.len(),
            self.windows.memory(),
        );
        tracing::warn!(peer = %entry.stream.link.peer, "{message}");
        let event = Event::Local(Reason::ENHANCE_YOUR_CALM, message.into());
        entry.stream.inbox.abort(event.read_error());
        if !entry.over {
            entry.reset(Reason::ENHANCE_YOUR_CALM, &event);
        }
        self.look_at(key);
    }

    /// Ends the link of a peer that breaks the rules that are ours.
    fn check_peer(&mut self) {
        if self.reading.seen_settings {
            self.shared.set_established();
        }
        if self.reading.seen_goaway {
            self.shared.set_going_away();
        }
        let why = match (self.reading.abuse, self.reading.overflowing) {
            (Some(kind), _) => format!("too many {kind} frames"),
            (None, true) => "answers pile up that are not read".to_owned(),
            (None, false) => return,
        };
        if self.end.is_none() {
            tracing::warn!(peer = %self.shared.info.peer, "link closed: {why}");
            self.peer.abort(h2::Reason::ENHANCE_YOUR_CALM);
            self.give_up(Event::Violation(Reason::ENHANCE_YOUR_CALM, why.into()));
        }
    }

    fn poll_timers(&mut self) {
        if self.reading.broken && !std::mem::replace(&mut self.broken, true) {
            self.timers.insert(Timer::Broken, LAST_WORDS);
        }
        if self.closing && self.streams.is_empty() && !self.shared.said_goodbye() {
            self.timers.insert(Timer::Goodbye, GOODBYE);
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(&mut cx) {
            match expired.into_inner() {
                Timer::Handshake if !self.reading.seen_settings => {
                    let first = self.gauge.first_bytes();
                    let time = self.config.handshake_timeout;
                    self.give_up(Event::Silent(silence(&first, time).into()));
                }
                Timer::Handshake => {}
                Timer::Broken => {
                    let error = self.gauge.write_error().map(Arc::new);
                    self.give_up(Event::Gone(error));
                }
                Timer::Goodbye => self.give_up(Event::Gone(None)),
                Timer::Stream(key) => self.time_is_up(key),
            }
        }
    }

    fn time_is_up(&mut self, key: usize) {
        let Some(entry) = self.streams.get_mut(key) else { return };
        entry.timer = None;
        if entry.finish_rejection() {
            return self.look_at(key);
        }
        match entry.linger {
            Linger::No => {}
            Linger::Draining(_) => entry.stop_draining(),
            Linger::Flushing(before) => {
                let now = entry.stream.outbox.settle();
                if now > before {
                    entry.linger = Linger::Flushing(now);
                    self.set_timer(key, LINGER_STALL);
                } else {
                    let message = format!(
                        "the peer took nothing for {} s of what was still to be sent",
                        LINGER_STALL.as_secs()
                    );
                    entry.reset(Reason::CANCEL, &Event::Silent(message.into()));
                }
            }
        }
        self.look_at(key);
    }

    /// Whether another turn has something to do now.
    fn has_work(&self) -> bool {
        self.shared.signal.is_flagged()
            || self.shared.is_asked()
            || (!self.sendable.is_empty() && self.data_room() > 0)
    }

    /// Hands on what has arrived, and fails what is left with the link's reason.
    fn finish(&mut self) {
        let event = self.end.clone().unwrap_or(Event::Gone(None));
        let mut cx = Context::from_waker(Waker::noop());
        for (_, entry) in &mut self.streams {
            entry.receive(&mut cx, Some(&event));
            if self.shared.is_established() && matches!(entry.head, Head::Unsent(_)) {
                entry.cut(&Event::NotProcessed(unsent(&event)));
            }
            if !entry.over && entry.received_end && entry.stream.outbox.is_sent() {
                entry.end(Ok(()));
            }
            if !entry.over {
                entry.cut(&event);
            }
        }
        self.streams.clear();
        self.incoming = None;
        self.shared.end(event);
        self.parting = Some(Box::pin(tokio::time::sleep(PARTING)));
    }

    /// Stays until the peer has ended the transport too. A socket that is closed with bytes unread
    /// is reset, and what it still had to send is lost.
    fn part(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let late = self.parting.as_mut().is_none_or(|time| time.as_mut().poll(cx).is_ready());
        if !late && self.gauge.poll_parted(cx).is_pending() {
            return Poll::Pending;
        }
        self.shared.set_gone();
        Poll::Ready(())
    }
}

/// Says what came of a handshake that did not end.
fn silence(first: &[u8], time: Duration) -> String {
    let seen = match first.len() {
        0 => "nothing at all".to_owned(),
        n => format!("{n} bytes, and no SETTINGS frame among them"),
    };
    format!(
        "no HTTP/2 handshake: the peer took the connection and sent {seen} within {} s; check that \
         an HTTP/2 server listens there (for one with TLS use https://)",
        time.as_secs_f32()
    )
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let shared = Arc::clone(&this.shared);
        shared.signal.begin(cx);
        for _ in 0..TURNS {
            if this.parting.is_some() {
                return this.part(&mut Context::from_waker(cx.waker()));
            }
            this.turn();
            if this.end.is_some() {
                this.finish();
                continue;
            }
            if !this.has_work() && shared.signal.sleep() {
                return Poll::Pending;
            }
        }
        shared.signal.give_way(cx);
        Poll::Pending
    }
}

/// A driver that ends before its link, with its runtime or by a panic, fails all its streams.
impl Drop for Driver {
    fn drop(&mut self) {
        let event = Event::Failed(runtime_is_gone());
        for (_, entry) in &mut self.streams {
            if !entry.over {
                entry.cut(&event);
            }
        }
        self.shared.end(event);
        self.shared.set_gone();
        self.shared.signal.close();
    }
}
