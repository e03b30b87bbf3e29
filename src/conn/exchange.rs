//! Ordinary requests and their responses: interim responses, trailers, and responses without
//! content, which connections do not have.
//!
//! A server of this crate gives each request to its program as a [`Served`] stream. The program
//! either answers it as an ordinary request, or makes a connection of it (`accept`).

use std::any::Any;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, request, response};
use tokio::sync::watch;

use super::{Addr, Stream};
use crate::sync::{AtomicU8, Mutex, lock};

/// Something that must be kept until the stream is over.
pub(crate) type Kept = Box<dyn Any + Send + Sync>;

/// The additional state of a stream that a server of this crate serves.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    state: AtomicU8,
    heads: Mutex<Heads>,
    /// The connection that an acceptor has made of the request.
    conn: OnceLock<Conn>,
    place: Mutex<Option<Kept>>,
}

#[derive(Debug, Default)]
struct Heads {
    /// Interim responses that are not yet sent.
    interim: Vec<response::Parts>,
    /// The trailers of the request, and the memory that they are charged to.
    received: Option<(HeaderMap, Option<Kept>)>,
    /// The trailers of the response.
    to_send: Option<HeaderMap>,
}

/// A connection that an acceptor has made of a request.
#[derive(Debug)]
struct Conn {
    /// The request as the program's server has passed it on.
    request: request::Parts,
    peer: Addr,
    /// Becomes true when the acceptor is drained.
    draining: watch::Receiver<bool>,
}

/// Nothing of the request's content has been read as an ordinary body.
const UNTOUCHED: u8 = 0;
/// The content is read as an ordinary body.
const READ: u8 = 1;
/// The request has become a connection.
const TAKEN: u8 = 2;

impl Exchange {
    /// Whether the request has become a connection.
    pub(crate) fn is_taken(&self) -> bool {
        self.state.load(SeqCst) == TAKEN
    }

    /// The content is about to be read as an ordinary body. `false` if a connection has it.
    pub(crate) fn begin_to_read(&self) -> bool {
        self.state.compare_exchange(UNTOUCHED, READ, SeqCst, SeqCst) != Err(TAKEN)
    }

    /// Adds an interim response, which the stream's driver must be told of.
    pub(super) fn add_interim(&self, head: response::Parts) {
        lock(&self.heads).interim.push(head);
    }

    pub(crate) fn has_interim(&self) -> bool {
        !lock(&self.heads).interim.is_empty()
    }

    pub(crate) fn take_interim(&self) -> Vec<response::Parts> {
        std::mem::take(&mut lock(&self.heads).interim)
    }

    /// The request's trailers have come. Its end follows.
    pub(crate) fn set_received(&self, trailers: HeaderMap, charge: Option<Kept>) {
        lock(&self.heads).received = Some((trailers, charge));
    }

    pub(crate) fn has_received(&self) -> bool {
        lock(&self.heads).received.is_some()
    }

    pub(crate) fn take_received(&self) -> Option<HeaderMap> {
        lock(&self.heads).received.take().map(|(trailers, _)| trailers)
    }

    /// Sets the trailers of the response, which go in place of END_STREAM's empty frame. Call it
    /// before the outbox is finished.
    pub(crate) fn set_trailers(&self, trailers: HeaderMap) {
        lock(&self.heads).to_send = Some(trailers);
    }

    pub(crate) fn has_trailers(&self) -> bool {
        lock(&self.heads).to_send.is_some()
    }

    pub(crate) fn take_trailers(&self) -> Option<HeaderMap> {
        lock(&self.heads).to_send.take()
    }

    pub(super) fn request(&self) -> Option<&request::Parts> {
        self.conn.get().map(|conn| &conn.request)
    }

    pub(super) fn peer(&self) -> Option<&Addr> {
        self.conn.get().map(|conn| &conn.peer)
    }

