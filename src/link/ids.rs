//! From a stream's number to the place that holds it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use h2conn_engine::StreamId;

/// The place that holds an HTTP/2 stream.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Among the streams of the driver.
    Entry(usize),
    /// Among the arrivals in the news.
    Arrival(usize),
}

/// The places of a link's streams.
pub(super) type Ids = HashMap<StreamId, Place, Keyed>;

/// A hash of two multiplications by a secret of the link. A peer chooses the numbers of its
/// streams, in rising order. Without the secret it cannot cause collisions, and it has at most as
/// many numbers here as it may have streams.
#[derive(Clone, Debug)]
pub(super) struct Keyed(u64);

impl Default for Keyed {
    fn default() -> Keyed {
        Keyed(RandomState::new().build_hasher().finish() | 1)
    }
}

impl BuildHasher for Keyed {
    type Hasher = Mixed;

    fn build_hasher(&self) -> Mixed {
        Mixed { key: self.0, state: 0 }
    }
}

/// The hash of one number.
#[derive(Debug)]
pub(super) struct Mixed {
    key: u64,
    state: u64,
}

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.state ^ u64::from(number)).wrapping_mul(self.key);
        self.state = (mixed ^ (mixed >> 32)).wrapping_mul(self.key);
    }
}
