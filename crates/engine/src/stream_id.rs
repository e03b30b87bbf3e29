//! Stream identifiers.

use std::fmt;
use std::num::NonZeroU32;

/// The number of a stream (RFC 9113 §5.1.1). It has 31 bits. It is never 0, which denotes the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(NonZeroU32);

impl StreamId {
    /// The first stream of a client.
    pub const FIRST: StreamId = StreamId(NonZeroU32::MIN);

    /// The highest number that a stream can have.
    pub const MAX: StreamId = match StreamId::new(0x7fff_ffff) {
        Some(id) => id,
        None => unreachable!(),
    };

    /// `None` for 0 and for numbers that do not fit in 31 bits.
    pub const fn new(id: u32) -> Option<StreamId> {
        match NonZeroU32::new(id) {
            Some(nonzero) if id <= 0x7fff_ffff => Some(StreamId(nonzero)),
            _ => None,
        }
    }

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Odd numbers are those of clients.
    pub const fn is_client_initiated(self) -> bool {
        self.get() % 2 == 1
    }

    /// Even numbers are those of servers, which only push.
    pub const fn is_server_initiated(self) -> bool {
        !self.is_client_initiated()
    }

    /// The next stream of the same end. `None` once the numbers are used up.
    pub const fn next(self) -> Option<StreamId> {
        StreamId::new(self.get() + 2)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<StreamId> for u32 {
    fn from(id: StreamId) -> u32 {
        id.get()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn zero_and_32_bits_are_no_streams() {
        assert_eq!(StreamId::new(0), None);
        assert_eq!(StreamId::new(0x8000_0000), None);
        assert_eq!(StreamId::new(0x7fff_ffff), Some(StreamId::MAX));
    }

    #[test]
    fn odd_streams_are_the_clients() {
        assert!(StreamId::FIRST.is_client_initiated());
        assert!(StreamId::new(2).unwrap().is_server_initiated());
    }

    #[test]
    fn numbers_end_at_31_bits() {
        assert_eq!(StreamId::FIRST.next().map(StreamId::get), Some(3));
        assert_eq!(StreamId::MAX.next(), None);
    }
}
