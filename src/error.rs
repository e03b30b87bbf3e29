//! Errors. `error/ending.rs` has the table of the errors that each ending becomes.

mod ending;
mod refusal;

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header, response};

pub(crate) use ending::{Ending, Text};
pub use h2conn_engine::Reason;

/// The result of this crate's fallible calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Arc<dyn StdError + Send + Sync + 'static>;

/// The reason why a call of this crate failed.
///
/// One pointer wide and cheap to clone: every later read or write of a connection returns the error
/// that ended the connection. Reads and writes through `AsyncRead` and `AsyncWrite` return an
/// [`io::Error`] that carries this error. [`Error::from_io`] gets it back.
///
/// The text describes this level only, and [`source`](StdError::source) leads to the level below,
/// so print the whole chain (`{error:#}` with `anyhow`).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    reason: Option<Reason>,
    by_peer: bool,
    not_processed: bool,
    /// Whether the peer has everything all the same.
    delivered: bool,
    /// Whether another attempt would end in the same way, where the kind does not say it.
    permanent: Option<bool>,
    rejected: Option<Rejected>,
    source: Option<Source>,
}

/// Names a request in an error. The query of the target, after `?`, is left out: it may be a
/// secret, and errors are logged.
pub(crate) fn request_name(method: &Method, uri: &Uri) -> String {
    match (uri.scheme(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{method} {scheme}://{authority}{}", uri.path()),
        _ => format!("{method} {}", uri.path()),
    }
}

/// The server's answer that was not 2xx.
#[derive(Clone)]
struct Rejected {
    head: response::Parts,
    body: Bytes,
}

/// The kinds of [`Error`], each with its [`io::ErrorKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller's input cannot be used: a bad URL, an unreadable certificate, contradictory
    /// options. `InvalidInput`.
    InvalidInput,
    /// No connection to the peer's address: the host is unknown, nothing listens there, or there is
    /// no such socket. The `io::ErrorKind` is that of the system's error.
    Connect,
    /// The TLS handshake failed. `PermissionDenied` if a certificate was not accepted, otherwise
    /// `InvalidData`.
    Tls,
    /// The peer does not speak HTTP/2, or does not support the requested feature. `Unsupported`.
    Unsupported,
    /// The peer refused the request and has not looked at it, so a retry is safe.
    /// `ConnectionRefused`.
    Refused,
    /// The server answered with a status that is not 2xx; see [`Error::status`]. `Other`.
    Rejected,
    /// The peer, or the end of its link, reset the connection. `ConnectionReset`.
    Reset,
    /// The bytes ended without END_STREAM, so the bytes that were read are not all that were sent.
    /// `UnexpectedEof`.
    Truncated,
    /// Nothing can be written any more: after a shutdown, or because the peer has stopped
    /// listening. `BrokenPipe`.
    Closed,
    /// This side ended the connection, with a reset or a close. `ConnectionAborted`.
    Aborted,
    /// A time limit passed. `TimedOut`.
    TimedOut,
    /// The peer broke the rules of HTTP/2, or sent something malformed. `InvalidData`.
    Protocol,
}

