//! The state that a link's handles and its driver share, and the driver's task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use http::request;
use http::uri::Scheme;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Command;
use super::budget::Charge;
use super::carrier::LinkCarrier;
use super::desk::Desk;
use super::driver::Driver;
use super::driver::MAYBE_TLS;
use super::lease::Places;
use super::outcome::{End, Last};
use super::signal::Signal;
use crate::alive::{Counted, Kind};
use crate::config::Config;
use crate::conn::{self, Carrier, LinkInfo, Stream};
use crate::error::{Ending, Text, request_name};
use crate::pipe::Buffers;
use crate::sync::{AtomicBool, Mutex, lock};

/// The state that a link's handles and its driver share.
pub(crate) struct Shared {
    pub(super) signal: Signal,
    pub(super) desk: Desk<Driver>,
    pub(super) buffers: Arc<Buffers>,
    pub(super) info: Arc<LinkInfo>,
    pub(super) began: Instant,
    pub(super) places: Places,
    pub(super) commands: Mutex<Vec<Command>>,
    pub(super) send_queue: usize,
    pub(super) reset_on_drop: bool,
    pub(super) unused: AtomicBool,
    /// Whether the driver was asked for something that no stream's carrier reports.
    pub(super) asked: AtomicBool,
    /// The link takes no more streams: one of its ends has said so, or the link has ended.
    pub(super) going_away: AtomicBool,
    /// One of its ends has said in good order that it takes no more streams. Those that are open go on.
    pub(super) draining: watch::Sender<bool>,
    /// The first stream of the peer was accepted.
    pub(super) accepted: Notify,
    /// The peer has shown that it speaks HTTP/2.
    pub(super) established: AtomicBool,
    /// The SETTINGS of a client's peer allow extended CONNECT (RFC 8441 §3).
    pub(super) offers_connect: AtomicBool,
    /// The link has ended, and the client had not received a byte.
    pub(super) unheard: AtomicBool,
    /// When a stream of a server's link, which no caller held, last may have lost bytes.
    pub(super) lost_bytes: Mutex<Option<Instant>>,
    /// Since when a client's link has nothing to do except wait for its server.
    pub(super) waits_since: Mutex<Option<Instant>>,
    /// The last measured round trip.
    pub(super) rtt: Mutex<Option<Duration>>,
    pub(super) end: Mutex<End>,
    _counted: Counted,
}

impl Shared {
    pub(super) fn new(
        info: LinkInfo,
        config: &Config,
        places: Places,
        buffers: Arc<Buffers>,
    ) -> Arc<Shared> {
        Arc::new(Shared {
            signal: Signal::new(),
            desk: Desk::new(),
            buffers,
            info: Arc::new(info.opened()),
            places,
            commands: Mutex::default(),
            send_queue: config.send_queue,
            reset_on_drop: config.reset_on_drop,
            unused: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            going_away: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            began: Instant::now(),
            accepted: Notify::new(),
            established: AtomicBool::new(false),
            offers_connect: AtomicBool::new(false),
            unheard: AtomicBool::new(false),
            lost_bytes: Mutex::default(),
            waits_since: Mutex::default(),
            rtt: Mutex::default(),
            end: Mutex::default(),
            _counted: Counted::new(Kind::Link),
        })
    }

    /// Begins to drive the link.
    pub(super) fn spawn(self: &Arc<Self>, driver: Driver) {
        self.desk.set(driver);
        tokio::spawn(self.info.observed.watch(Task(Arc::clone(self))));
    }

    /// Makes a link without a driver.
    #[cfg(test)]
    pub(super) fn alone() -> Arc<Shared> {
        let other = conn::Addr::Other;
        let info = LinkInfo::new(crate::observe::Side::Client, other.clone(), other);
        Shared::new(info, &Config::default(), Places::default(), Arc::default())
    }

    /// Makes a new stream of this link.
    pub(super) fn stream(
        self: &Arc<Self>,
        request: request::Parts,
        transport: conn::Transport,
        charge: Option<Charge>,
    ) -> (Arc<Stream>, Arc<LinkCarrier>) {
        let carrier = LinkCarrier::new(self, charge);
        let riding = Arc::clone(&carrier) as Arc<dyn Carrier>;
        let (info, buffers) = (Arc::clone(&self.info), Arc::clone(&self.buffers));
        let stream = Stream::new(request, transport, info, riding, self.send_queue, buffers);
        stream.reset_on_drop(self.reset_on_drop);
        (Arc::new(stream), carrier)
    }

