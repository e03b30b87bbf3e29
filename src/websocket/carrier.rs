//! A WebSocket on another server, as a carrier.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::conn::Carrier;
use crate::error::Result;
use crate::hosted::Server;
use crate::pipe::Mover;

/// The messages of a WebSocket, which the task moves in both directions.
#[derive(Debug)]
pub(crate) struct MessageCarrier(Arc<Server>);

impl MessageCarrier {
    pub(crate) fn new(server: &Arc<Server>) -> Arc<MessageCarrier> {
        Arc::new(MessageCarrier(Arc::clone(server)))
    }
}

impl Mover for MessageCarrier {
    fn written(self: Arc<Self>) {
        self.0.wake_task();
    }

    fn read(self: Arc<Self>) {
        self.0.wake_task();
    }
}

impl Carrier for MessageCarrier {
    fn changed(self: Arc<Self>) {
        self.0.wake_task();
    }

    fn ping(&self) -> Result<oneshot::Receiver<Duration>> {
        self.0.ping()
    }

    fn draining(&self) -> watch::Receiver<bool> {
        self.0.draining()
    }
}
