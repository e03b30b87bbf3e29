//! Endings of streams and links, and the errors that a reader, a writer and a connector get for
//! each.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::{Error, ErrorKind, Reason};

/// The reason why a stream or its link ended, other than by END_STREAM.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The peer sent RST_STREAM.
    Reset(Reason),
    /// The peer sent GOAWAY with an error, and ended the link.
    GoAway(Reason, Text),
    /// The stream never reached the peer, or the peer's GOAWAY excludes it.
    NotProcessed(Text),
    /// The transport ended or failed.
    Gone(Option<Arc<io::Error>>),
    /// The peer broke the protocol. The code is the one that it was told.
    Violation(Reason, Text),
    /// This side ended the link or the stream on purpose, for this reason.
    Local(Reason, Text),
    /// The peer was silent for too long.
    Silent(Text),
    /// The peer does not speak HTTP/2.
    NotHttp2(Text),
    /// The error of a refused or failed request.
    Failed(Error),
}

/// A message that several errors are made from.
pub(crate) type Text = Arc<str>;

impl Ending {
    /// The error for reads, after the bytes that arrived before the ending.
    pub(crate) fn read_error(&self) -> Error {
        match self {
            Ending::Reset(Reason::NO_ERROR) => {
                let message = "the peer reset the stream with NO_ERROR before its end: what was \
                               read is not all that was sent";
                reset(ErrorKind::Truncated, message, Reason::NO_ERROR)
            }
            Ending::Reset(reason) => was_reset(*reason),
            Ending::Gone(source) => gone(
                ErrorKind::Truncated,
                "the transport ended before the stream did: what was read is not all that was sent",
                source,
            ),
            other => other.either_error(),
        }
    }

    /// The error for write, flush and shutdown.
    pub(crate) fn write_error(&self) -> Error {
        match self {
            Ending::Reset(reason @ (Reason::NO_ERROR | Reason::STREAM_CLOSED)) => {
                let message = format!(
                    "the peer has stopped listening: it reset the stream with {reason}, and what \
                     was not yet sent is lost"
                );
                reset(ErrorKind::Closed, message, *reason)
            }
            Ending::Reset(reason) => was_reset(*reason),
            Ending::Gone(source) => {
                gone(ErrorKind::Closed, "the transport ended before everything was sent", source)
            }
            other => other.either_error(),
        }
    }

    /// The error for a connector, before any response. `what` names the request.
    pub(crate) fn connect_error(&self, what: &str) -> Error {
        match self {
            Ending::Reset(Reason::REFUSED_STREAM) => {
                let message = format!(
                    "{what}: the server refused the stream before looking at it \
                     (REFUSED_STREAM): it is at its limits or going away; try again"
                );
                reset(ErrorKind::Refused, message, Reason::REFUSED_STREAM).not_processed()
            }
            Ending::Reset(Reason::HTTP_1_1_REQUIRED) => {
                let message = format!(
                    "{what}: the server wants HTTP/1.1 for this (HTTP_1_1_REQUIRED), which cannot \
                     carry a full-duplex connection; ask its operator to allow HTTP/2 here"
                );
                reset(ErrorKind::Unsupported, message, Reason::HTTP_1_1_REQUIRED)
            }
            Ending::Reset(Reason::NO_ERROR) => {
                let message =
                    format!("{what}: the server ended the stream without a response (NO_ERROR)");
                reset(ErrorKind::Truncated, message, Reason::NO_ERROR)
            }
            Ending::Reset(reason) => {
                let message =
                    format!("{what}: the server reset the stream before it answered ({reason})");
                reset(ErrorKind::Reset, message, *reason)
            }
            Ending::NotProcessed(text) => Error::new(ErrorKind::Refused, format!("{what}: {text}"))
                .with_reason(Reason::REFUSED_STREAM)
                .by_the_peer()
                .not_processed(),
            Ending::Gone(source) => gone(
                ErrorKind::Truncated,
                format!("{what}: the server ended the transport before it answered"),
                source,
            ),
            Ending::NotHttp2(text) => {
                Error::new(ErrorKind::Unsupported, format!("{what}: {text}")).by_the_peer()
            }
            Ending::Silent(text) => Error::new(ErrorKind::TimedOut, format!("{what}: {text}")),
            Ending::Failed(error) => error.clone().during(what),
            other => other.either_error(),
        }
    }

