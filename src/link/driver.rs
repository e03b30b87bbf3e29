//! The one task of a link, and the only code that touches its HTTP/2.
//!
//! A turn takes the users' requests, reads, moves received bytes to the inboxes, writes, and checks
//! which bytes have left. Turns go on while there is work, for a limited time.

mod end;
mod leave;
mod life;
mod linger;
mod memory;
mod news;
mod nudge;
mod sending;
mod stay;
mod streams;
mod timers;
mod waste;
mod wide;

pub(super) use end::MAYBE_TLS;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use leave::{Shutdown, Waiter};
use nudge::Nudge;
use sending::heads_room;
use slab::Slab;
use stay::Idle;
use timers::{Timer, Timers};
use tokio::time::{Instant, Sleep};
use tokio_util::time::delay_queue;
#[cfg(test)]
pub(crate) use waste::WASTE;
use waste::Waste;
use wide::Wide;

use super::backlog::Line;
use super::bandwidth::Probe;
use super::budget::Share;
use super::carrier::NO_KEY;
use super::entry::Entry;
use super::events::News;
use super::ids::Ids;
use super::ping::{KeepAlive, Pinger};
use super::session::{Moved, Session};
use super::window::Windows;
use super::{Command, Shared};
use crate::alive::{Counted, Kind};
use crate::config::Config;
use crate::error::{Ending, Error};
use crate::observe::{Cause, Side};

/// Other tasks run after this many turns, or after this time. A runtime with one thread checks its
/// sockets only after some 60 turns of a task that is always busy.
const TURNS: usize = 16;
const TURNS_TIME: Duration = Duration::from_millis(1);

/// Other tasks also run after this many received bytes. Their readers, which give credit back to
/// the peer, then begin before a whole window has come.
const FED: usize = 128 << 10;

/// With at most this many streams fed or brought by a read, the driver does not wait for their tasks.
const A_FEW: usize = 4;

/// The content written in a turn: one of our frames. More would not be faster, and would delay the
/// output that comes next.
pub(super) const DATA_ROOM: usize = 64 << 10;

/// The bytes read in a turn, or a few more.
const QUOTA: usize = 64 << 10;

/// Heads wait while this much waits for the transport. Other output is the peer's to request, and
/// has its own bound.
const HEADS_ROOM: usize = 64 << 10;

/// The streams that a client opens before the server has said how many it takes. RFC 9113 §6.5.2
/// recommends that servers take at least as many.
const STREAMS_AT_FIRST: usize = 100;

/// The time after which a client to which nothing is owed must have said that no more of its
/// requests are in transit: four of its round trips, within these bounds. A later request is not
/// processed, and the client is told so.
const GOODBYE: Duration = Duration::from_secs(10);
const LEAST_GOODBYE: Duration = Duration::from_secs(1);

/// A transport that takes no more bytes may still give the reason, for this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the transport is kept when the peer has everything: first for the peer to answer the
/// last word, and then, after this side has ended the transport, for the peer to end it too.
const PARTING: Duration = Duration::from_secs(2);

