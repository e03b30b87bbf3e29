//! A link: one HTTP/2 connection, which many connections of users share.
//!
//! ```text
//! outbox ─► driver ─► session: HTTP/2 ─► (TLS) ─► socket
//! inbox ◄─ events ◄─ session: HTTP/2 ◄─ (TLS) ◄─ socket
//! ```

mod bandwidth;
mod budget;
mod carrier;
mod desk;
mod driver;
mod entry;
mod events;
mod fault;
mod ids;
mod lease;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
mod outcome;
mod ping;
mod quiet;
mod send;
mod session;
mod signal;
mod trace;
mod window;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2conn_engine::Connection;
use http::request;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::alive::{Counted, Kind};
use crate::config::Config;
use crate::conn::{self, Carrier, LinkInfo, Offer, Stream};
use crate::error::{Ending, ErrorKind, Reason, Result, Text, request_name};
use crate::pipe::Buffers;
use crate::sync::{AtomicBool, Mutex, lock};
use carrier::{LinkCarrier, Proof};
use desk::Desk;
use driver::Driver;
use outcome::{End, Last};
use session::Session;
use signal::Signal;
use trace::Trace;
use window::Windows;

pub(crate) use budget::Budget;
pub(crate) use lease::{Lease, Places, Watch};
pub(crate) use session::{PREFACE, Socket};

/// A handle of a link. A client's link ends when its last handle and its last stream are gone.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _in_use: Arc<InUse>,
}

/// What the handles of a link and its driver share.
pub(crate) struct Shared {
    signal: Signal,
    desk: Desk<Driver>,
    buffers: Arc<Buffers>,
    info: Arc<LinkInfo>,
    began: Instant,
    places: Places,
    commands: Mutex<Vec<Command>>,
    send_queue: usize,
    reset_on_drop: bool,
    unused: AtomicBool,
    /// Something was asked of the driver that no stream's carrier tells.
    asked: AtomicBool,
    /// Whether the link takes no more streams, because one of its ends has said so.
    going_away: watch::Sender<bool>,
    /// The peer has shown that it speaks HTTP/2.
    established: AtomicBool,
    /// The last round trip that was measured.
    rtt: Mutex<Option<Duration>>,
    end: Mutex<End>,
    _counted: Counted,
}

/// What a handle asks of the driver.
enum Command {
    Open(Arc<Stream>, Arc<LinkCarrier>, Option<Lease>),
    Ping(oneshot::Sender<Duration>),
    Confirm(Proof, oneshot::Sender<Result<()>>),
    /// Ends the streams that are still in use: with END_STREAM those that have sent theirs, the rest
    /// with a reset.
    EndUse,
    ShutDown,
    Abort(Reason, &'static str),
}

/// Tells the driver when the last handle is gone.
#[derive(Debug)]
struct InUse(Arc<Shared>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.unused.store(true, SeqCst);
        self.0.ask();
    }
}

impl Link {
    /// Begins HTTP/2 as a client over `io`, and spawns the driver. Does not wait for the server.
    /// The lease is the first of the link, which could otherwise be gone before there is one.
    pub(crate) fn client(
        io: Box<dyn Socket>,
        info: LinkInfo,
        config: &Config,
        places: Places,
    ) -> (Link, Lease) {
        let windows = Windows::new(config);
        let shared = Shared::new(info, config, places);
        let http2 = Connection::client(&http2_config(config, &windows));
        let session = Session::new(http2, io, Bytes::new(), Trace::new(0, PREFACE.len()));
        let lease = Lease::first(&shared);
        let driver = Driver::new(Arc::clone(&shared), session, config.clone(), windows, None);
        shared.spawn(driver);
        (Link::new(shared), lease)
    }