    /// Whether the acceptor that has taken the request is drained.
    pub(super) fn is_draining(&self) -> bool {
        self.conn.get().is_some_and(|conn| *conn.draining.borrow())
    }

    pub(super) fn draining(&self) -> Option<watch::Receiver<bool>> {
        self.conn.get().map(|conn| conn.draining.clone())
    }

    pub(super) fn take_place(&self) -> Option<Kept> {
        lock(&self.place).take()
    }
}

/// A request's stream, among the extensions of the request that a server of this crate gives to its
/// program.
#[derive(Clone, Debug)]
pub(crate) struct Served(pub(crate) Arc<Stream>);

impl Served {
    /// Takes the stream out of a request that has become a connection. `None` if its content was
    /// read already, or was taken.
    pub(crate) fn take(&self) -> Option<Arc<Stream>> {
        let state = &self.0.exchange()?.state;
        let taken = state.compare_exchange(UNTOUCHED, TAKEN, SeqCst, SeqCst);
        taken.is_ok().then(|| Arc::clone(&self.0))
    }
}

impl Stream {
    /// Makes it the stream of an ordinary request, until an acceptor takes it.
    pub(crate) fn serve(&self) {
        self.exchange.get_or_init(Box::default);
    }

    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.get().map(|exchange| &**exchange)
    }

    /// Whether it is an ordinary request, of which no connection was made.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.exchange().is_some_and(|exchange| !exchange.is_taken())
    }

    /// Makes a served stream a connection. `place` is kept until the stream is over.
    pub(crate) fn become_conn(
        &self,
        request: request::Parts,
        peer: Option<Addr>,
        draining: watch::Receiver<bool>,
        place: Kept,
    ) {
        let Some(exchange) = self.exchange() else { return };
        let peer = peer.unwrap_or_else(|| self.link.peer.clone());
        // Only one caller has taken the stream.
        let _ = exchange.conn.set(Conn { request, peer, draining });
        *lock(&exchange.place) = Some(place);
        if self.is_done() {
            drop(exchange.take_place());
        }
    }

    /// Sends an interim response (RFC 9110 §15.2), unless the response has been given.
    pub(crate) fn inform(&self, head: response::Parts) {
        let Some(exchange) = self.exchange() else { return };
        exchange.add_interim(head);
        self.tell();
    }
}

/// The end of a server of this crate, for connections that no link of it carries.
#[cfg(any(feature = "serve", feature = "websocket"))]
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Becomes true when the clients are asked to end.
    draining: watch::Receiver<bool>,
    /// Becomes true when their time is up.
    #[cfg(feature = "websocket")]
    cut: Option<watch::Receiver<bool>>,
    /// The server is not over before the last clone is dropped.
    _kept: Arc<dyn Any + Send + Sync>,
}

#[cfg(any(feature = "serve", feature = "websocket"))]
impl Shutdown {
    pub(crate) fn new(
        draining: watch::Receiver<bool>,
        cut: Option<watch::Receiver<bool>>,
        kept: Arc<dyn Any + Send + Sync>,
    ) -> Shutdown {
        #[cfg(not(feature = "websocket"))]
        let _ = cut;
        Shutdown {
            draining,
            #[cfg(feature = "websocket")]
            cut,
            _kept: kept,
        }
    }

    /// That of the link that carries a stream.
    #[cfg(feature = "websocket")]
    pub(crate) fn of_link(stream: &Stream) -> Shutdown {
        Shutdown::new(stream.carrier.draining(), None, Arc::new(()))
    }

    /// Waits until the clients are asked to end.
    pub(crate) async fn begins(&mut self) {
        if self.draining.wait_for(|draining| *draining).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until their time is up.
    #[cfg(feature = "websocket")]
    pub(crate) async fn is_cut(&mut self) {
        let cut = async { self.cut.as_mut()?.wait_for(|cut| *cut).await.ok().map(|_| ()) };
        if cut.await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