    /// The rows of the table that are the same for readers and writers.
    fn either_error(&self) -> Error {
        match self {
            Ending::GoAway(reason, text) => {
                let said = if text.is_empty() { String::new() } else { format!(": {text:?}") };
                let message = format!("the peer ended the link with GOAWAY ({reason}{said})");
                reset(ErrorKind::Reset, message, *reason)
            }
            Ending::Violation(reason, text) => {
                let message =
                    format!("the peer broke the rules of HTTP/2 and was told {reason}: {text}");
                reset(ErrorKind::Protocol, message, *reason)
            }
            Ending::Local(reason, text) => {
                Error::new(ErrorKind::Aborted, text.to_string()).with_reason(*reason)
            }
            Ending::Silent(text) => Error::new(ErrorKind::TimedOut, text.to_string()),
            Ending::NotHttp2(text) => {
                Error::new(ErrorKind::Unsupported, text.to_string()).by_the_peer()
            }
            Ending::Failed(error) => error.clone(),
            Ending::Reset(_) | Ending::NotProcessed(_) | Ending::Gone(_) => {
                self.connect_error("the connection")
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.read_error(), f)
    }
}

fn was_reset(reason: Reason) -> Error {
    reset(ErrorKind::Reset, format!("the peer reset the stream ({reason})"), reason)
}

fn reset(
    kind: ErrorKind,
    message: impl Into<std::borrow::Cow<'static, str>>,
    reason: Reason,
) -> Error {
    Error::new(kind, message).with_reason(reason).by_the_peer()
}

fn gone(
    kind: ErrorKind,
    message: impl Into<std::borrow::Cow<'static, str>>,
    source: &Option<Arc<io::Error>>,
) -> Error {
    let error = Error::new(kind, message).by_the_peer();
    match source {
        Some(source) => error.with_source(io::Error::new(source.kind(), Arc::clone(source))),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use io::ErrorKind::*;

    use super::*;

    fn kinds(ending: Ending) -> (io::ErrorKind, io::ErrorKind, io::ErrorKind) {
        (
            io::Error::from(ending.read_error()).kind(),
            io::Error::from(ending.write_error()).kind(),
            io::Error::from(ending.connect_error("POST http://x/")).kind(),
        )
    }

    #[test]
    fn the_table_of_what_each_ending_becomes() {
        let text: Text = "why".into();
        let reset = |reason| kinds(Ending::Reset(reason));
        assert_eq!(reset(Reason::NO_ERROR), (UnexpectedEof, BrokenPipe, UnexpectedEof));
        for reason in [
            Reason::CANCEL,
            Reason::INTERNAL_ERROR,
            Reason::CONNECT_ERROR,
            Reason::ENHANCE_YOUR_CALM,
            Reason::from_code(0xbeef),
        ] {
            assert_eq!(reset(reason), (ConnectionReset, ConnectionReset, ConnectionReset));
        }
        assert_eq!(reset(Reason::STREAM_CLOSED).0, ConnectionReset);
        assert_eq!(reset(Reason::STREAM_CLOSED).1, BrokenPipe);
        assert_eq!(reset(Reason::REFUSED_STREAM).2, ConnectionRefused);
        assert_eq!(reset(Reason::HTTP_1_1_REQUIRED).2, Unsupported);
        assert_eq!(kinds(Ending::NotProcessed(text.clone())).2, ConnectionRefused);
        assert_eq!(
            kinds(Ending::GoAway(Reason::INTERNAL_ERROR, text.clone())),
            (ConnectionReset, ConnectionReset, ConnectionReset)
        );
        assert_eq!(kinds(Ending::Gone(None)), (UnexpectedEof, BrokenPipe, UnexpectedEof));
        assert_eq!(
            kinds(Ending::Violation(Reason::PROTOCOL_ERROR, text.clone())),
            (InvalidData, InvalidData, InvalidData)
        );
        assert_eq!(
            kinds(Ending::Local(Reason::CANCEL, text.clone())),
            (ConnectionAborted, ConnectionAborted, ConnectionAborted)
        );
        assert_eq!(kinds(Ending::Silent(text.clone())), (TimedOut, TimedOut, TimedOut));
        assert_eq!(kinds(Ending::NotHttp2(text)), (Unsupported, Unsupported, Unsupported));
    }

    #[test]
    fn only_what_the_peer_has_not_looked_at_was_not_processed() {
        let connect = |ending: Ending| ending.connect_error("x").was_not_processed();
        assert!(connect(Ending::Reset(Reason::REFUSED_STREAM)));
        assert!(connect(Ending::NotProcessed("GOAWAY".into())));
        assert!(!connect(Ending::Reset(Reason::CANCEL)));
        assert!(!connect(Ending::Gone(None)));
    }
}
