//! The links that a listener's clients have made.

#[cfg(feature = "websocket")]
use std::sync::Arc;
#[cfg(feature = "serve")]
use std::sync::atomic::Ordering::SeqCst;

use slab::Slab;
use tokio::sync::watch;
use tokio::time::Instant;

#[cfg(feature = "serve")]
use super::drain::TIME_IS_UP;
use super::limits::{MAX_LINKS, Slot};
use crate::link::Link;
use crate::observe;
#[cfg(feature = "serve")]
use crate::sync::AtomicBool;
use crate::sync::{Mutex, lock};

#[derive(Debug)]
pub(super) struct Links {
    all: Mutex<Slab<Link>>,
    /// The time of the last loss on the links that have left `all`.
    lost: Mutex<Option<Instant>>,
    /// The number of WebSockets that ride on links, each until its loss is noted.
    #[cfg(feature = "websocket")]
    riders: Arc<watch::Sender<usize>>,
    /// No more links are made, and the present ones end with their streams. Changed only while
    /// `all` is locked.
    stopping: watch::Sender<bool>,
    /// All links are ended at once. Changed only while `all` is locked.
    #[cfg(feature = "serve")]
    is_cut: AtomicBool,
}

impl Links {
    pub(super) fn new() -> Links {
        Links {
            all: Mutex::default(),
            lost: Mutex::default(),
            #[cfg(feature = "websocket")]
            riders: Arc::new(watch::Sender::new(0)),
            stopping: watch::Sender::new(false),
            #[cfg(feature = "serve")]
            is_cut: AtomicBool::new(false),
        }
    }

    /// Keeps a new link until it has ended. The link ends when the listener has ended.
    pub(super) async fn keep(&self, link: Link, slot: &mut Slot) {
        let (key, stopping) = {
            let mut all = lock(&self.all);
            (all.insert(link.clone()), *self.stopping.borrow())
        };
        // Only now that it is in the list: a drain that sees no handshakes must find all links
        // there.
        slot.establish();
        if stopping {
            link.shut_down();
        }
        #[cfg(feature = "serve")]
        if self.is_cut.load(SeqCst) {
            link.abort(TIME_IS_UP);
        }
        let stranger = async {
            tokio::select! {
                biased;
                () = link.has_accepted() => slot.is_known(),
                () = slot.must_leave() => {
                    observe::refused(MAX_LINKS, &link.info().peer);
                    link.evict();
                }
            }
            std::future::pending::<()>().await;
        };
        // A client that hangs up without a word does not concern the listener.
        tokio::select! {
            _ = link.ended() => {}
            () = stranger => {}
        }
        let mut all = lock(&self.all);
        let mut lost = lock(&self.lost);
        *lost = link.lost_bytes().max(*lost);
        all.try_remove(key);
    }

    /// The time at which a dropped connection last may have lost bytes.
    pub(super) fn lost_bytes(&self) -> Option<Instant> {
        let all = lock(&self.all);
        let gone = *lock(&self.lost);
        all.iter().map(|(_, link)| link.lost_bytes()).fold(gone, Option::max)
    }

    /// Counts a WebSocket that rides on a link, until the value is dropped.
    #[cfg(feature = "websocket")]
    pub(super) fn mount(&self) -> Rider {
        self.riders.send_modify(|riders| *riders += 1);
        Rider(Arc::clone(&self.riders))
    }

    /// Waits until no WebSocket rides on a link.
    #[cfg(feature = "websocket")]
    pub(super) async fn no_riders(&self) {
        // Waiting fails only when the sender is gone, and `self` has it.
        let _ = self.riders.subscribe().wait_for(|riders| *riders == 0).await;
    }

    /// A WebSocket has lost bytes. The links do not know of it.
    #[cfg(feature = "websocket")]
    pub(super) fn note_loss(&self, at: Instant) {
        let mut lost = lock(&self.lost);
        *lost = Some(at).max(*lost);
    }

    /// Makes all links end with their streams, including links that are made later.
    pub(super) fn stop(&self) {
        let all = lock(&self.all);
        // Send GOAWAY before anything else, so that a refused client tries again elsewhere.
        for (_, link) in &*all {
            link.shut_down();
        }
        self.stopping.send_replace(true);
    }

    /// Ends all links now, including links that are made later. Returns those that there are.
    #[cfg(feature = "serve")]
    pub(super) fn cut(&self) -> Vec<Link> {
        let all = lock(&self.all);
        self.is_cut.store(true, SeqCst);
        let links: Vec<Link> = all.iter().map(|(_, link)| link.clone()).collect();
        drop(all);
        for link in &links {
            link.abort(TIME_IS_UP);
        }
        links
    }

    /// Becomes true when the listener must end.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The current links.
    pub(super) fn list(&self) -> Vec<Link> {
        lock(&self.all).iter().map(|(_, link)| link.clone()).collect()
    }
}

/// A WebSocket that rides on a link.
#[cfg(feature = "websocket")]
#[derive(Debug)]
pub(super) struct Rider(Arc<watch::Sender<usize>>);

#[cfg(feature = "websocket")]
impl Drop for Rider {
    fn drop(&mut self) {
        self.0.send_modify(|riders| *riders -= 1);
    }
}
