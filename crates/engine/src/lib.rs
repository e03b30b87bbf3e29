//! HTTP/2 (RFC 9113) without I/O. Bytes, calls and the time go in; frames to send and calls of a
//! visitor come out. Nothing in here waits, locks, wakes or reads a clock.

mod config;
mod connection;
mod deframe;
mod error;
mod frame;
mod head;
mod hpack;
mod limits;
mod priority;
mod reason;
mod schedule;
mod settings;
mod stream;
mod stream_id;
mod streams;
mod visitor;
mod window;

pub use config::Config;
pub use connection::{Connection, DataHead, Output};
pub use error::{ConnectionError, OpenError, SendError, StreamError, UnsendableHead};
pub use head::{InvalidProtocol, Protocol};
pub use priority::Priority;
pub use reason::Reason;
pub use settings::Settings;
pub use stream_id::StreamId;
pub use visitor::Visitor;

/// Parts by themselves, for fuzzers, tests and measurements. Nothing in here is stable.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::deframe::Transcript;

    /// HPACK (RFC 7541).
    pub mod hpack {
        pub use crate::hpack::{Decoder, Encoder, Error, Field, Indexing};
    }
}