    /// Begins HTTP/2 as a server over `io`, of which `prefix` has already been read, and spawns the
    /// driver. New streams go to `incoming`; what finds no place there, or no memory in `budget`, is
    /// refused.
    pub(crate) fn server(
        io: Box<dyn Socket>,
        prefix: Bytes,
        info: LinkInfo,
        config: &Config,
        incoming: mpsc::Sender<Offer>,
        budget: &Arc<Budget>,
    ) -> Link {
        let windows = Windows::new(config);
        let shared = Shared::new(info, config, Places::default());
        let http2 = Connection::server(&http2_config(config, &windows));
        let session = Session::new(http2, io, prefix, Trace::new(PREFACE.len(), 0));
        let share = budget.join(Waker::from(Arc::clone(&shared)));
        let incoming = Some((incoming, share));
        // What one client complains of is no concern of the others.
        let config = Config { pace: Arc::default(), ..config.clone() };
        let driver = Driver::new(Arc::clone(&shared), session, config, windows, incoming);
        shared.spawn(driver);
        Link::new(shared)
    }

    fn new(shared: Arc<Shared>) -> Link {
        Link { _in_use: Arc::new(InUse(Arc::clone(&shared))), shared }
    }

    /// Opens a stream whatever the peer takes at once: it waits for its turn there. See
    /// [`Lease::open`].
    pub(crate) fn open(&self, request: request::Parts, transport: conn::Transport) -> Arc<Stream> {
        self.shared.open(None, request, transport)
    }

    pub(crate) fn info(&self) -> &LinkInfo {
        &self.shared.info
    }

    /// Whether one end has said that it takes no more streams.
    pub(crate) fn is_going_away(&self) -> bool {
        *self.shared.going_away.borrow()
    }

    /// A link that is only remembered.
    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.shared))
    }

    /// Takes no more streams, and ends when those that are there have ended.
    pub(crate) fn shut_down(&self) {
        self.shared.command(Command::ShutDown);
    }

    /// Ends now; streams that live are reset with `reason`, and their users told `why`.
    pub(crate) fn abort(&self, reason: Reason, why: &'static str) {
        self.shared.command(Command::Abort(reason, why));
    }

    /// Ends what is still in use, without waiting for its users. What they have let go goes on.
    pub(crate) fn end_use(&self) {
        self.shared.command(Command::EndUse);
    }

    /// Waits until the link is gone, and its transport closed.
    ///
    /// # Errors
    ///
    /// That its peer may not have got everything, and why.
    pub(crate) async fn ended(&self) -> Result<()> {
        poll_fn(|cx| {
            let mut end = lock(&self.shared.end);
            if end.gone {
                return Poll::Ready(end.outcome.clone().unwrap_or(Ok(())));
            }
            end.watchers.add(cx);
            Poll::Pending
        })
        .await
    }

    /// Waits as [`Link::ended`] does. `false` if bytes may be lost: a peer that has every byte may hang up
    /// when it hears of the end, and acknowledge no more.
    pub(crate) async fn delivered(&self) -> bool {
        match self.ended().await {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::Closed && !lock(&self.shared.end).owes_bytes,
        }
    }
}

/// A link that is not kept by being remembered.
#[derive(Debug)]
pub(crate) struct WeakLink(Weak<Shared>);

impl WeakLink {
    /// Whether its transport is open.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| !lock(&shared.end).gone)
    }

    /// A handle, if its transport is open.
    pub(crate) fn upgrade(&self) -> Option<Link> {
        self.is_alive().then(|| self.0.upgrade().map(Link::new)).flatten()
    }
}

impl Shared {
    fn new(info: LinkInfo, config: &Config, places: Places) -> Arc<Shared> {
        Arc::new(Shared {
            signal: Signal::new(),
            desk: Desk::new(),
            buffers: Arc::default(),
            info: Arc::new(info.opened()),
            places,
            commands: Mutex::default(),
            send_queue: config.send_queue,
            reset_on_drop: config.reset_on_drop,
            unused: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            going_away: watch::Sender::new(false),
            began: Instant::now(),
            established: AtomicBool::new(false),
            rtt: Mutex::default(),
            end: Mutex::default(),
            _counted: Counted::new(Kind::Link),
        })
    }

    /// Begins to drive the link.
    fn spawn(self: &Arc<Self>, driver: Driver) {
        self.desk.set(driver);
        tokio::spawn(self.info.observed.watch(Task(Arc::clone(self))));
    }

