//! Ordinary requests and their responses: interim responses, trailers, and messages without
//! content, which connections do not have.
//!
//! A server of this crate gives each request to its program as a [`Served`] stream. The program
//! either answers it as an ordinary request, or makes a connection of it (`accept`). A client's
//! ordinary request stays one.

use std::any::Any;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock, Weak};
#[cfg(feature = "requests")]
use std::task::{Context, Poll};

use http::{HeaderMap, request, response};
use tokio::sync::watch;

use super::{Addr, LinkInfo, Stream};
#[cfg(feature = "requests")]
use crate::error::Error;
use crate::sync::{AtomicBool, AtomicU8, Mutex, lock};

/// Something that must be kept until the stream is over.
pub(crate) type Kept = Box<dyn Any + Send + Sync>;

/// The additional state of the stream of an ordinary request.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    state: AtomicU8,
    heads: Mutex<Heads>,
    /// The connection that an acceptor has made of the request.
    conn: OnceLock<Conn>,
    place: Mutex<Option<Kept>>,
    /// The response of the connection was dropped.
    answer_dropped: AtomicBool,
}

#[derive(Debug, Default)]
struct Heads {
    /// The fields of the request, until its program gets them, or until a client's link sends
    /// them. A copy would cost time.
    fields: Option<HeaderMap>,
    /// Interim responses that are not yet sent.
    interim: Vec<response::Parts>,
    /// The peer's trailers, and the memory that they are charged to.
    received: Option<(HeaderMap, Option<Kept>)>,
    /// This side's trailers.
    to_send: Option<HeaderMap>,
}

/// A connection that an acceptor has made of a request.
#[derive(Debug)]
struct Conn {
    /// The request as the program's server has passed it on.
    request: request::Parts,
    /// The client's address and the span of the connection, as under another server.
    link: Arc<LinkInfo>,
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

    /// The content is about to be read or dropped as an ordinary body. `false` if a connection has
    /// it.
    pub(crate) fn begin_to_read(&self) -> bool {
        self.state.compare_exchange(UNTOUCHED, READ, SeqCst, SeqCst) != Err(TAKEN)
    }

    /// Takes the fields of the request, if they lie here.
    pub(crate) fn take_fields(&self) -> Option<HeaderMap> {
        lock(&self.heads).fields.take()
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

    /// The peer's trailers have come. Its end follows.
    pub(crate) fn set_received(&self, trailers: HeaderMap, charge: Option<Kept>) {
        lock(&self.heads).received = Some((trailers, charge));
    }

    pub(crate) fn has_received(&self) -> bool {
        lock(&self.heads).received.is_some()
    }

    pub(crate) fn take_received(&self) -> Option<HeaderMap> {
        lock(&self.heads).received.take().map(|(trailers, _)| trailers)
    }

    /// Sets this side's trailers, which go in place of END_STREAM's empty frame. Call it
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
        self.conn.get().map(|conn| &conn.link.peer)
    }

    /// Whether the acceptor that has taken the request is drained.
    pub(super) fn is_draining(&self) -> bool {
        self.conn.get().is_some_and(|conn| *conn.draining.borrow())
    }

    #[cfg(feature = "axum")]
    pub(super) fn link(&self) -> Option<Arc<LinkInfo>> {
        self.conn.get().map(|conn| Arc::clone(&conn.link))
    }

    pub(super) fn draining(&self) -> Option<watch::Receiver<bool>> {
        self.conn.get().map(|conn| conn.draining.clone())
    }

    /// The response that made the request a connection was dropped.
    pub(crate) fn set_answer_dropped(&self) {
        self.answer_dropped.store(true, SeqCst);
    }

    pub(crate) fn is_answer_dropped(&self) -> bool {
        self.answer_dropped.load(SeqCst)
    }

    pub(super) fn take_place(&self) -> Option<Kept> {
        lock(&self.place).take()
    }
}

/// A request's stream, among the extensions of the request that a server of this crate gives to its
/// program.
///
/// Programs copy extensions to wherever they like, so this does not keep the stream.
#[derive(Clone, Debug)]
pub(crate) struct Served(Weak<Stream>);

impl Served {
    pub(crate) fn new(stream: &Arc<Stream>) -> Served {
        Served(Arc::downgrade(stream))
    }

    /// Takes the stream out of a request that has become a connection. `None` if its content was
    /// read or dropped already, or was taken.
    pub(crate) fn take(&self) -> Option<Arc<Stream>> {
        let stream = self.0.upgrade()?;
        let state = &stream.exchange()?.state;
        let taken = state.compare_exchange(UNTOUCHED, TAKEN, SeqCst, SeqCst);
        taken.is_ok().then_some(stream)
    }

