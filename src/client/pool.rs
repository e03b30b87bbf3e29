//! The links of a client: for each origin as many as its connections need.

mod slot;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::policy::Rules;
use super::stats::{ClientStats, OriginStats, Totals};
use super::target::Origin;
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Lease, Link, WeakLink};
use crate::sync::{Mutex, lock};
use slot::Grant;

pub(super) use slot::{Slot, Terms};

#[derive(Debug)]
pub(super) struct Pool {
    rules: Rules,
    /// `None` once the client is closed.
    slots: Mutex<Option<HashMap<Origin, Arc<Slot>>>>,
    /// The one slot for every origin, when the program has given the transport.
    only: Option<Arc<Slot>>,
    totals: Arc<Totals>,
    /// The links of a closed client, until they are gone.
    closing: Mutex<Vec<WeakLink>>,
}

impl Pool {
    pub(super) fn new(rules: Rules, only: Option<Arc<Slot>>) -> Pool {
        let totals = Arc::default();
        let slots = Mutex::new(Some(HashMap::new()));
        Pool { rules, slots, only, totals, closing: Mutex::default() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    #[cfg(feature = "websocket")]
    pub(super) fn share_totals(&self) -> Arc<Totals> {
        Arc::clone(&self.totals)
    }

    /// Gives a place on a link to `origin`. It calls `dial` if another link must be made.
    ///
    /// Dropping the future gives the place back, and another waiter gets it.
    pub(super) async fn place<F>(
        &self,
        origin: &Origin,
        dial: impl FnOnce(Terms) -> F,
    ) -> Result<Lease>
    where
        F: Future<Output = Result<(Link, Lease)>>,
    {
        let slot = self.slot(origin)?;
        loop {
            match slot.place().await {
                // The link may have ended since its place was given to this task.
                Grant::Place(lease) if !lease.is_open() => {}
                Grant::Place(lease) => return Ok(lease),
                Grant::Over(error) => return Err(error),
                Grant::Dial(dialing) => {
                    return match dial(dialing.terms()).await {
                        Ok((link, lease)) => dialing.done(link, lease),
                        // Other connections may have made room meanwhile.
                        Err(error) => slot.try_place().ok_or(error),
                    };
                }
            }
        }
    }

    /// A place that is free now, for a caller whose time for another link is up.
    pub(super) fn place_now(&self, origin: &Origin) -> Option<Lease> {
        self.slot(origin).ok()?.try_place()
    }

    /// Whether a link to `origin` that takes more connections offers extended CONNECT (RFC 8441 §3).
    #[cfg(feature = "websocket")]
    pub(super) fn offers_connect(&self, origin: &Origin) -> bool {
        let slots = lock(&self.slots);
        let slot = slots.as_ref().and_then(|slots| slots.get(origin)).map(Arc::clone);
        drop(slots);
        slot.is_some_and(|slot| slot.offers_connect())
    }

    /// The reason why `place` has not ended within `time`, for a caller that did not dial itself.
    pub(super) fn no_place(&self, origin: &Origin, time: Duration) -> String {
        let time = time.as_secs_f32();
        let Ok(slot) = self.slot(origin) else {
            return format!("no place on a link within {time} s");
        };
        let OriginStats { origin, links, dialing, .. } = slot.stats(self.name(origin));
        let open = links.iter().filter(|link| link.is_open);
        let limits = || open.clone().filter_map(|link| link.limit);
        let begun = format!("no place on a link within {time} s");
        let raise = match self.only {
            Some(_) => "raise the server's limit",
            None => "raise max_links_per_origin or the server's limit",
        };
        match (open.clone().count(), limits().min(), limits().max()) {
            (0, ..) => {
                let idle = links.iter().filter(|link| !link.is_open && link.conns == 0).count();
                format!(
                    "{begun}: {dialing} were being made to {origin}, none for this connection; {idle} without \
                     connections wait for the server's acknowledgements"
                )
            }
            (1, Some(limit), _) => format!(
                "{begun}: one link to {origin}, at the server's limit of {limit} streams; {raise}, \
                 or close connections"
            ),
            (open, Some(least), Some(most)) => {
                let limit = match least == most {
                    true => most.to_string(),
                    false => format!("{least} to {most}"),
                };
                format!(
                    "{begun}: {open} links to {origin}, each at the server's limit of {limit} \
                     streams; {raise}, or close connections"
                )
            }
            _ => format!(
                "{begun}: {origin} has not sent its SETTINGS, which say how many connections there \
                 may be beside the first; check that an HTTP/2 server listens there"
            ),
        }
    }

    fn name(&self, origin: &Origin) -> String {
        match self.only {
            Some(_) => "the given transport's end".to_owned(),
            None => origin.to_string(),
        }
    }

    fn slot(&self, origin: &Origin) -> Result<Arc<Slot>> {
        if let Some(only) = &self.only {
            return Ok(Arc::clone(only));
        }
        let mut slots = lock(&self.slots);
        let slots = slots.as_mut().ok_or_else(closed)?;
        if let Some(slot) = slots.get(origin) {
            return Ok(Arc::clone(slot));
        }
        // Drop unused slots, or a client that visits many origins would keep them all.
        slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.is_used());
        let slot = Slot::new(self.rules, Arc::clone(&self.totals));
        slots.insert(origin.clone(), Arc::clone(&slot));
        Ok(slot)
    }

    pub(super) fn stats(&self) -> ClientStats {
        let mut origins = Vec::new();
        if let Some(only) = &self.only {
            origins.push(only.stats("the given transport's end".to_owned()));
        }
        let slots = lock(&self.slots).as_ref().map_or_else(Vec::new, |slots| {
            slots.iter().map(|(origin, slot)| (origin.clone(), Arc::clone(slot))).collect()
        });
        let used = slots.into_iter().filter(|(_, slot)| slot.is_used());
        origins.extend(used.map(|(origin, slot)| slot.stats(origin.to_string())));
        self.totals.stats(origins)
    }

    /// The first loss since the last call of a connection that no task held, including losses on
    /// links that have ended meanwhile.
    pub(super) fn take_loss(&self) -> Result<()> {
        let only = self.only.as_ref().map_or(Ok(()), |slot| slot.take_loss());
        self.totals.take_loss().and(only)
    }

    /// Takes out the links, including those that an earlier call took out and that are still alive.
    /// No more links will be made, and every waiter is told.
    pub(super) fn close(&self) -> Vec<Link> {
        let slots = lock(&self.slots).take().unwrap_or_default();
        let slots = slots.into_values().chain(self.only.clone());
        let mut links: Vec<Link> = slots.flat_map(|slot| slot.close()).collect();
        let mut closing = lock(&self.closing);
        links.extend(closing.iter().filter_map(WeakLink::upgrade));
        *closing = links.iter().map(Link::downgrade).collect();
        links
    }
}

fn ended() -> Error {
    let message = "the transport that this client was given takes no more connections: it has \
                   ended, or its server is going away";
    Error::new(ErrorKind::Refused, message).permanent(true)
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Aborted, "the client has been closed").permanent(true)
}
