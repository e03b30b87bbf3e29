//! A link: one HTTP/2 connection that many connections of users share.
//!
//! ```text
//! outbox ─► driver ─► session: HTTP/2 ─► (TLS) ─► socket
//! inbox ◄─ events ◄─ session: HTTP/2 ◄─ (TLS) ◄─ socket
//! ```

mod backlog;
mod bandwidth;
mod budget;
mod carrier;
mod desk;
mod driver;
mod entry;
mod events;
mod fault;
#[cfg(feature = "websocket")]
mod guest;
mod ids;
mod lease;
#[cfg(all(test, h2conn_loom))]
mod loom_tests;
mod outcome;
mod ping;
mod send;
mod session;
mod shared;
mod signal;
mod silence;
mod trace;
mod window;

use std::future::poll_fn;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2conn_engine::Connection;
use http::request;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Config;
use crate::conn::{self, LinkInfo, Stream};
use crate::error::{ErrorKind, Result};
use crate::pipe::{Buffers, SendMemory};
use crate::sync::lock;
use carrier::{LinkCarrier, Proof};
use driver::Driver;
use session::Session;
use shared::{Shared, unsent};
use trace::Trace;
use window::Windows;

#[cfg(feature = "serve")]
pub(crate) use backlog::Taker;
pub(crate) use backlog::{Backlog, Entrance, backlog};
pub(crate) use budget::Budget;
#[cfg(test)]
pub(crate) use driver::WASTE;
#[cfg(feature = "websocket")]
pub(crate) use guest::Guest;
#[cfg(all(feature = "serve", feature = "websocket"))]
pub(crate) use guest::Seat;
pub(crate) use lease::{Lease, Places, Watch};
pub(crate) use outcome::TIME_IS_UP;
#[cfg(feature = "websocket")]
pub(crate) use outcome::{lost_unseen, reset_in_use};
pub(crate) use session::{PREFACE, Socket, poll_discard};

/// A handle of a link. A client's link ends when its last handle and its last stream are gone.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _in_use: Arc<InUse>,
}

