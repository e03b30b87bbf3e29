//! A server that is not ours, as a carrier: of the two bodies of a request, or of a WebSocket.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::Context;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::conn::Carrier;
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Mover;
use crate::sync::{AtomicBool, AtomicWaker};

/// The state that a connection, its task and its server share. The server can be asked for hardly
/// anything.
#[derive(Debug)]
pub(super) struct Server {
    /// The task that sees to the connection.
    task: AtomicWaker,
    /// The server has dropped the response before its end.
    cut_off: AtomicBool,
    /// The connection is over, or its acceptor is being drained.
    going_away: watch::Sender<bool>,
    /// The time of its acceptor's drain is up.
    cut: watch::Sender<bool>,
}

impl Server {
    pub(super) fn new() -> Arc<Server> {
        Arc::new(Server {
            task: AtomicWaker::new(),
            cut_off: AtomicBool::new(false),
            going_away: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        })
    }

    pub(super) fn register_task(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    pub(super) fn wake_task(&self) {
        self.task.wake();
    }

    pub(super) fn cut_off(&self) {
        self.cut_off.store(true, SeqCst);
        self.task.wake();
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(SeqCst)
    }

    pub(super) fn set_going_away(&self) {
        self.going_away.send_replace(true);
    }

    pub(super) fn set_cut(&self) {
        self.cut.send_replace(true);
    }

    /// Waits until the connection has no more time, whatever is still to be done for it.
    #[cfg(feature = "websocket")]
    pub(super) async fn cut(&self) {
        // It fails only when the sender is gone, which is `self`.
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    #[cfg(feature = "websocket")]
    pub(super) fn is_going_away(&self) -> bool {
        *self.going_away.borrow()
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        let message = "the server that accepted this connection gives no access to its pings";
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

/// The bodies of a request and its response. The server polls the response's, and the task the
/// request's.
#[derive(Debug)]
pub(super) struct BodyCarrier {
    body: AtomicWaker,
    server: Arc<Server>,
}

impl BodyCarrier {
    pub(super) fn new(server: &Arc<Server>) -> Arc<BodyCarrier> {
        Arc::new(BodyCarrier { body: AtomicWaker::new(), server: Arc::clone(server) })
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn register_body(&self, cx: &Context<'_>) {
        self.body.register(cx.waker());
    }

    pub(super) fn wake_body(&self) {
        self.body.wake();
    }
}

impl Mover for BodyCarrier {
    fn written(self: Arc<Self>) {
        self.body.wake();
    }

    fn read(self: Arc<Self>) {
        self.server.wake_task();
    }
}

impl Carrier for BodyCarrier {
    fn changed(self: Arc<Self>) {
        self.body.wake();
        self.server.wake_task();
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        self.server.ping()
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.server.going_away.subscribe()
    }
}

/// The messages of a WebSocket, which the task moves both ways.
#[cfg(feature = "websocket")]
#[derive(Debug)]
pub(super) struct MessageCarrier(Arc<Server>);

#[cfg(feature = "websocket")]
impl MessageCarrier {
    pub(super) fn new(server: &Arc<Server>) -> Arc<MessageCarrier> {
        Arc::new(MessageCarrier(Arc::clone(server)))
    }
}

#[cfg(feature = "websocket")]
impl Mover for MessageCarrier {
    fn written(self: Arc<Self>) {
        self.0.wake_task();
    }

    fn read(self: Arc<Self>) {
        self.0.wake_task();
    }
}

#[cfg(feature = "websocket")]
impl Carrier for MessageCarrier {
    fn changed(self: Arc<Self>) {
        self.0.wake_task();
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        self.0.ping()
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.0.going_away.subscribe()
    }
}