/// Request Timeout, Too Early, Too Many Requests, Bad Gateway, Service Unavailable, Gateway Timeout. Not 500, by which
/// a server says that it cannot do what it was asked for: `h2conn serve` does.
const PASSING: [u16; 6] = [408, 425, 429, 502, 503, 504];

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Error {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            reason: None,
            by_peer: false,
            not_processed: false,
            delivered: false,
            permanent: None,
            rejected: None,
            source: None,
        }))
    }

    pub(crate) fn with_source(
        self,
        source: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
    ) -> Error {
        self.edit(|inner| inner.source = Some(Arc::from(source.into())))
    }

    pub(crate) fn with_reason(self, reason: Reason) -> Error {
        self.edit(|inner| inner.reason = Some(reason))
    }

    pub(crate) fn by_the_peer(self) -> Error {
        self.edit(|inner| inner.by_peer = true)
    }

    /// Says whether another attempt would end in the same way, where the kind does not.
    pub(crate) fn permanent(self, permanent: bool) -> Error {
        self.edit(|inner| inner.permanent = Some(permanent))
    }

    pub(crate) fn not_processed(self) -> Error {
        self.edit(|inner| inner.not_processed = true)
    }

    /// Says that the peer had acknowledged everything before this failure.
    pub(crate) fn delivered(self) -> Error {
        self.edit(|inner| inner.delivered = true)
    }

    /// The same error, with the name of the action that failed.
    pub(crate) fn during(self, what: &str) -> Error {
        self.edit(|inner| inner.message = format!("{what}: {}", inner.message).into())
    }

    /// The same error, with more about its cause.
    pub(crate) fn with_note(self, note: &str) -> Error {
        match note {
            "" => self,
            _ => self.edit(|inner| inner.message = format!("{}{note}", inner.message).into()),
        }
    }

    /// Makes the error for a server's answer to `what` that was not 2xx.
    pub(crate) fn rejected(what: &str, head: response::Parts, body: Bytes) -> Error {
        let said = refusal::said(&head, &body).map(|said| format!(": {said:?}"));
        let message = format!(
            "{what}: the server answered {} instead of 2xx{}; {}",
            head.status,
            said.unwrap_or_default(),
            refusal::advice(&head)
        );
        Error::new(ErrorKind::Rejected, message)
            .by_the_peer()
            .edit(|inner| inner.rejected = Some(Rejected { head, body }))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Error {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// The kind of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The HTTP/2 error code (RFC 9113 §7) of the RST_STREAM or GOAWAY frame that caused this
    /// error, whichever side sent it.
    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    /// Whether the peer caused this, by a frame or an answer that it sent.
    pub fn is_by_peer(&self) -> bool {
        self.0.by_peer
    }

    /// Whether the peer has certainly not acted on the request, so that even a request that must not be carried out
    /// twice may be sent again (RFC 9113 §8.7). [`Client::connect`](crate::Client::connect) does so by itself, some times.
    pub fn was_not_processed(&self) -> bool {
        self.0.not_processed
    }

    /// Whether the peer had acknowledged every byte and the end of this side, so that nothing is lost of what was
    /// sent: the connection has failed only because the peer did not end its own side in time. This is an error of
    /// [`Conn::close`](crate::Conn::close). `false` means that it is not known.
    pub fn was_delivered(&self) -> bool {
        self.0.delivered
    }

    /// Whether another attempt would end in the same way, until somebody changes the program, a certificate or the
    /// server.
    ///
    /// True of input that cannot be used, of a peer that does not speak HTTP/2, of certificates that are not
    /// accepted and other TLS handshakes that the two ends cannot agree on, of statuses other than 408, 425, 429, 502,
    /// 503 and 504 (the list may grow), and of a client that was closed or whose only transport has ended. False of all
    /// else: the network, limits, resets and restarts pass. A [`Backoff`](crate::Backoff) asks for it.
    pub fn is_permanent(&self) -> bool {
        if let Some(permanent) = self.0.permanent {
            return permanent;
        }
        match self.0.kind {
            ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Tls => true,
            ErrorKind::Rejected => {
                let passes = |status: StatusCode| PASSING.contains(&status.as_u16());
                !self.status().is_some_and(passes)
            }
            _ => false,
        }
    }

    /// How long the server asks a client to stay away, by `retry-after` with a number of seconds (RFC 9110
    /// §10.2.3) in an answer that was not 2xx. A date there is not read.
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.headers()?.get(header::RETRY_AFTER)?;
        value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
    }

    /// Whether a time limit passed.
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::TimedOut
    }

    /// The status of the server's answer, when it was not 2xx.
    pub fn status(&self) -> Option<StatusCode> {
        self.0.rejected.as_ref().map(|rejected| rejected.head.status)
    }

    /// The header fields of the server's answer, when it was not 2xx.
    pub fn headers(&self) -> Option<&HeaderMap> {
        self.0.rejected.as_ref().map(|rejected| &rejected.head.headers)
    }

    /// The first 64 KiB of the body of the server's answer, when it was not 2xx.
    pub fn body(&self) -> Option<&Bytes> {
        self.0.rejected.as_ref().map(|rejected| &rejected.body)
    }

    /// The error of this crate that an I/O error carries, if any.
    ///
    /// ```
    /// fn was_reset(error: &std::io::Error) -> bool {
    ///     h2conn::Error::from_io(error).is_some_and(|error| error.reason().is_some())
    /// }
    /// # assert!(!was_reset(&std::io::ErrorKind::Other.into()));
    /// ```
    pub fn from_io(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// The `io::ErrorKind` of this error.
    fn io_kind(&self) -> io::ErrorKind {
        match self.0.kind {
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Connect => self.source_io_kind().unwrap_or(io::ErrorKind::NotConnected),
            ErrorKind::Tls => self.source_io_kind().unwrap_or(io::ErrorKind::InvalidData),
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::Refused => io::ErrorKind::ConnectionRefused,
            ErrorKind::Rejected => io::ErrorKind::Other,
            ErrorKind::Reset => io::ErrorKind::ConnectionReset,
            ErrorKind::Truncated => io::ErrorKind::UnexpectedEof,
            ErrorKind::Closed => io::ErrorKind::BrokenPipe,
            ErrorKind::Aborted => io::ErrorKind::ConnectionAborted,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Protocol => io::ErrorKind::InvalidData,
        }
    }

    fn source_io_kind(&self) -> Option<io::ErrorKind> {
        let source = self.0.source.as_ref()?;
        source.downcast_ref::<io::Error>().map(io::Error::kind)
    }
}