    /// Asks the driver, or answers in its place if it is gone.
    pub(super) fn command(&self, command: Command) {
        let end = lock(&self.end);
        match (&end.ending, command) {
            (None, command) => {
                lock(&self.commands).push(command);
                drop(end);
                self.ask();
            }
            (Some(ending), Command::Open(stream, ..)) => {
                let ending = ending.clone();
                drop(end);
                self.refuse(&stream, &ending);
            }
            (Some(_), Command::Confirm(proof, answer)) => {
                let outcome = end.confirmation(proof);
                drop(end);
                let _ = answer.send(outcome);
            }
            (Some(_), Command::Ping(_)) => {}
            (
                Some(_),
                Command::EndUse | Command::ShutDown | Command::Abort(..) | Command::Evict,
            ) => {}
        }
    }

    pub(super) fn ask(&self) {
        self.asked.store(true, SeqCst);
        self.signal.notify();
    }

    /// Puts the driver to sleep. `false` if there is work for it, so that it must not sleep.
    pub(super) fn sleep(&self) -> bool {
        !self.asked.load(SeqCst) && self.signal.sleep()
    }

    /// Whether the driver was asked for something since the last call, by a command or otherwise.
    pub(super) fn take_asked(&self) -> bool {
        self.asked.load(SeqCst) && self.asked.swap(false, SeqCst)
    }

    pub(super) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut lock(&self.commands))
    }

    pub(super) fn is_unused(&self) -> bool {
        self.unused.load(SeqCst)
    }

    pub(super) fn set_going_away(&self) {
        self.places.close();
        self.going_away.store(true, SeqCst);
    }

    /// The link goes away in good order, and its streams can end in good order too. A link that has failed is not told
    /// of here: its streams tell their users.
    pub(super) fn set_draining(&self) {
        self.set_going_away();
        self.draining.send_replace(true);
    }

    /// Records the end: no stream works any more. The first reason counts.
    pub(super) fn end(&self, last: Last) {
        let mut end = lock(&self.end);
        let ending = end.set(last);
        let commands = self.take_commands();
        let mut answers = Vec::new();
        let mut opened = Vec::new();
        for command in commands {
            match command {
                Command::Open(stream, ..) => opened.push(stream),
                Command::Confirm(proof, answer) => {
                    answers.push((answer, end.confirmation(proof)));
                }
                _ => {}
            }
        }
        drop(end);
        self.set_going_away();
        for stream in opened {
            self.refuse(&stream, &ending);
        }
        for (answer, outcome) in answers {
            let _ = answer.send(outcome);
        }
    }

    pub(super) fn set_established(&self) {
        self.established.store(true, SeqCst);
    }

    pub(super) fn is_established(&self) -> bool {
        self.established.load(SeqCst)
    }

    pub(super) fn set_rtt(&self, time: Duration) {
        self.info.observed.measured(time);
        *lock(&self.rtt) = Some(time);
    }

    /// Sets a first estimate, unless a PING has already measured a better one.
    pub(super) fn set_first_rtt(&self, time: Duration) {
        lock(&self.rtt).get_or_insert(time);
    }

    /// Fails a stream that never reached the wire. If the link had been up, a retry is safe and
    /// makes a new link. Otherwise the link's own error is reported.
    pub(super) fn refuse(&self, stream: &Stream, ending: &Ending) {
        let what = request_name(&stream.request.method, &stream.request.uri);
        let error = match self.is_established() {
            true => Ending::NotProcessed(unsent(ending)).connect_error(&what),
            false => ending.connect_error(&what),
        };
        let is_unknown =
            self.unheard.load(SeqCst) && stream.request.uri.scheme() == Some(&Scheme::HTTP);
        let error = error.with_note(if is_unknown { MAYBE_TLS } else { "" });
        if stream.fails_untold() {
            self.places.lost(&error);
        }
        stream.cut(error.clone(), error.clone());
        stream.set_done(Err(error));
    }

    /// The driver is about to end.
    pub(super) fn set_gone(&self) {
        let mut end = lock(&self.end);
        end.gone = true;
        let mut watchers = end.watchers.take();
        drop(end);
        watchers.wake_all();
        // Its place among the links to the origin is free.
        self.places.tell();
    }
}

/// The task of a link's driver.
struct Task(Arc<Shared>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.desk.poll(cx, Driver::poll)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.desk.clear();
    }
}

/// The text for a request that never reached the wire, though its link had been up.
pub(super) fn unsent(ending: &Ending) -> Text {
    match ending {
        Ending::Gone(Some(cause)) => format!("the link ended before the request was sent: {cause}"),
        ending => format!("the link ended before the request was sent ({ending})"),
    }
    .into()
}

/// The driver's own waker, for events that no stream's carrier reports.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.signal.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signal.notify();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("local", &self.info.local)
            .field("peer", &self.info.peer)
            .finish_non_exhaustive()
    }
}
