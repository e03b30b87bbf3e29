//! What the two movers of an accepted connection share: the response's body, which the server
//! polls, and the pump, which polls the request's.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::conn::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{AtomicBool, AtomicWaker};

/// Who is to be woken, and how far the response has come.
#[derive(Debug, Default)]
pub(super) struct Ends {
    body: AtomicWaker,
    pump: AtomicWaker,
    /// The server has dropped the response's body before its end.
    cut_off: AtomicBool,
}

impl Ends {
    pub(super) fn new() -> Arc<Ends> {
        Arc::default()
    }

    /// Wakes both: what concerns the end of the stream concerns both.
    pub(super) fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::clone(self))
    }

    /// Wakes who takes bytes from the outbox.
    pub(super) fn body_waker(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(BodyWaker(Arc::clone(self))))
    }

    pub(super) fn register_body(&self, cx: &Context<'_>) {
        self.body.register(cx.waker());
    }

    pub(super) fn register_pump(&self, cx: &Context<'_>) {
        self.pump.register(cx.waker());
    }

    pub(super) fn wake_body(&self) {
        self.body.wake();
    }

    pub(super) fn wake_pump(&self) {
        self.pump.wake();
    }

    pub(super) fn cut_off(&self) {
        self.cut_off.store(true, SeqCst);
        self.wake_pump();
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off.load(SeqCst)
    }
}

impl Wake for Ends {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.body.wake();
        self.pump.wake();
    }
}

struct BodyWaker(Arc<Ends>);

impl Wake for BodyWaker {
    fn wake(self: Arc<Self>) {
        self.0.body.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.body.wake();
    }
}

/// What a connection can ask of a server that is not ours: hardly anything.
#[derive(Debug)]
pub(super) struct Server {
    /// The connection is over, or its acceptor is being drained.
    going_away: watch::Sender<bool>,
    /// The time of its acceptor's drain is up.
    cut: watch::Sender<bool>,
}

impl Server {
    pub(super) fn new() -> Arc<Server> {
        Arc::new(Server { going_away: watch::Sender::new(false), cut: watch::Sender::new(false) })
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
}

impl Control for Server {
    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        let message = "the server that accepted this connection gives no access to its pings";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.going_away.subscribe()
    }
}
