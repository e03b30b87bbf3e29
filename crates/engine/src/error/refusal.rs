//! Errors for calls that the engine cannot carry out.

use std::error::Error;
use std::fmt;

use crate::UnsendableHead;

/// The reason why a stream cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer limits its streams at once (RFC 9113 §5.1.2), and as many are open. Try again when
    /// one is over.
    Limit {
        /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS.
        max: u32,
    },
    /// One of the two ends has sent GOAWAY (RFC 9113 §6.8), or the connection has failed.
    GoingAway,
    /// All identifiers are used up (RFC 9113 §5.1.1). A new connection is needed.
    UsedUp,
    /// The peer has not announced the extended CONNECT (RFC 8441 §3), or its SETTINGS have not come.
    NotOffered,
    /// This is a server, which opens no streams: push is off.
    Server,
    /// The peer would have to refuse the head.
    Unsendable(UnsendableHead),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Limit { max } => {
                write!(f, "{max} streams are open, the peer takes no more (RFC 9113 §5.1.2)")
            }
            OpenError::GoingAway => {
                f.write_str("the connection takes no more streams (RFC 9113 §6.8)")
            }
            OpenError::UsedUp => f.write_str("all stream identifiers are used (RFC 9113 §5.1.1)"),
            OpenError::NotOffered => f.write_str(
                "the peer has not announced SETTINGS_ENABLE_CONNECT_PROTOCOL (RFC 8441 §3)",
            ),
            OpenError::Server => f.write_str("a server opens no streams (RFC 9113 §8.4)"),
            OpenError::Unsendable(_) => f.write_str("the request's head cannot be sent"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            OpenError::Unsendable(error) => Some(error),
            _ => None,
        }
    }
}

/// The reason why a call cannot send on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The stream is over, or was never opened.
    Over,
    /// It must not be sent at this point of the stream (RFC 9113 §8.1): a second head, an interim
    /// response after the head, trailers before the head, after the end, or on a CONNECT.
    Order,
    /// The peer would have to refuse the head or the trailers.
    Unsendable(UnsendableHead),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Over => "the stream is over",
            SendError::Order => "this may not be sent at this point of the stream (RFC 9113 §8.1)",
            SendError::Unsendable(_) => "the head cannot be sent",
        })
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SendError::Unsendable(error) => Some(error),
            _ => None,
        }
    }
}
