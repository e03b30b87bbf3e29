//! Another server, as the carrier of a request's two bodies.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::conn::Carrier;
use crate::error::{Error, ErrorKind, Result};
use crate::pipe::Mover;
use crate::sync::{AtomicBool, AtomicWaker};

/// The state that a connection, its task and its server share. The server can be asked for very
/// little.
#[derive(Debug)]
pub(crate) struct Server {
    /// The task that handles the connection.
    task: AtomicWaker,
    /// The server has dropped the response before its end.
    cut_off: AtomicBool,
    /// Its acceptor is being drained.
    draining: watch::Sender<bool>,
    /// The time of the acceptor's drain is up.
    cut: watch::Sender<bool>,
}

impl Server {
    pub(crate) fn new() -> Arc<Server> {
        Arc::new(Server {
            task: AtomicWaker::new(),
            cut_off: AtomicBool::new(false),
            draining: watch::Sender::new(false),
            cut: watch::Sender::new(false),
        })
    }

    pub(crate) fn register_task(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
    }

    pub(crate) fn wake_task(&self) {
        self.task.wake();
    }

    pub(crate) fn cut_off(&self) {
        self.cut_off.store(true, SeqCst);
        self.task.wake();
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.load(SeqCst)
    }

    pub(crate) fn set_draining(&self) {
        self.draining.send_replace(true);
        // The task may have to tell the peer.
        self.task.wake();
    }

    pub(crate) fn set_cut(&self) {
        self.cut.send_replace(true);
    }

    /// Waits until the connection has no more time, even for unfinished work.
    #[cfg(feature = "websocket")]
    pub(crate) async fn cut(&self) {
        // Waiting fails only when the sender is gone, and `self` is the sender.
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    #[cfg(feature = "websocket")]
    pub(crate) fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    pub(crate) fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        let message = "the server that accepted this connection gives no access to its pings";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    pub(crate) fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }
}

/// Wakes the task.
impl Wake for Server {
    fn wake(self: Arc<Self>) {
        self.wake_task();
    }
}

/// The bodies of a request and its response. The server polls the response's body, and the task
/// polls the request's body.
#[derive(Debug)]
pub(crate) struct BodyCarrier {
    body: AtomicWaker,
    server: Arc<Server>,
}

impl BodyCarrier {
    pub(crate) fn new(server: &Arc<Server>) -> Arc<BodyCarrier> {
        Arc::new(BodyCarrier { body: AtomicWaker::new(), server: Arc::clone(server) })
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    pub(crate) fn register_body(&self, cx: &Context<'_>) {
        self.body.register(cx.waker());
    }

    pub(crate) fn wake_body(&self) {
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
        self.server.draining()
    }
}
