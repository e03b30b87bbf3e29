//! Errors of a connection and of one stream (RFC 9113 §5.4).

mod refusal;

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::Reason;

pub use refusal::{OpenError, SendError};

/// The number of first bytes that a [`ConnectionError`] keeps of a peer that does not speak HTTP/2.
pub(crate) const MAX_SEEN: usize = 64;

/// The connection cannot go on (RFC 9113 §5.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    reason: Reason,
    what: Cow<'static, str>,
    seen: Option<Box<[u8]>>,
}

impl ConnectionError {
    /// `what` states what was seen, what was expected, and the section of the RFC with the rule.
    pub(crate) fn new(reason: Reason, what: impl Into<Cow<'static, str>>) -> ConnectionError {
        ConnectionError { reason, what: what.into(), seen: None }
    }

    pub(crate) fn protocol(what: impl Into<Cow<'static, str>>) -> ConnectionError {
        ConnectionError::new(Reason::PROTOCOL_ERROR, what)
    }

    pub(crate) fn frame_size(what: impl Into<Cow<'static, str>>) -> ConnectionError {
        ConnectionError::new(Reason::FRAME_SIZE_ERROR, what)
    }

    pub(crate) fn calm(what: impl Into<Cow<'static, str>>) -> ConnectionError {
        ConnectionError::new(Reason::ENHANCE_YOUR_CALM, what)
    }

    /// The peer's first bytes are not those of HTTP/2.
    pub(crate) fn not_http2(seen: &[u8], what: impl Into<Cow<'static, str>>) -> ConnectionError {
        let seen = Some(seen[..seen.len().min(MAX_SEEN)].into());
        ConnectionError { seen, ..ConnectionError::protocol(what) }
    }

    /// The code that the GOAWAY carries.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The text: what was seen, what was expected, and the section of the RFC with the rule.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// If the peer does not speak HTTP/2: the first bytes that it sent, at most 64. They include
    /// the first byte that HTTP/2 does not allow in its place.
    pub fn first_bytes(&self) -> Option<&[u8]> {
        self.seen.as_deref()
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.what)
    }
}

impl Error for ConnectionError {}

/// One stream cannot go on, but the others can (RFC 9113 §5.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    reason: Reason,
    what: Cow<'static, str>,
}

impl StreamError {
    /// `what` states what was seen, what was expected, and the section of the RFC with the rule.
    pub(crate) fn new(reason: Reason, what: impl Into<Cow<'static, str>>) -> StreamError {
        StreamError { reason, what: what.into() }
    }

    pub(crate) fn protocol(what: impl Into<Cow<'static, str>>) -> StreamError {
        StreamError::new(Reason::PROTOCOL_ERROR, what)
    }

    /// The code that the RST_STREAM carries.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The text: what was seen, what was expected, and the section of the RFC with the rule.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.what)
    }
}

impl Error for StreamError {}

/// A head or trailers that cannot be sent, because the peer would have to refuse them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsendableHead {
    what: Cow<'static, str>,
}

impl UnsendableHead {
    pub(crate) fn new(what: impl Into<Cow<'static, str>>) -> UnsendableHead {
        UnsendableHead { what: what.into() }
    }

    /// The text: what was found, what was expected, and the section of the RFC with the rule.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for UnsendableHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for UnsendableHead {}

/// The peer's bytes in the form for an error's text: the first of them, escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    if bytes.len() <= MOST {
        return format!("\"{}\"", bytes.escape_ascii());
    }
    format!("\"{}…\" ({} bytes)", bytes[..MOST].escape_ascii(), bytes.len())
}
