//! A WebSocket as a carrier.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Response, response};
use tokio::sync::{oneshot, watch};

use super::handshake::Handshake;
use crate::conn::{Carrier, Kept};
use crate::error::{Error, ErrorKind, Result};
use crate::hosted::Server;
use crate::pipe::Mover;
use crate::sync::{AtomicBool, Mutex, lock};

/// The messages of a WebSocket, which the task moves in both directions.
#[derive(Debug)]
pub(crate) struct MessageCarrier {
    server: Arc<Server>,
    state: Mutex<State>,
    /// A request that waits to be accepted at a listener.
    asked: OnceLock<(Handshake, Kept)>,
    is_accepted: AtomicBool,
}

#[derive(Debug)]
enum State {
    /// With the callers that wait for a ping to be sent.
    Open(Vec<oneshot::Sender<Duration>>),
    /// The session is over. `true` if the peer has confirmed that it has everything, or cannot be asked.
    Over(bool),
}

impl MessageCarrier {
    pub(crate) fn new(server: &Arc<Server>) -> Arc<MessageCarrier> {
        Arc::new(MessageCarrier {
            server: Arc::clone(server),
            state: Mutex::new(State::Open(Vec::new())),
            asked: OnceLock::new(),
            is_accepted: AtomicBool::new(false),
        })
    }

    /// Sets the request that will be accepted, and the memory that counts as long as the stream is there. Only the first
    /// call counts.
    pub(crate) fn ask(&self, handshake: Handshake, memory: Kept) {
        let _ = self.asked.set((handshake, memory));
    }

    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Whether the request was accepted.
    pub(crate) fn is_accepted(&self) -> bool {
        self.is_accepted.load(SeqCst)
    }

    pub(super) fn take_callers(&self) -> Vec<oneshot::Sender<Duration>> {
        match &mut *lock(&self.state) {
            State::Open(callers) => std::mem::take(callers),
            State::Over(_) => Vec::new(),
        }
    }

    /// The session is over.
    pub(super) fn end(&self, is_confirmed: bool) {
        let callers = std::mem::replace(&mut *lock(&self.state), State::Over(is_confirmed));
        drop(callers);
    }
}

impl Mover for MessageCarrier {
    fn written(self: Arc<Self>) {
        self.server.wake_task();
    }

    fn read(self: Arc<Self>) {
        self.server.wake_task();
    }
}

impl Carrier for MessageCarrier {
    fn changed(self: Arc<Self>) {
        self.server.wake_task();
    }

    fn accepting(&self, head: response::Parts) -> response::Parts {
        self.is_accepted.store(true, SeqCst);
        match self.asked.get() {
            Some((handshake, _)) => handshake.answer(Response::from_parts(head, ())).into_parts().0,
            None => head,
        }
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        let (caller, time) = oneshot::channel();
        if let State::Open(callers) = &mut *lock(&self.state) {
            callers.push(caller);
        }
        self.server.wake_task();
        Ok(time)
    }

    fn confirm(&self) -> Option<oneshot::Receiver<Result<()>>> {
        if !matches!(&*lock(&self.state), State::Over(false)) {
            return None;
        }
        let (answer, outcome) = oneshot::channel();
        let message = "the WebSocket ended before the peer confirmed that it has everything: the last bytes may be lost";
        let _ = answer.send(Err(Error::new(ErrorKind::Closed, message)));
        Some(outcome)
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.server.draining()
    }
}
