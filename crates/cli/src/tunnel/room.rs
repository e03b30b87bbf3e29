//! Places for what strangers can have opened, each of which costs a descriptor.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    full: Full,
}

/// A place. Dropping it makes it free again.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit,
);

/// No place is free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Full {
    most: usize,
    /// The name of those that have places, in the plural.
    what: &'static str,
    /// The option that says how many there are.
    knob: &'static str,
}

impl Room {
    pub(crate) fn new(most: usize, what: &'static str, knob: &'static str) -> Room {
        let most = most.min(Semaphore::MAX_PERMITS);
        Room { places: Arc::new(Semaphore::new(most)), full: Full { most, what, knob } }
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// When none is free.
    pub(crate) fn take(&self) -> Result<Place, Full> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => Ok(Place(permit)),
            Err(_) => Err(self.full),
        }
    }

    /// Takes a place as soon as one is free.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes none.
    pub(crate) async fn wait(&self) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        Place(permit.expect("the semaphore is never closed"))
    }

    /// The error of a taker that would not find a place now, if it would not.
    pub(crate) fn is_full(&self) -> Option<Full> {
        (self.places.available_permits() == 0).then_some(self.full)
    }
}

impl Full {
    pub(crate) fn knob(self) -> &'static str {
        self.knob
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Full { most, what, knob } = self;
        write!(f, "there are {most} {what}, as many as {knob} allows at once")
    }
}

impl Error for Full {}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

    use super::*;

    #[tokio::test]
    async fn a_place_is_free_again_once_it_is_dropped() {
        let room = Room::new(2, "tunnels", "--max-tunnels");
        let (one, two) = (room.take().unwrap(), room.wait().await);
        let full = room.take().unwrap_err().to_string();
        assert_eq!(full, "there are 2 tunnels, as many as --max-tunnels allows at once");
        assert_eq!(room.is_full().unwrap().to_string(), full);
        drop(one);
        let clone = room.clone();
        assert!(room.is_full().is_none());
        let _three = clone.take().unwrap();
        room.take().unwrap_err();
        drop(two);
        room.take().unwrap();
        Room::new(usize::MAX, "tunnels", "--max-tunnels").take().unwrap();
    }
}
