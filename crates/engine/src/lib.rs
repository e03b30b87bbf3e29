//! HTTP/2 (RFC 9113) without I/O. Bytes, calls and the time go in; frames to send and calls of a
//! [`Visitor`] come out. Nothing in here waits, locks, wakes or reads a clock.

mod hpack;
mod reason;

pub use reason::Reason;

/// Parts by themselves, for fuzzers, tests and measurements. Nothing in here is stable.
#[doc(hidden)]
pub mod fuzzing {
    /// HPACK (RFC 7541).
    pub mod hpack {
        pub use crate::hpack::{Decoder, Encoder, Error, Field, Indexing};
    }
}
