//! The target of a request: `:scheme`, `:authority` and `:path` (RFC 9113 §8.3.1), from and to a
//! URI.

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};

use crate::error::shown;

pub(super) fn scheme(value: &[u8]) -> Result<Scheme, String> {
    match value {
        b"https" => Ok(Scheme::HTTPS),
        b"http" => Ok(Scheme::HTTP),
        _ => Scheme::try_from(value).ok().filter(is_scheme).ok_or_else(|| {
            format!(
                "the pseudo-header field \":scheme\" with {}, a scheme was expected \
                 (RFC 9113 §8.3.1)",
                shown(value)
            )
        }),
    }
}

/// Whether this is a scheme of RFC 3986 §3.1. `http` also accepts an empty one, and one that begins
/// with a digit.
fn is_scheme(scheme: &Scheme) -> bool {
    scheme.as_str().starts_with(|first: char| first.is_ascii_alphabetic())
}

/// Parses the value of the field `name`, which is `:authority` or `host`. `keep` makes the copy that
/// the result holds.
pub(super) fn authority(
    name: &str,
    value: &[u8],
    keep: impl FnOnce(&[u8]) -> Bytes,
) -> Result<Authority, String> {
    let authority =
        Authority::from_maybe_shared(keep(value)).map_err(|_| bad_authority(name, value))?;
    check_authority(name, &authority)?;
    Ok(authority)
}

/// Refuses user information, which must not be sent (RFC 9113 §8.3.1), and ports that are not
/// numbers.
pub(super) fn check_authority(name: &str, authority: &Authority) -> Result<(), String> {
    let text = authority.as_str();
    // Nearly all authorities are only names, and checking for that takes a tenth of the other
    // checks' time.
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) {
        return Ok(());
    }
    if text.contains('@') {
        return Err(format!(
            "{name} with user information, a host and at most a port were expected \
             (RFC 9113 §8.3.1)"
        ));
    }
    if has_port_or_none(authority) { Ok(()) } else { Err(bad_authority(name, text.as_bytes())) }
}

#[cold]
fn bad_authority(name: &str, value: &[u8]) -> String {
    format!(
        "{name} with {}, a host and at most a port were expected (RFC 9113 §8.3.1)",
        shown(value)
    )
}

/// Whether the port is a number or missing.
fn has_port_or_none(authority: &Authority) -> bool {
    match port(authority) {
        None | Some("") => true,
        Some(port) => is_port(port),
    }
}

/// A tunnel cannot go to a port that is not given (RFC 9113 §8.5, RFC 9110 §9.3.6).
pub(super) fn check_tunnel(authority: &Authority) -> Result<(), String> {
    if port(authority).is_some_and(is_port) {
        return Ok(());
    }
    Err(format!(
        "CONNECT to {}, a host and a port were expected (RFC 9113 §8.5)",
        shown(authority.as_str().as_bytes())
    ))
}

/// Everything after the colon behind the host. There is no user information, and only an address in
/// brackets has other colons.
fn port(authority: &Authority) -> Option<&str> {
    let (_, port) = authority.as_str().rsplit_once(':')?;
    (!port.ends_with(']')).then_some(port)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

/// Parses the value of `:path`. `keep` is as for [`authority`].
pub(super) fn path(
    value: &[u8],
    keep: impl FnOnce(&[u8]) -> Bytes,
) -> Result<PathAndQuery, String> {
    match value {
        b"/" => return Ok(PathAndQuery::from_static("/")),
        b"*" => return Ok(PathAndQuery::from_static("*")),
        // A fragment would be cut off silently.
        [b'/', rest @ ..] if !rest.contains(&b'#') => {
            if let Ok(path) = PathAndQuery::from_maybe_shared(keep(value)) {
                return Ok(path);
            }
        }
        _ => {}
    }
    Err(format!(
        "the pseudo-header field \":path\" with {}, an absolute path was expected \
         (RFC 9113 §8.3.1)",
        shown(value)
    ))
}

/// Whether both name the same place, with or without the scheme's own port.
pub(super) fn is_same(scheme: &Scheme, authority: &Authority, host: &Authority) -> bool {
    let number = |authority: &Authority| match (authority.port_u16(), scheme.as_str()) {
        (None, "http") => Some(80),
        (None, "https") => Some(443),
        (port, _) => port,
    };
    authority.host().eq_ignore_ascii_case(host.host()) && number(authority) == number(host)
}

/// Every `http` and `https` URI has an authority (RFC 9113 §8.3.1).
pub(super) fn needs_authority(scheme: &Scheme) -> bool {
    *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS
}
