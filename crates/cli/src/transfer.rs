//! The protocol of `send`, `recv` and `serve --files`: a file, the digest of all of it, and the
//! position from which to continue after a break. `docs/protocol.md` describes it for peers in
//! other languages.

pub(crate) mod access;
pub(crate) mod digest;
pub(crate) mod given;
pub(crate) mod kind;
pub(crate) mod name;
pub(crate) mod partial;
pub(crate) mod patience;
pub(crate) mod place;
pub(crate) mod progress;
pub(crate) mod reader;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod space;
pub(crate) mod step;
pub(crate) mod store;

/// The field of a request for a file: the length and digest of the part that the client already
/// has, as `1024 9f86…`.
pub(crate) const RECV: &str = "h2conn-recv";

/// The field of a request to store a file: its length.
pub(crate) const SEND: &str = "h2conn-send";

/// The field of a response with a file: its length.
pub(crate) const SIZE: &str = "h2conn-size";

/// The field of a request or a response with a file: its permission bits, as `644`.
pub(crate) const MODE: &str = "h2conn-mode";

/// How much of a file moves at once. This is enough for a disk, but little enough for a progress
/// bar and for the memory of a transfer that stalls.
const CHUNK: usize = 128 << 10;
