//! The one task of a link: the only code that touches its HTTP/2.
//!
//! A turn takes what users ask for, reads, moves what has come to the inboxes, writes what may go, and looks at
//! what has left. Turns go on while there is work, for a bounded time.

mod end;
mod leave;
mod life;
mod linger;
mod memory;
mod news;
mod sending;
mod stay;
mod streams;
mod timers;
mod waste;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use leave::{Shutdown, Waiter};
use sending::heads_room;
use slab::Slab;
use stay::Idle;
use timers::{Timer, Timers};
use tokio::time::{Instant, Sleep};
use tokio_util::time::delay_queue;
#[cfg(test)]
pub(crate) use waste::WASTE;
use waste::Waste;

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

/// Other tasks are let in after so many turns, or after this time: a runtime of one thread looks for what
/// its sockets have only after some 60 turns of whoever is always busy.
const TURNS: usize = 16;
const TURNS_TIME: Duration = Duration::from_millis(1);

/// Other tasks are let in as well after so many bytes have come, so that their readers, who give back what the peer
/// may send, begin before all of a window has come.
const FED: usize = 128 << 10;

/// So many streams fed by a read are not worth waiting for.
const A_FEW: usize = 4;

/// Content that is written in a turn: a frame of ours. More of it would not be faster, and what comes next
/// to be sent waits for it.
pub(super) const DATA_ROOM: usize = 64 << 10;

/// Bytes that are read in a turn, or a few more.
const QUOTA: usize = 64 << 10;

/// Heads wait while this much waits for the transport: they are nothing that the peer has asked for, which is
/// bounded.
const HEADS_ROOM: usize = 64 << 10;

/// Streams that a client opens before the server has said how many it takes. RFC 9113 §6.5.2 asks
/// servers to take as many.
const STREAMS_AT_FIRST: usize = 100;

/// A client that owes nothing must have said after this that no request of it is on its way: four of its round trips,
/// within these bounds. A request that comes later is not processed, and the client hears so.
const GOODBYE: Duration = Duration::from_secs(10);
const LEAST_GOODBYE: Duration = Duration::from_secs(1);

/// A transport that takes no more may still give the reason, for this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long the transport is kept when the peer has everything: for it to answer the last word, and then,
/// after this side has ended the transport, to end it too.
const PARTING: Duration = Duration::from_secs(2);

/// The same where this side's time is up, or the peer does not answer: as long as the last words may take to leave.
const CUT_SHORT: Duration = Duration::from_millis(500);

pub(super) struct Driver {
    shared: Arc<Shared>,
    session: Session,
    config: Config,
    windows: Windows,
    probe: Probe,
    pinger: Pinger,
    keep_alive: KeepAlive,
    /// When the transport last took something, and how much it had taken then; kept up to date only for a
    /// `stall_timeout`.
    took: Instant,
    taken: u64,
    /// How slow PINGs were by the wish of the peer when the link was made.
    first_pace: u8,
    /// A timer for that is set.
    watching: bool,
    streams: Slab<Entry>,
    /// Their places, by their numbers.
    ids: Ids,
    /// The news of the peer since the last turn.
    news: News,
    /// There may be more to read at once.
    read_more: bool,
    /// How many streams the reads of the last turns have fed, and how many bytes.
    fed: usize,
    fed_bytes: usize,
    /// The stream that the last read has fed, if it was one alone, and nobody has sent from its own task since.
    fed_alone: Option<usize>,
    /// Streams whose request is not yet sent.
    unsent: VecDeque<usize>,
    /// Streams want to send, and have not had their turn.
    sendable: bool,
    /// The link's window for sending is used up, and those who want to send have been told.
    link_blocked: bool,
    /// Streams whose END_STREAM goes behind a PING, which goes behind their bytes.
    ends: Vec<usize>,
    /// Streams of which something has been handed out and not yet written.
    unsettled: Vec<usize>,
    /// Room for the keys of a turn's ready streams.
    ready: Vec<usize>,
    /// Where a server's new streams go.
    incoming: Option<Line>,
    /// A server's part in what all links of its listener may hold.
    share: Option<Share>,
    timers: Timers,
    idle: Idle,
    /// A server's: whether its peer has opened something.
    first: stay::First,
    waste: Waste,
    /// Streams whose answer waits for room.
    unanswered: Vec<usize>,
    heads_wait: bool,
    /// A request can only go, or fail, once the peer's SETTINGS are there.
    settings_wait: bool,
    /// A request can only go once the peer has fewer streams.
    limit_waits: bool,
    /// Bytes that all streams hold unread.
    held: usize,
    closing: bool,
    /// How far a server has come in saying that it takes no more streams.
    shutdown: Shutdown,
    /// The last word is said in good order, and the link is about to leave.
    is_over: bool,
    /// The peer has not answered when it was asked to go, and is not waited for.
    is_hurried: bool,
    /// Another client waits for the place of this one.
    is_evicted: bool,
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
    /// No stream is left, or the last word is said: the timer by which the link should be gone.
    leaving: Option<delay_queue::Key>,
    broken: bool,
    end: Option<Ending>,
    /// The link has ended in good order, with everything written.
    ended_well: bool,
    /// Everything is over but the transport.
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
            pinger: Pinger::default(),
            keep_alive: KeepAlive::new(Instant::now()),
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
            link_blocked: false,
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
        // Streams that were reset must be known as such before their bytes are counted as sent.
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

    /// Takes what the link's handles ask for.
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
                Command::Abort(reason, why) => self.abort(reason, why),
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

    /// Whether to give way, once, because most of those who have been fed by the last read are about to be run:
    /// what they write then goes out together. A runtime runs who was woken last before the others, which is the driver
    /// after the first of them has written.
    fn waits_for_others(&mut self) -> bool {
        std::mem::take(&mut self.fed) > A_FEW && self.end.is_none()
    }

    /// Whether the driver itself has left something that another turn can do now.
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

    /// Does what there is to do; ready when the link is gone.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.signal.begin(cx);
        if self.waits_for_others() {
            self.shared.signal.give_way(cx);
            return Poll::Pending;
        }
        self.fed_bytes = 0;
        let mut since = None;
        for _ in 0..TURNS {
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