    /// Whether [`Served::take`] would give the stream.
    #[cfg(feature = "websocket")]
    pub(crate) fn can_be_taken(&self) -> bool {
        let stream = self.0.upgrade();
        stream.is_some_and(|stream| {
            stream.exchange().is_some_and(|exchange| exchange.state.load(SeqCst) == UNTOUCHED)
        })
    }

    /// The client's address.
    pub(crate) fn peer(&self) -> Option<Addr> {
        self.0.upgrade().map(|stream| stream.link.peer.clone())
    }

    /// The end of the server, for a connection that does not ride on the stream itself.
    pub(crate) fn shutdown(&self) -> Option<Shutdown> {
        self.0.upgrade().map(|stream| Shutdown::of_link(&stream))
    }
}

impl Stream {
    /// Makes it the stream of an ordinary request, until an acceptor takes it.
    pub(crate) fn serve(&self) {
        self.exchange.get_or_init(Box::default);
    }

    /// Makes it the stream of an ordinary request whose fields, these, are not among `request`.
    pub(crate) fn begin_exchange(&self, fields: HeaderMap) {
        let exchange = self.exchange.get_or_init(Box::default);
        lock(&exchange.heads).fields = Some(fields);
    }

    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.get().map(|exchange| &**exchange)
    }

    /// Whether it is an ordinary request, of which no connection was made.
    pub(crate) fn is_ordinary(&self) -> bool {
        self.exchange().is_some_and(|exchange| !exchange.is_taken())
    }

    /// A client's request, which is not sent yet, has no content. The outbox must be finished.
    pub(crate) fn set_ends_with_head(&self) {
        self.ends_with_head.store(true, SeqCst);
    }

    pub(crate) fn ends_with_head(&self) -> bool {
        self.ends_with_head.load(SeqCst)
    }

    /// Makes a served stream a connection. `place` is kept until the stream is over.
    pub(crate) fn become_conn(
        &self,
        request: request::Parts,
        link: LinkInfo,
        draining: watch::Receiver<bool>,
        place: Kept,
    ) {
        let Some(exchange) = self.exchange() else { return };
        // Only one caller has taken the stream.
        let _ = exchange.conn.set(Conn { request, link: Arc::new(link), draining });
        *lock(&exchange.place) = Some(place);
        if self.is_done() {
            drop(exchange.take_place());
        }
    }

    /// Ready with the response head of an ordinary request, once it is there. Its fields are given
    /// once.
    #[cfg(feature = "requests")]
    pub(crate) fn poll_response(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<response::Parts, Error>> {
        self.poll_answer_with(cx, take_with_fields)
    }

    /// Sends an interim response (RFC 9110 §15.2), unless the response has been given.
    pub(crate) fn inform(&self, head: response::Parts) {
        let Some(exchange) = self.exchange() else { return };
        exchange.add_interim(head);
        self.tell();
    }
}

/// Takes a response head, and leaves it without its fields. A copy of them would cost time.
pub(super) fn take_with_fields(head: &mut response::Parts) -> response::Parts {
    let headers = std::mem::take(&mut head.headers);
    let mut whole = head.clone();
    whole.headers = headers;
    whole
}

/// The end of a server of this crate, for connections that do not ride on its streams.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// Becomes true when the clients are asked to end.
    draining: watch::Receiver<bool>,
    /// Becomes true when their time is up. The end of the link tells of it otherwise.
    #[cfg(feature = "websocket")]
    cut: Option<watch::Receiver<bool>>,
    /// The server waits until nobody holds this.
    #[cfg(feature = "websocket")]
    waits: Weak<dyn Any + Send + Sync>,
    #[cfg(feature = "websocket")]
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl Shutdown {
    pub(crate) fn new(
        draining: watch::Receiver<bool>,
        cut: Option<watch::Receiver<bool>>,
        waits: Weak<dyn Any + Send + Sync>,
    ) -> Shutdown {
        // Only WebSockets are cut and waited for by it.
        #[cfg(not(feature = "websocket"))]
        drop((cut, waits));
        Shutdown {
            draining,
            #[cfg(feature = "websocket")]
            cut,
            #[cfg(feature = "websocket")]
            waits,
            #[cfg(feature = "websocket")]
            held: None,
        }
    }

    /// That of the link that carries a stream.
    pub(crate) fn of_link(stream: &Stream) -> Shutdown {
        Shutdown::new(stream.carrier.draining(), None, Weak::<()>::new())
    }

    /// Makes the server wait until this is dropped.
    #[cfg(feature = "websocket")]
    pub(crate) fn hold(mut self) -> Shutdown {
        self.held = self.waits.upgrade();
        self
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