/// The requests of a handle to the driver.
enum Command {
    Open(Arc<Stream>, Arc<LinkCarrier>, Option<Lease>),
    Ping(oneshot::Sender<Duration>),
    Confirm(Proof, oneshot::Sender<Result<()>>),
    /// Ends the streams that are still in use. A stream that has sent its END_STREAM ends in order.
    /// The others are reset.
    EndUse,
    ShutDown,
    Abort(&'static str),
    /// Ends the link at once for lack of places, unless a stream on it was accepted.
    Evict,
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
    /// The lease is the link's first. Without it the link could end before any lease exists.
    pub(crate) fn client(
        io: Box<dyn Socket>,
        info: LinkInfo,
        config: &Config,
        places: Places,
    ) -> (Link, Lease) {
        let windows = Windows::new(config);
        let buffers = Buffers::new(SendMemory::new(config.send_memory()));
        let shared = Shared::new(info, config, places, buffers);
        let http2 = Connection::client(&http2_config(config, &windows));
        let session = Session::new(http2, io, Bytes::new(), Trace::new(0, PREFACE.len()));
        let lease = Lease::first(&shared);
        let driver = Driver::new(Arc::clone(&shared), session, config.clone(), windows, None);
        shared.spawn(driver);
        (Link::new(shared), lease)
    }

    /// Begins HTTP/2 as a server over `io`, of which `prefix` has already been read, and spawns the
    /// driver. New streams wait at `entrance`, in a line for this link alone. A stream is refused
    /// if it finds no place there, or no memory in `budget`.
    pub(crate) fn server(
        io: Box<dyn Socket>,
        prefix: Bytes,
        info: LinkInfo,
        config: &Config,
        entrance: &Entrance,
        budget: &Arc<Budget>,
    ) -> Link {
        let windows = Windows::new(config);
        let buffers = budget.buffers(config.send_memory());
        let shared = Shared::new(info, config, Places::default(), buffers);
        let http2 = Connection::server(&http2_config(config, &windows));
        let session = Session::new(http2, io, prefix, Trace::new(PREFACE.len(), 0));
        let share = budget.join(Waker::from(Arc::clone(&shared)));
        let incoming = Some((entrance.line(), share));
        // One client's complaint about PINGs must not affect the other clients.
        let config = Config { pace: Arc::default(), ..config.clone() };
        let driver = Driver::new(Arc::clone(&shared), session, config, windows, incoming);
        shared.spawn(driver);
        Link::new(shared)
    }

    fn new(shared: Arc<Shared>) -> Link {
        Link { _in_use: Arc::new(InUse(Arc::clone(&shared))), shared }
    }

    /// Opens a stream without a lease. If the peer takes no more streams at once, the stream waits
    /// for its turn. See [`Lease::open`].
    pub(crate) fn open(&self, request: request::Parts, transport: conn::Transport) -> Arc<Stream> {
        self.shared.open(None, request, transport)
    }

    pub(crate) fn info(&self) -> &LinkInfo {
        &self.shared.info
    }

    /// Whether one end has said that it takes no more streams.
    pub(crate) fn is_going_away(&self) -> bool {
        self.shared.going_away.load(SeqCst)
    }

    /// A weak handle, which does not keep the link.
    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.shared))
    }

    /// Takes no more streams, and ends after the present streams.
    pub(crate) fn shut_down(&self) {
        self.shared.command(Command::ShutDown);
    }

    /// Ends now. Live streams are reset, and their users are told `why`.
    pub(crate) fn abort(&self, why: &'static str) {
        self.shared.command(Command::Abort(why));
    }

    /// Waits until the first stream of a server's link is accepted. Only one task can wait.
    pub(crate) async fn has_accepted(&self) {
        self.shared.accepted.notified().await;
    }

    /// When a stream of a server's link, which no caller held, last may have lost bytes.
    pub(crate) fn lost_bytes(&self) -> Option<Instant> {
        *lock(&self.shared.lost_bytes)
    }

    /// Gives up the place of a link on which nothing was accepted.
    pub(crate) fn evict(&self) {
        self.shared.command(Command::Evict);
    }

    /// Ends the streams that are still in use, without waiting for their users. Streams that users
    /// have let go continue.
    pub(crate) fn end_use(&self) {
        self.shared.command(Command::EndUse);
    }

    /// Waits until the link is gone and its transport is closed.
    ///
    /// # Errors
    ///
    /// The reason why its peer may not have received everything.
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

    /// Waits as [`Link::ended`] does. `false` if bytes may be lost. A peer that has every byte may
    /// hang up when it learns of the end, without a further acknowledgement.
    pub(crate) async fn delivered(&self) -> bool {
        match self.ended().await {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::Closed && !lock(&self.shared.end).owes_bytes,
        }
    }
}

/// A weak handle, which does not keep the link.
#[derive(Debug)]
pub(crate) struct WeakLink(Weak<Shared>);

impl WeakLink {
    /// Whether the link's transport is open.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| !lock(&shared.end).gone)
    }

    /// Whether the link has had nothing to do for so long except wait for its server, which may be
    /// slow to acknowledge what it has, or never do so.
    pub(crate) fn has_waited(&self, time: Duration) -> bool {
        self.0.upgrade().is_some_and(|shared| {
            let has_waited = lock(&shared.waits_since).is_some_and(|since| since.elapsed() >= time);
            has_waited && !lock(&shared.end).gone
        })
    }

    /// A handle, if the link's transport is open.
    pub(crate) fn upgrade(&self) -> Option<Link> {
        self.is_alive().then(|| self.0.upgrade().map(Link::new)).flatten()
    }
}

/// The most header fields of a request, for the document that states it.
#[cfg(test)]
pub(crate) fn max_fields() -> usize {
    http2_config(&Config::default(), &Windows::new(&Config::default())).max_fields
}

/// The configuration of HTTP/2.
fn http2_config(config: &Config, windows: &Windows) -> h2conn_engine::Config {
    h2conn_engine::Config {
        stream_window: windows.stream(),
        connection_window: windows.base(),
        max_frame_size: config.max_frame_size,
        max_header_list_size: config.max_header_list_size,
        max_concurrent_streams: config.max_conns,
        extended_connect: config.extended_connect,
        // Only silence ends a link, through keep-alive: SETTINGS may come after a lot of data.
        settings_timeout: Duration::MAX,
        ..h2conn_engine::Config::default()
    }
}
