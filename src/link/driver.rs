//! The one task of a link: the only code that touches h2.
//!
//! A turn takes what users ask for, moves what has come to the inboxes, hands what is to go to h2,
//! lets h2 read and write, and looks at what has left. Turns go on while there is work, a bounded
//! number at a time.

mod end;
mod leave;
mod life;
mod linger;
mod stay;
mod streams;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leave::Waiter;
use slab::Slab;
use stay::Idle;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::time::{DelayQueue, delay_queue};

use super::bandwidth::Probe;
use super::budget::Share;
use super::carrier::NO_KEY;
use super::entry::Entry;
use super::peer::{Arrival, Peer};
use super::ping::{KeepAlive, Pinger};
use super::send::Sent;
use super::window::Windows;
use super::wire::{DATA_ROOM, Gauge, Reading};
use super::{Command, Shared};
use crate::alive::{Counted, Kind};
use crate::config::Config;
use crate::conn::Offer;
use crate::error::{Ending, Error};
use crate::observe::Cause;

/// Turns before other tasks are let in.
const TURNS: usize = 16;

/// Heads wait while this much waits for the transport: they are control bytes, which may not fill
/// the spill.
const HEADS_ROOM: usize = 64 << 10;

/// A client that owes nothing must have said after this that no request of it is on its way.
const GOODBYE: Duration = Duration::from_secs(10);

/// A transport that takes no more may still give the reason, for this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the transport is kept when the peer has everything: for it to answer the last word, and then,
/// after this side has ended the transport, to end it too.
const PARTING: Duration = Duration::from_secs(2);

