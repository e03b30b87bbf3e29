//! The links of a client, one for each origin.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use tokio::sync;

use super::target::Origin;
use crate::config::Pace;
use crate::error::{Error, ErrorKind, Result};
use crate::link::Link;
use crate::sync::{Mutex, lock};

/// The link to one origin. Those who want it at the same time wait for one attempt to make it. When
/// that fails, each makes its own, with what is left of its time.
#[derive(Debug, Default)]
struct Slot {
    dialing: sync::Mutex<()>,
    link: Mutex<Option<Link>>,
    /// How slowly its links send PINGs.
    pace: Arc<Pace>,
}

impl Slot {
    fn open_link(&self) -> Option<Link> {
        lock(&self.link).clone().filter(Link::is_open)
    }
}

#[derive(Debug)]
pub(super) struct Pool {
    /// `None` once the client is closed.
    slots: Mutex<Option<HashMap<Origin, Arc<Slot>>>>,
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
    pub(super) async fn link<F>(
        &self,
        origin: &Origin,
        dial: impl FnOnce(Arc<Pace>) -> F,
    ) -> Result<Link>
    where
        F: Future<Output = Result<Link>>,
    {
        if let Some(only) = &self.only {
            return if only.is_open() { Ok(only.clone()) } else { Err(ended()) };
        }
        let slot = self.slot(origin)?;
        if let Some(link) = slot.open_link() {
            return Ok(link);
        }
        let _dialing = slot.dialing.lock().await;
        if let Some(link) = slot.open_link() {
            return Ok(link);
        }
        self.retire(lock(&slot.link).take());
        let link = dial(Arc::clone(&slot.pace)).await?;
        if lock(&self.slots).is_none() {
            link.shut_down();
            return Err(closed());
        }
        *lock(&slot.link) = Some(link.clone());
        Ok(link)
    }

    /// The next connection to `origin` makes a link of its own; the present one ends with its
    /// streams.
    pub(super) fn forget(&self, origin: &Origin) {
        let slots = lock(&self.slots);
        if let Some(slot) = slots.as_ref().and_then(|slots| slots.get(origin)) {
            self.retire(lock(&slot.link).take());
        }
    }

    /// Lets a link end with its streams.
    fn retire(&self, link: Option<Link>) {
        let Some(link) = link else { return };
        link.shut_down();
        let mut retired = lock(&self.retired);
        retired.retain(Link::is_alive);
        retired.push(link);
    }

    fn slot(&self, origin: &Origin) -> Result<Arc<Slot>> {
        let mut slots = lock(&self.slots);
        let slots = slots.as_mut().ok_or_else(closed)?;
        if let Some(slot) = slots.get(origin) {
            return Ok(Arc::clone(slot));
        }
        // Slots that nobody uses go, so that many origins do not add up.
        slots.retain(|_, slot| {
            let in_use =
                slot.open_link().is_some() || Arc::strong_count(slot) > 1 || slot.pace.is_slowed();
            if !in_use {
                self.retire(lock(&slot.link).take());
            }
            in_use
        });
        Ok(Arc::clone(slots.entry(origin.clone()).or_default()))
    }

    /// Takes the links out; no more will be made.
    pub(super) fn close(&self) -> Vec<Link> {
        let slots = lock(&self.slots).take().unwrap_or_default();
        let links = slots.into_values().filter_map(|slot| lock(&slot.link).take());
        let retired = std::mem::take(&mut *lock(&self.retired));
        links.chain(self.only.clone()).chain(retired).collect()
    }
}

fn ended() -> Error {
    let message = "the transport that this client was given takes no more connections: it has \
                   ended, or its server is going away";
    Error::new(ErrorKind::Refused, message)
}

fn closed() -> Error {
    Error::new(ErrorKind::Aborted, "the client has been closed")
}
