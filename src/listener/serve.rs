//! A listener that serves ordinary requests: each request goes to a server as it comes, and clients
//! that speak HTTP/1 get a server too.

use std::sync::Arc;

use tokio::time::timeout;

use super::Listener;
use super::drain::{HANDSHAKES, ended};
use super::http1::Http1Server;
use crate::link::Taker;

/// The outcome for the clients that were left when a server's time was up.
pub(crate) struct Cut {
    /// Requests and connections that had not ended.
    pub(crate) left: usize,
    /// The clients of the links have got every byte.
    pub(crate) delivered: bool,
}

impl Listener {
    /// Begins to give each request to `requests`, and each client that speaks HTTP/1 to `http1`.
    pub(crate) fn begin_to_serve(&mut self, requests: Taker, http1: Arc<dyn Http1Server>) {
        let decided = Arc::clone(&self.shared.decided);
        self.incoming.serve(Box::new(move |offer| {
            decided.accepted();
            requests(offer);
        }));
        self.shared.http1.serve(http1);
    }

    /// Waits until the listener has ended by itself, of a listener that serves.
    pub(crate) async fn served(&mut self) {
        while self.incoming.next().await.is_some() {}
        // WebSockets over HTTP/1 have left their clients' tasks.
        self.shared.http1.none().await;
    }

    /// Takes in no more clients, and waits until those that there are have ended in good order.
    pub(crate) async fn end_serving(&mut self) {
        self.shared.stop();
        if let Some(accepting) = self.accepting.take() {
            // The task closes the socket when it ends. After that another process can bind the
            // address.
            let _ = accepting.await;
        }
        // A client whose handshake is nearly complete gets a link, and a GOAWAY on it.
        let _ = timeout(HANDSHAKES, self.shared.limits.no_handshakes()).await;
        loop {
            ended(&self.shared.links.list()).await;
            self.shared.http1.none().await;
            if self.shared.links.list().is_empty() {
                return;
            }
        }
    }

    /// Ends the clients that are left, of a listener that serves, and those that still come.
    pub(crate) async fn cut(&self) -> Cut {
        let left = self.shared.budget.conns() + self.shared.http1.count();
        let links = self.shared.links.cut();
        let (delivered, ()) = tokio::join!(ended(&links), self.cut_http1());
        Cut { left, delivered }
    }
}
