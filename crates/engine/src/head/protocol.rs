//! The protocol of an extended CONNECT.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::is_token_byte;
use crate::error::shown;

/// The protocol that an extended CONNECT speaks on its stream: the value of `:protocol`
/// (RFC 8441 §4).
///
/// It is carried in the extensions of an [`http::Request`] with the method CONNECT.
///
/// ```
/// use h2conn_engine::Protocol;
///
/// let request = http::Request::connect("https://example.com/chat")
///     .extension(Protocol::from_static("websocket"))
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Protocol {
    name: Cow<'static, str>,
}

impl Protocol {
    /// Makes a protocol from a constant name.
    ///
    /// # Panics
    ///
    /// Panics if the name is invalid for [`Protocol::new`].
    #[track_caller]
    pub const fn from_static(name: &'static str) -> Protocol {
        assert!(is_name(name.as_bytes()), "not a name of a protocol");
        Protocol { name: Cow::Borrowed(name) }
    }

    /// Makes a protocol from its name.
    ///
    /// # Errors
    ///
    /// Fails if the name is neither a token nor two tokens with a `/` between them (RFC 9110 §7.8).
    pub fn new(name: &str) -> Result<Protocol, InvalidProtocol> {
        Protocol::parse(name.as_bytes()).ok_or_else(|| InvalidProtocol(name.into()))
    }

    pub(super) fn parse(name: &[u8]) -> Option<Protocol> {
        if name == b"websocket" {
            return Some(Protocol::from_static("websocket"));
        }
        let valid = is_name(name).then_some(name)?;
        Some(Protocol { name: Cow::Owned(std::str::from_utf8(valid).ok()?.to_owned()) })
    }

    /// The name in its form on the wire.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that no protocol can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidProtocol(Box<str>);

impl fmt::Display for InvalidProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = shown(self.0.as_bytes());
        write!(f, "the protocol {name}, a token was expected (RFC 9110 §7.8)")
    }
}

impl Error for InvalidProtocol {}

/// Whether this is a token, perhaps followed by a version after a `/`.
const fn is_name(name: &[u8]) -> bool {
    let mut at = 0;
    let mut slash = None;
    while at < name.len() {
        if name[at] == b'/' && slash.is_none() {
            slash = Some(at);
        } else if !is_token_byte(name[at]) {
            return false;
        }
        at += 1;
    }
    match slash {
        None => !name.is_empty(),
        Some(slash) => slash > 0 && slash + 1 < name.len(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "in a test a panic is the report")]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_a_token_with_or_without_a_version() {
        for name in ["websocket", "connect-udp", "HTTP/2.0", "x"] {
            assert_eq!(Protocol::new(name).unwrap().as_str(), name);
        }
        for name in ["", "/", "a/", "/a", "a/b/c", "a b", "é", "a\0"] {
            assert!(Protocol::new(name).is_err(), "{name:?}");
        }
    }
}
