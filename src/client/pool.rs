//! The links of a client, one for each origin.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync;

use super::target::Origin;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Link;
use crate::pipe::lock;

/// Those who want a link to the same origin at the same time wait for one attempt to make it. When
/// that fails, each makes its own, with what is left of its time.
type Slot = Arc<sync::Mutex<Option<Link>>>;

#[derive(Debug)]
pub(super) struct Pool {
    /// `None` once the client is closed.
    slots: Mutex<Option<HashMap<Origin, Slot>>>,
    /// The only link, for every origin, when the program has brought the transport.
    only: Option<Link>,
    /// Links that take no more streams, and may still have some.
    retired: Mutex<Vec<Link>>,
}

impl Pool {
    pub(super) fn new(only: Option<Link>) -> Pool {
        Pool { slots: Mutex::new(Some(HashMap::new())), only, retired: Mutex::default() }
    }

    /// The link to `origin`, made by `dial` if there is none that takes streams.
    pub(super) async fn link<F>(&self, origin: &Origin, dial: impl FnOnce() -> F) -> Result<Link>
    where
        F: Future<Output = Result<Link>>,
    {
        if let Some(only) = &self.only {
            return if only.is_open() { Ok(only.clone()) } else { Err(ended()) };
        }
        let slot = self.slot(origin)?;
        let mut link = slot.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_open()) {
            return Ok(link.clone());
        }
        let new = dial().await?;
        if lock(&self.slots).is_none() {
            new.shut_down();
            return Err(closed());
        }
        if let Some(old) = link.replace(new.clone()) {
            self.retire(old);
        }
        Ok(new)
    }

    /// The next connection to `origin` makes a link of its own; the present one ends with its
    /// streams.
    pub(super) fn forget(&self, origin: &Origin) {
        let slots = lock(&self.slots);
        let slot = slots.as_ref().and_then(|slots| slots.get(origin));
        // Whoever holds the lock is making a new link already.
        if let Some(mut link) = slot.and_then(|slot| slot.try_lock().ok()) {
            link.take().into_iter().for_each(|link| self.retire(link));
        }
    }

    /// Lets a link end with its streams.
    fn retire(&self, link: Link) {
        link.shut_down();
        let mut retired = lock(&self.retired);
        retired.retain(Link::is_alive);
        retired.push(link);
    }

    fn slot(&self, origin: &Origin) -> Result<Slot> {
        let mut slots = lock(&self.slots);
        let slots = slots.as_mut().ok_or_else(closed)?;
        if let Some(slot) = slots.get(origin) {
            return Ok(Arc::clone(slot));
        }
        slots.retain(|_, slot| is_in_use(slot));
        Ok(Arc::clone(slots.entry(origin.clone()).or_default()))
    }

    /// Takes the links out; no more will be made.
    pub(super) fn close(&self) -> Vec<Link> {
        let slots = lock(&self.slots).take().unwrap_or_default();
        let links = slots.into_values().filter_map(|slot| slot.try_lock().ok()?.take());
        let retired = std::mem::take(&mut *lock(&self.retired));
        links.chain(self.only.clone()).chain(retired).collect()
    }
}

/// Whether somebody dials through it, or its link is open.
fn is_in_use(slot: &Slot) -> bool {
    slot.try_lock().map_or(true, |link| link.as_ref().is_some_and(Link::is_open))
}

fn ended() -> Error {
    let message = "the transport that this client was given takes no more connections: it has \
                   ended, or its server is going away";
    Error::new(ErrorKind::Refused, message)
}

fn closed() -> Error {
    Error::new(ErrorKind::Aborted, "the client has been closed")
}