/// The same where this side's time is up: as long as the resets that say so may take to leave.
const CUT_SHORT: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    shared: Arc<Shared>,
    peer: Peer,
    gauge: Gauge,
    config: Config,
    windows: Windows,
    probe: Probe,
    pinger: Pinger,
    keep_alive: KeepAlive,
    /// When the transport last took something; kept up to date only for a `stall_timeout`.
    took: Instant,
    /// How slow PINGs were by the wish of the peer when the link was made.
    first_pace: u8,
    /// A timer for that is set.
    watching: bool,
    streams: Slab<Entry>,
    /// Streams whose request is not yet sent.
    unsent: VecDeque<usize>,
    /// Streams that have something to send, in turn.
    sendable: VecDeque<usize>,
    /// Streams whose END_STREAM goes behind a PING, which goes behind their bytes.
    ends: Vec<usize>,
    /// Streams of which something has been handed over and not yet written.
    unsettled: Vec<usize>,
    /// Room for the keys of a turn's ready streams.
    ready: Vec<usize>,
    arrivals: VecDeque<Arrival>,
    /// Where a server's new streams go.
    incoming: Option<mpsc::Sender<Offer>>,
    /// A server's part in what all links of its listener may hold.
    share: Option<Share>,
    timers: DelayQueue<Timer>,
    idle: Idle,
    /// Streams whose answer waits for room.
    unanswered: Vec<usize>,
    /// About the bytes of heads handed over in this turn; with what waits for the transport, they
    /// are bounded by [`HEADS_ROOM`].
    heads: usize,
    heads_wait: bool,
    /// A request can only go, or fail, once the peer's SETTINGS are there.
    settings_wait: bool,
    /// Bytes that h2 holds because their streams' windows have shrunk below them.
    stuck: usize,
    /// SETTINGS that the peer was sent, and that it has acknowledged.
    settings_sent: u64,
    settings_acks: u64,
    /// Bytes that all streams hold unread.
    held: usize,
    reading: Reading,
    closing: bool,
    /// h2 has ended the link in good order, and the link is about to leave.
    is_over: bool,
    /// Those who wait for the peer to have got what was sent.
    waiters: Vec<Waiter>,
    /// The number of the last PING that the peer was asked by.
    asked: u64,
    /// The number of the PING behind everything, GOAWAY included.
    farewell: u64,
    /// The number of the last PING whose acknowledgement was seen.
    answered: u64,
    /// Streams that lived when the link ended.
    cut: usize,
    /// Those of them that were reset because their client was closed.
    cut_in_use: usize,
    /// Why a stream that nobody holds was given up before all of it was sent: the first of those.
    lost: Option<Error>,
    /// No stream is left, or h2 has ended the link: the timer by which it should be gone.
    leaving: Option<delay_queue::Key>,
    broken: bool,
    end: Option<Ending>,
    /// h2 has ended the link without an error.
    ended_well: bool,
    /// Everything is over but the transport.
    parting: Option<Pin<Box<Sleep>>>,
    waker: Waker,
    _counted: Counted,
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
    /// The peer has perhaps been silent for long.
    KeepAlive,
    /// Nobody may have used the link for long enough.
    Idle,
    /// The link has been there for long enough.
    Age,
    /// A stream's linger, or a refusal's body.
    Stream(usize),
    /// A stream on which perhaps nothing moves.
    Quiet(usize),
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        mut peer: Peer,
        gauge: Gauge,
        config: Config,
        windows: Windows,
        incoming: Option<(mpsc::Sender<Offer>, Share)>,
    ) -> Driver {
        let mut timers = DelayQueue::new();
        timers.insert(Timer::Handshake, config.handshake_timeout);
        if let Some(age) = config.max_link_age {
            timers.insert(Timer::Age, stay::about(age));
        }
        let pinger = Pinger::new(peer.ping_pong());
        let reading = gauge.drive(&mut Context::from_waker(Waker::noop()));
        let waker = Waker::from(Arc::clone(&shared));
        let (incoming, share) = incoming.unzip();
        let first_pace = config.pace.doublings();
        let while_idle = config.keep_alive_while_idle;
        let mut driver = Driver {
            shared,
            peer,
            gauge,
            config,
            windows,
            probe: Probe::new(),
            pinger,
            keep_alive: KeepAlive::new(Instant::now()),
            took: Instant::now(),
            first_pace,
            watching: false,
            streams: Slab::new(),
            unsent: VecDeque::new(),
            sendable: VecDeque::new(),
            ends: Vec::new(),
            unsettled: Vec::new(),
            ready: Vec::new(),
            arrivals: VecDeque::new(),
            incoming,
            share,
            timers,
            idle: Idle::default(),
            unanswered: Vec::new(),
            heads: 0,
            heads_wait: false,
            settings_wait: false,
            stuck: 0,
            settings_sent: 1,
            settings_acks: 0,
            held: 0,
            reading,
            closing: false,
            is_over: false,
            waiters: Vec::new(),
            asked: 0,
            farewell: 0,
            answered: 0,
            cut: 0,
            cut_in_use: 0,
            lost: None,
            leaving: None,
            broken: false,
            end: None,
            ended_well: false,
            parting: None,
            waker,
            _counted: Counted::new(Kind::Task),
        };
        if while_idle {
            driver.watch_peer();
        }
        driver
    }

    fn turn(&mut self) {
        self.obey();
        self.look_at_ready_streams();
        self.send_answers();
        self.send_requests();
        self.stop_opening();
        self.send_data();
        self.drive_h2();
        self.learn();
        // Streams that were reset must be known as such before their bytes are counted as sent.
        self.look_at_ready_streams();
        self.settle();
        self.answer_waiters();
        self.refresh_windows();
        self.adjust_windows();
        self.check_peer();
        self.look_whether_idle();
        self.leave();
        self.poll_timers();
    }

    /// Takes what the link's handles ask for.
    fn obey(&mut self) {
        for command in self.shared.take_commands() {
            match command {
                Command::Open(stream, carrier, lease) => self.open(stream, carrier, lease),
                Command::Ping(answer) => self.pinger.ask(answer),
                Command::Confirm(proof, answer) => self.confirm(proof, answer),
                Command::EndUse => self.end_use(),
                Command::ShutDown => {
                    self.shared.info.observed.retired(Cause::ShutDown);
                    self.shut_down();
                }
                Command::Abort(reason, why) => self.abort(reason, why),
            }
        }
        let unused = self.shared.is_unused() && self.is_empty();
        if unused && matches!(self.peer, Peer::Client { .. }) {
            self.shared.info.observed.retired(Cause::Unused);
            self.shut_down();
        }
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

    /// Hands data to h2 while the transport takes it, to one stream after the other.
    fn send_data(&mut self) {
        while let Some(key) = self.sendable.pop_front() {
            let room = self.data_room();
            if room == 0 {
                self.sendable.push_front(key);
                return;
            }
            let Some(entry) = self.streams.get_mut(key) else { continue };
            let waker = entry.waker();
            let mut cx = Context::from_waker(&waker);
            let sent = entry.send(&mut cx, room, self.end.as_ref());
            if sent == Sent::AllButTheEnd {
                self.ends.push(key);
            }
            entry.note_stall(sent == Sent::Blocked);
            if !entry.send_state.unsettled {
                entry.send_state.unsettled = true;
                self.unsettled.push(key);
            }
            match sent {
                Sent::More => self.sendable.push_back(key),
                Sent::All | Sent::AllButTheEnd | Sent::Blocked => entry.send_state.queued = false,
            }
        }
    }

    /// How much more data may wait for the transport: none while some does, for what the transport
    /// does not take at once is copied. A stream may take all of it before the next has its turn.
    fn data_room(&self) -> usize {
        if self.reading.backlog() > 0 {
            return 0;
        }
        let in_h2 = self.shared.buffers.in_flight().saturating_sub(self.stuck);
        DATA_ROOM.saturating_sub(in_h2)
    }

    /// How much more of heads may wait for the transport.
    fn heads_room(&self) -> usize {
        HEADS_ROOM.saturating_sub(self.reading.backlog() + self.heads)
    }

    /// Lets h2 read and write, once.
    fn drive_h2(&mut self) {
        self.gauge.begin_turn();
        self.shared.signal.clear();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if self.is_over {
            self.gauge.read_on(&mut cx);
        } else {
            self.poll_h2(&mut cx);
            if !self.ends.is_empty() {
                self.send_ends();
                self.poll_h2(&mut cx);
            }
        }
        // The wire takes everything, so what h2 still holds waits for its streams' windows.
        self.stuck = self.shared.buffers.in_flight();
        self.heads = 0;
        self.poll_ping(&mut cx);
        let before = std::mem::replace(&mut self.reading, self.gauge.drive(&mut cx));
        if self.config.stall_timeout.is_some() && self.reading.taken != before.taken {
            self.took = Instant::now();
        }
        self.shared.info.observed.moved(self.reading.flushed, self.reading.received);
        self.look_for_life();
        while let Some(arrival) = self.arrivals.pop_front() {
            self.arrive(arrival);
        }
    }

    fn poll_h2(&mut self, cx: &mut Context<'_>) {
        if self.end.is_none()
            && !self.is_over
            && let Poll::Ready(result) = self.peer.poll(cx, &mut self.arrivals)
        {
            self.end_of_h2(result);
        }
    }

    fn poll_timers(&mut self) {
        if self.reading.broken && !std::mem::replace(&mut self.broken, true) {
            self.timers.insert(Timer::Broken, LAST_WORDS);
        }
        // A server's h2 asks its client whether requests are still on their way, and the client may
        // not answer. Where something is owed to it, its silence is bounded by keep-alive instead.
        let leaves = self.is_leaving() && !self.owes();
        let time = if self.is_over { PARTING } else { GOODBYE };
        match self.leaving {
            None if leaves => self.leaving = Some(self.timers.insert(Timer::Goodbye, time)),
            Some(timer) if !leaves => {
                self.timers.remove(&timer);
                self.leaving = None;
            }
            _ => {}
        }
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready(Some(expired)) = self.timers.poll_expired(&mut cx) {
            match expired.into_inner() {
                Timer::Handshake if !self.reading.seen_settings => {
                    let first = self.gauge.first_bytes();
                    let time = self.config.handshake_timeout;
                    self.give_up(Ending::Silent(end::silence(&first, time).into()));
                }
                Timer::Handshake => {}
                Timer::Broken => {
                    let error = self.gauge.write_error().map(Arc::new);
                    self.give_up(Ending::Gone(error));
                }
                Timer::KeepAlive => self.check_life(),
                Timer::Goodbye => {
                    self.leaving = None;
                    self.stop_leaving();
                }
                Timer::Idle => self.idle_time_is_up(),
                Timer::Age => {
                    self.shared.info.observed.retired(Cause::Old);
                    self.shut_down();
                }
                Timer::Stream(key) => self.time_is_up(key),
                Timer::Quiet(key) => self.check_movement(key),
            }
        }
    }

    /// Whether the driver itself has left something that another turn can do now.
    fn has_work(&self) -> bool {
        (!self.sendable.is_empty() && self.data_room() > 0)
            || (self.heads_wait && self.heads_room() > 0)
            || (self.settings_wait && self.reading.has_settings)
    }
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
            if !this.has_work() && shared.sleep() {
                return Poll::Pending;
            }
            if this.reading.crowded {
                break;
            }
        }
        shared.signal.give_way(cx);
        Poll::Pending
    }
}