/// `{:#}` shows the causes too, each behind a colon.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = self.source().filter(|_| f.alternate());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Error");
        out.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(reason) = self.0.reason {
            out.field("reason", &reason);
        }
        if let Some(status) = self.status() {
            out.field("status", &status);
        }
        if let Some(source) = &self.0.source {
            out.field("source", source);
        }
        out.finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.io_kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_wide_and_survives_io() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::new(ErrorKind::Reset, "gone").with_reason(Reason::CANCEL);
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::ConnectionReset);
        let back = Error::from_io(&io).expect("it carries ours");
        assert_eq!(back.reason(), Some(Reason::CANCEL));
    }

    #[test]
    fn the_alternate_form_shows_the_causes() {
        let system = io::Error::other("no route");
        let error = Error::new(ErrorKind::Connect, "cannot connect").with_source(system);
        assert_eq!(
            (error.to_string(), format!("{error:#}")),
            ("cannot connect".to_owned(), "cannot connect: no route".to_owned(),)
        );
    }

    #[test]
    fn the_io_kind_of_a_failed_dial_is_the_systems() {
        let system = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = Error::new(ErrorKind::Connect, "no").with_source(system);
        assert!(error.source().is_some());
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_rejection_shows_the_first_line_of_the_body_and_keeps_all_of_it() {
        let (head, ()) =
            http::Response::builder().status(404).body(()).expect("a plain response").into_parts();
        let error = Error::rejected("POST http://x/", head, Bytes::from_static(b"no such\nroom"));
        assert_eq!(error.status(), Some(StatusCode::NOT_FOUND));
        assert_eq!(error.body().map(|b| &b[..]), Some(&b"no such\nroom"[..]));
        let text = error.to_string();
        assert!(text.contains("404 Not Found") && text.contains("no such"), "{text}");
        assert!(!text.contains("room"), "{text}");
    }

    #[test]
    fn errors_that_would_come_again_are_permanent() {
        for kind in [ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::Tls] {
            assert!(Error::new(kind, "no").is_permanent(), "{kind:?}");
        }
        for kind in [
            ErrorKind::Connect,
            ErrorKind::Refused,
            ErrorKind::Reset,
            ErrorKind::Truncated,
            ErrorKind::Closed,
            ErrorKind::Aborted,
            ErrorKind::TimedOut,
            ErrorKind::Protocol,
        ] {
            assert!(!Error::new(kind, "no").is_permanent(), "{kind:?}");
        }
        let rejected = |status: u16| {
            let response = http::Response::builder().status(status).header("retry-after", " 7");
            let (head, ()) = response.body(()).expect("a plain response").into_parts();
            Error::rejected("POST http://x/", head, Bytes::new())
        };
        for status in [300, 400, 401, 403, 404, 405, 413, 426, 500, 501, 505] {
            assert!(rejected(status).is_permanent(), "{status}");
        }
        for status in PASSING {
            assert!(!rejected(status).is_permanent(), "{status}");
        }
        assert_eq!(rejected(503).retry_after(), Some(Duration::from_secs(7)));
    }

    #[test]
    fn what_is_known_of_an_error_beats_its_kind() {
        assert!(!Error::new(ErrorKind::Tls, "no").permanent(false).is_permanent());
        assert!(Error::new(ErrorKind::Aborted, "no").permanent(true).is_permanent());
    }
}