/// The same when this side's time is up or the peer does not answer: the time that the last words
/// may take to leave.
const CUT_SHORT: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    shared: Arc<Shared>,
    session: Session,
    config: Config,
    windows: Windows,
    probe: Probe,
    wide: Wide,
    pinger: Pinger,
    keep_alive: KeepAlive,
    nudge: Nudge,
    /// When the transport last took bytes, and how many it had taken then. Kept up to date only for
    /// a `stall_timeout`.
    took: Instant,
    taken: u64,
    /// How far the peer had slowed down PINGs when the link was made.
    first_pace: u8,
    /// Whether a keep-alive timer is set.
    watching: bool,
    streams: Slab<Entry>,
    /// The streams' places, by their numbers.
    ids: Ids,
    /// The peer's news since the last turn.
    news: News,
    /// There may be more to read at once.
    read_more: bool,
    /// The number of streams that the reads of the last turns have fed or brought, and the number
    /// of bytes.
    fed: usize,
    fed_bytes: usize,
    /// The stream that the last read has fed, if it was the only one and no user has sent from its
    /// own task since.
    fed_alone: Option<usize>,
    /// Streams whose request is not yet sent.
    unsent: VecDeque<usize>,
    /// Streams want to send, and have not had their turn.
    sendable: bool,
    /// Streams were put into the queue of those that can send since all were last told that the
    /// link's window is used up.
    has_queued: bool,
    /// Streams whose END_STREAM goes behind a PING, which goes behind their bytes.
    ends: Vec<usize>,
    /// Streams with bytes that were handed out and not yet written, or whose end is examined at the
    /// end of the turn.
    unsettled: Vec<usize>,
    /// Room for the keys of a turn's ready streams.
    ready: Vec<usize>,
    /// The line for a server's new streams.
    incoming: Option<Line>,
    /// A server link's share in the memory of all links of its listener.
    share: Option<Share>,
    timers: Timers,
    idle: Idle,
    /// For a server: whether its peer has opened something.
    first: stay::First,
    waste: Waste,
    /// Streams whose answer waits for room.
    unanswered: Vec<usize>,
    heads_wait: bool,
    /// A request can only go, or fail, once the peer's SETTINGS have come.
    settings_wait: bool,
    /// A request can only go once the peer has fewer streams.
    limit_waits: bool,
    /// Bytes that all streams hold unread.
    held: usize,
    closing: bool,
    /// How far a server has come in saying that it takes no more streams.
    shutdown: Shutdown,
    /// The last word was said in good order, and the link is about to leave.
    is_over: bool,
    /// The peer has not answered the request to go, and is not waited for.
    is_hurried: bool,
    /// Another client waits for this one's place.
    is_evicted: bool,
    /// The callers that wait until the peer has received their bytes.
    waiters: Vec<Waiter>,
    /// With so many waiters, it looks for those that nobody needs any more.
    many_waiters: usize,
    /// The number of the last PING that asked the peer.
    asked: u64,
    /// The number of the PING behind everything, including GOAWAY.
    farewell: u64,
    /// The number of the last PING whose acknowledgement was seen.
    answered: u64,
    /// Streams that were alive when the link ended.
    cut: usize,
    /// Those of them that were reset because their client was closed.
    cut_in_use: usize,
    /// The first reason why a stream that no caller holds was given up before all of it was sent.
    lost: Option<Error>,
    /// The timer by which the link should be gone: no stream is left, or the last word was said.
    leaving: Option<delay_queue::Key>,
    broken: bool,
    end: Option<Ending>,
    /// The link has ended in good order, with everything written.
    ended_well: bool,
    /// Everything is over except the transport.
    parting: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        session: Session,
        config: Config,
        windows: Windows,
        incoming: Option<(Line, Share)>,
    ) -> Driver {
        let mut timers = Timers::new(&shared);
        timers.insert(Timer::Handshake, config.handshake_timeout);
        if let Some(limit) = config.first_conn_timeout.filter(|_| incoming.is_some()) {
            timers.insert(Timer::First, limit);
        }
        if let Some(age) = config.max_link_age {
            timers.insert(Timer::Age, stay::about(age));
        }
        let (incoming, share) = incoming.unzip();
        let first_pace = config.pace.doublings();
        let while_idle = config.keep_alive_while_idle;
        let mut driver = Driver {
            shared,
            session,
            config,
            windows,
            probe: Probe::new(),
            wide: Wide::default(),
            pinger: Pinger::default(),
            keep_alive: KeepAlive::new(Instant::now()),
            nudge: Nudge::default(),
            took: Instant::now(),
            taken: 0,
            first_pace,
            watching: false,
            streams: Slab::new(),
            ids: Ids::default(),
            news: News::default(),
            read_more: false,
            fed: 0,
            fed_bytes: 0,
            fed_alone: None,
            unsent: VecDeque::new(),
            sendable: false,
            has_queued: false,
            ends: Vec::new(),
            unsettled: Vec::new(),
            ready: Vec::new(),
            incoming,
            share,
            timers,
            idle: Idle::default(),
            first: stay::First::default(),
            waste: Waste::default(),
            unanswered: Vec::new(),
            heads_wait: false,
            settings_wait: false,
            limit_waits: false,
            held: 0,
            closing: false,
            shutdown: Shutdown::default(),
            is_over: false,
            is_hurried: false,
            is_evicted: false,
            waiters: Vec::new(),
            many_waiters: leave::MANY_WAITERS,
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
            _counted: Counted::new(Kind::Task),
        };
        if while_idle {
            driver.watch_peer();
        }
        driver
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        self.shared.signal.clear();
        self.obey();
        self.read(cx);
        self.look_at_ready_streams();
        self.send_answers();
        self.send_requests();
        self.stop_opening();
        self.send_data(cx);
        self.flush(cx);
        // Reset streams must be known as such before their bytes are counted as sent.
        self.look_at_ready_streams();
        self.settle();
        self.answer_waiters();
        self.adjust_windows();
        self.check_peer();
        self.look_whether_idle();
        self.leave();
        self.poll_timers();
    }

    fn is_client(&self) -> bool {
        self.shared.info.observed.side() == Side::Client
    }

    /// The bytes that have moved so far.
    fn moved(&self) -> Moved {
        self.session.moved()
    }

    /// Carries out the handles' commands.
    fn obey(&mut self) {
        if !self.shared.take_asked() {
            return;
        }
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
                Command::Abort(why) => self.abort(why),
                Command::Evict => self.evict(),
            }
        }
        let unused = self.shared.is_unused() && self.is_empty();
        if unused && self.is_client() {
            self.shared.info.observed.retired(Cause::Unused);
            self.shut_down();
        }
    }

    fn look_at_ready_streams(&mut self) {
        if !self.shared.signal.take_ready(&mut self.ready) {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            if key != NO_KEY {
                self.look_at(key);
            }
        }
        self.ready = ready;
    }

    /// Whether to let other tasks run once, because most tasks that the last read has fed, or has
    /// given a request, are about to run. Their output then goes out together. A runtime runs the task that was woken last
    /// before the others, and that is the driver after the first of them has written.
    fn waits_for_others(&mut self) -> bool {
        std::mem::take(&mut self.fed) > A_FEW && self.end.is_none()
    }

    /// Whether the driver itself has left work that another turn can do now.
    fn has_work(&self) -> bool {
        let state = self.session.state();
        let has_settings = state.has_peer_settings();
        let limit = state.peer_settings().max_concurrent_streams.unwrap_or(u32::MAX);
        let transport_takes = self.session.waiting() == 0 && !self.session.is_broken();
        self.read_more
            || (transport_takes && (self.sendable || self.session.has_output()))
            || (self.heads_wait && heads_room(&self.session) > 0)
            || (self.settings_wait && has_settings)
            || (self.limit_waits && state.open_streams() < limit as usize)
    }

    /// Does the work that there is. Ready when the link is gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.signal.begin(cx);
        if self.waits_for_others() {
            self.shared.signal.give_way(cx);
            return Poll::Pending;
        }
        self.fed_bytes = 0;
        let mut since = None;
        for _ in 0..TURNS {
            self.session.begin_turn();
            if self.parting.is_some() {
                return self.part(cx);
            }
            self.turn(cx);
            if self.end.is_some() {
                self.finish(cx);
                continue;
            }
            if !self.has_work() && self.shared.sleep() {
                return Poll::Pending;
            }
            if self.fed_bytes >= FED {
                self.fed = 0;
                break;
            }
            if since.get_or_insert_with(std::time::Instant::now).elapsed() > TURNS_TIME {
                break;
            }
        }
        self.shared.signal.give_way(cx);
        Poll::Pending
    }
}
