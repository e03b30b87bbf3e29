//! HTTP/2 (RFC 9113) without I/O. The input is bytes, calls and the time. The output is frames to
//! send and calls of a [`Visitor`]. The engine never waits, locks, wakes or reads a clock.
//!
//! A [`Connection`] is one end, of a client or a server. Its caller has a transport, and repeats
//! these steps:
//!
//! 1. [`receive`](Connection::receive) takes the bytes that were read, and reports their meaning to
//!    the visitor.
//! 2. The caller acts: [`open`](Connection::open), [`respond`](Connection::respond),
//!    [`trailers`](Connection::trailers), [`reset`](Connection::reset). It gives back processed
//!    content through [`release_stream`](Connection::release_stream) and
//!    [`release_connection`](Connection::release_connection).
//! 3. [`transmit`](Connection::transmit) hands out the bytes that must be written.
//! 4. [`next_to_send`](Connection::next_to_send) names a stream that has content and may send, and
//!    [`send_data`](Connection::send_data) gives the nine bytes that go before the content.
//! 5. The caller calls [`tick`](Connection::tick) at the [`deadline`](Connection::deadline).
//!
//! The engine never stores content, in either direction. Everything that a peer can make grow is
//! bounded: streams, tables of compression, unfinished frames, waiting answers. If a peer sends
//! more costly frames than an honest one would, the connection ends with ENHANCE_YOUR_CALM.
//!
//! ```
//! use std::time::Instant;
//!
//! use h2conn_engine::{Config, Connection, Reason, StreamError, StreamId, Visitor};
//! use http::{Request, Response};
//!
//! /// Notes what the client has done.
//! #[derive(Default)]
//! struct Server {
//!     opened: Vec<StreamId>,
//! }
//!
//! impl Visitor for Server {
//!     fn request(&mut self, id: StreamId, _request: Request<()>, _end: bool) {
//!         self.opened.push(id);
//!     }
//!     fn data(&mut self, _: StreamId, _content: &[u8]) {}
//!     fn end(&mut self, _: StreamId) {}
//!     fn reset(&mut self, _: StreamId, _: Reason) {}
//!     fn broken(&mut self, _: StreamId, _: &StreamError) {}
//! }
//!
//! /// Answers with a few bytes whatever comes; gives what must be written.
//! fn turn(
//!     connection: &mut Connection,
//!     read: &[u8],
//!     now: Instant,
//! ) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let mut server = Server::default();
//!     connection.receive(now, read, &mut server)?;
//!     for id in server.opened {
//!         connection.respond(id, &Response::new(()), false)?;
//!         connection.want_send(id);
//!     }
//!     let mut write = Vec::new();
//!     connection.transmit(now, &mut write);
//!     while let Some(id) = connection.next_to_send() {
//!         let content = b"hello";
//!         if let Some(head) = connection.send_data(id, content.len(), true) {
//!             write.extend_from_slice(&head.header);
//!             write.extend_from_slice(&content[..head.len]);
//!         }
//!     }
//!     Ok(write)
//! }
//!
//! # let now = Instant::now();
//! let mut client = Connection::client(&Config::default());
//! let mut server = Connection::server(&Config::default());
//! client.open(&Request::get("http://example.com/").body(())?, true)?;
//! let mut sent = Vec::new();
//! client.transmit(now, &mut sent);
//! assert!(turn(&mut server, &sent, now)?.ends_with(b"hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/engine_server.rs` and `examples/engine_client.rs` are a server and a client over TCP.

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

/// Separate parts, for fuzzers, tests and measurements. Nothing here is stable.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::deframe::Transcript;

    /// HPACK (RFC 7541).
    pub mod hpack {
        pub use crate::hpack::{Decoder, Encoder, Error, Field, Indexing};
    }
}