    /// A link that nothing drives.
    #[cfg(test)]
    fn alone() -> Arc<Shared> {
        let other = conn::Addr::Other;
        let info = LinkInfo::new(crate::observe::Side::Client, other.clone(), other);
        Shared::new(info, &Config::default(), Places::default())
    }

    /// A new stream of this link.
    fn stream(
        self: &Arc<Self>,
        request: request::Parts,
        transport: conn::Transport,
    ) -> (Arc<Stream>, Arc<LinkCarrier>) {
        let carrier = LinkCarrier::new(self);
        let riding = Arc::clone(&carrier) as Arc<dyn Carrier>;
        let (info, buffers) = (Arc::clone(&self.info), Arc::clone(&self.buffers));
        let stream = Stream::new(request, transport, info, riding, self.send_queue, buffers);
        stream.reset_on_drop(self.reset_on_drop);
        (Arc::new(stream), carrier)
    }

    /// Asks the driver; if it is gone, answers in its place.
    fn command(&self, command: Command) {
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
            (Some(_), Command::EndUse | Command::ShutDown | Command::Abort(..)) => {}
        }
    }

    fn ask(&self) {
        self.asked.store(true, SeqCst);
        self.signal.notify();
    }

    /// The driver goes to sleep; `false` if there is something for it to do, and it must not.
    fn sleep(&self) -> bool {
        !self.asked.load(SeqCst) && self.signal.sleep()
    }

    /// Whether the driver was asked for something since this was last called, by a command or otherwise.
    fn take_asked(&self) -> bool {
        self.asked.load(SeqCst) && self.asked.swap(false, SeqCst)
    }

    fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut lock(&self.commands))
    }

    fn is_unused(&self) -> bool {
        self.unused.load(SeqCst)
    }

    fn set_going_away(&self) {
        self.places.close();
        self.going_away.send_replace(true);
    }

    /// No stream works any more. The first reason counts.
    fn end(&self, last: Last) {
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

    fn set_established(&self) {
        self.established.store(true, SeqCst);
    }

    fn is_established(&self) -> bool {
        self.established.load(SeqCst)
    }

    fn set_rtt(&self, time: Duration) {
        self.info.observed.measured(time);
        *lock(&self.rtt) = Some(time);
    }

    /// What a PING has measured is better.
    fn set_first_rtt(&self, time: Duration) {
        lock(&self.rtt).get_or_insert(time);
    }

    /// Fails a stream that never reached the wire. If the link had been up, trying again is safe,
    /// and makes a new one; if not, what it failed by is what there is to say.
    fn refuse(&self, stream: &Stream, ending: &Ending) {
        let what = request_name(&stream.request.method, &stream.request.uri);
        let error = match self.is_established() {
            true => Ending::NotProcessed(unsent(ending)).connect_error(&what),
            false => ending.connect_error(&what),
        };
        if stream.fails_untold() {
            self.places.lost(&error);
        }
        stream.cut(error.clone(), error.clone());
        stream.set_done(Err(error));
    }

    /// The driver is about to end.
    fn set_gone(&self) {
        let mut end = lock(&self.end);
        end.gone = true;
        let mut watchers = end.watchers.take();
        drop(end);
        watchers.wake_all();
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

/// How HTTP/2 is set up.
fn http2_config(config: &Config, windows: &Windows) -> h2conn_engine::Config {
    h2conn_engine::Config {
        stream_window: windows.stream(),
        connection_window: windows.base(),
        max_frame_size: config.max_frame_size,
        max_header_list_size: config.max_header_list_size,
        max_concurrent_streams: config.max_conns,
        extended_connect: config.extended_connect,
        // Only silence ends a link, and keep-alive sees to that: SETTINGS can be behind a lot of data.
        settings_timeout: Duration::MAX,
        ..h2conn_engine::Config::default()
    }
}

/// What became of a request that never reached the wire, though its link had been up.
fn unsent(ending: &Ending) -> Text {
    match ending {
        Ending::Gone(Some(cause)) => format!("the link ended before the request was sent: {cause}"),
        ending => format!("the link ended before the request was sent ({ending})"),
    }
    .into()
}

/// The driver's own waker: something has happened that no stream's carrier tells.
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
