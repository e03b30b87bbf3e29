//! Which pages may connect. A browser lets any page open a WebSocket to any server, and sends the
//! server's cookies along; the server has to look at the origin (RFC 6455 §10.2).

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Debug, Default)]
pub(super) enum Origins {
    /// The host and port that the request was sent to.
    #[default]
    Same,
    Only(Vec<String>),
    Any,
}

impl Origins {
    /// Refuses what no browser sends.
    pub(super) fn check(&self) -> Result<()> {
        let Origins::Only(origins) = self else { return Ok(()) };
        match origins.iter().find(|origin| *origin != "null" && parse(origin).is_none()) {
            None => Ok(()),
            Some(wrong) => {
                let message = format!(
                    "{wrong:?} is no origin: expected a scheme, a host and perhaps a port, such as \
                     https://example.com:8443"
                );
                Err(Error::new(ErrorKind::InvalidInput, message))
            }
        }
    }

    /// Whether a request with these header fields, sent to `host`, may connect.
    ///
    /// # Errors
    ///
    /// What to tell the client.
    pub(super) fn admit(&self, headers: &HeaderMap, host: Option<&str>) -> Result<(), String> {
        let mut named = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = named.next() else { return Ok(()) };
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let admitted = named.next().is_none()
            && match self {
                Origins::Any => true,
                Origins::Only(origins) => origins.iter().any(|listed| is_same(listed, &origin)),
                Origins::Same => host.is_some_and(|host| is_at(&origin, host)),
            };
        if admitted {
            return Ok(());
        }
        Err(format!("pages of the origin {origin:?} may not connect here"))
    }
}

/// The scheme, host and port of a serialized origin (RFC 6454 §6.2).
///
/// Pages have none of `ws` and `wss`. Clients that are no browser make an origin of the URL that
/// they connect to, though, and mean the server's own, whose page would be at `http` or `https`.
fn parse(origin: &str) -> Option<(String, Authority)> {
    // `Uri` makes a path of nothing, so that it tells not whether there was one.
    let (_, rest) = origin.split_once("://")?;
    let parts = origin.parse::<Uri>().ok()?.into_parts();
    let whole = |authority: &Authority| authority.as_str() == rest && is_good(authority);
    let mut scheme = parts.scheme?.as_str().to_ascii_lowercase();
    if matches!(scheme.as_str(), "ws" | "wss") {
        scheme.replace_range(..2, "http");
    }
    Some((scheme, parts.authority.filter(whole)?))
}

/// Whether it is a host, and perhaps a port that there can be.
fn is_good(authority: &Authority) -> bool {
    let text = authority.as_str();
    let names_port = text.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    !text.contains('@') && (!names_port || authority.port_u16().is_some())
}

fn is_same(one: &str, other: &str) -> bool {
    match (parse(one), parse(other)) {
        (Some((scheme, one)), Some((other_scheme, other))) => {
            scheme == other_scheme && place(&scheme, &one) == place(&scheme, &other)
        }
        _ => one == other,
    }
}

/// Whether an origin is the host, and port, that a request was sent to.
fn is_at(origin: &str, host: &str) -> bool {
    match (parse(origin), host.parse::<Authority>()) {
        (Some((scheme, authority)), Ok(host)) if is_good(&host) => {
            place(&scheme, &authority) == place(&scheme, &host)
        }
        _ => false,
    }
}

/// Host and port, the port being that of the scheme where none is named.
fn place(scheme: &str, authority: &Authority) -> (String, Option<u16>) {
    let default = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    (authority.host().to_ascii_lowercase(), authority.port_u16().or(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(origins: &Origins, origin: &str, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().expect("a value"))]);
        origins.admit(&headers, Some(host)).is_ok()
    }

    #[test]
    fn by_default_only_pages_of_this_host_and_port_may_connect() {
        for (origin, host, admitted) in [
            ("https://example.com", "example.com", true),
            ("https://example.com", "Example.com:443", true),
            ("https://example.com:443", "example.com", true),
            ("http://example.com", "example.com:80", true),
            ("http://localhost:8000", "localhost:8000", true),
            ("https://[::1]:8000", "[::1]:8000", true),
            ("wss://example.com", "example.com", true),
            ("wss://example.com", "example.com:443", true),
            ("WSS://Example.com:443", "example.com", true),
            ("ws://example.com", "example.com:80", true),
            ("ws://localhost:8000", "localhost:8000", true),
            ("HTTPS://example.com", "example.com:443", true),
            ("wss://example.com", "example.com:80", false),
            ("ws://example.com", "example.com:443", false),
            ("wss://example.com", "evil.net", false),
            ("wss://example.com/", "example.com", false),
            ("wsx://example.com", "example.com:443", false),
            ("https://example.com", "example.com:8443", false),
            ("https://example.com:8443", "example.com", false),
            ("https://sub.example.com", "example.com", false),
            ("https://example.com.evil.net", "example.com", false),
            ("https://example.com@evil.net", "evil.net", false),
            ("https://evil.net/example.com", "example.com", false),
            ("https://example.com", "example.com:99999", false),
            ("https://example.com:", "example.com", false),
            ("https://example.com", "user@example.com", false),
            ("null", "example.com", false),
            ("", "example.com", false),
            ("example.com", "example.com", false),
        ] {
            assert_eq!(admits(&Origins::Same, origin, host), admitted, "{origin} at {host}");
        }
    }

    #[test]
    fn a_client_that_is_no_page_names_no_origin() {
        assert!(Origins::Same.admit(&HeaderMap::new(), None).is_ok());
        assert!(Origins::Only(Vec::new()).admit(&HeaderMap::new(), None).is_ok());
    }

    #[test]
    fn two_origins_in_one_request_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(header::ORIGIN, "https://a".parse().expect("a value"));
        }
        assert!(Origins::Any.admit(&headers, Some("a")).is_err());
    }

    #[test]
    fn of_a_list_only_what_it_names_may_connect() {
        let listed = Origins::Only(vec!["https://a.example".into(), "null".into()]);
        for (origin, admitted) in [
            ("https://a.example", true),
            ("https://A.example:443", true),
            ("wss://a.example", true),
            ("wss://a.example:443", true),
            ("ws://a.example", false),
            ("ws://a.example:443", false),
            ("null", true),
            ("http://a.example", false),
            ("https://a.example:8443", false),
            ("https://host", false),
        ] {
            assert_eq!(admits(&listed, origin, "host"), admitted, "{origin}");
        }
    }

    #[test]
    fn a_list_may_name_the_scheme_of_websockets() {
        let listed = Origins::Only(vec!["wss://a.example".into(), "ws://b.example".into()]);
        assert!(listed.check().is_ok());
        for (origin, admitted) in [
            ("https://a.example", true),
            ("wss://a.example:443", true),
            ("http://b.example:80", true),
            ("http://a.example", false),
            ("wss://b.example", false),
        ] {
            assert_eq!(admits(&listed, origin, "host"), admitted, "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused_in_a_list() {
        for (origin, good) in [
            ("https://a", true),
            ("http://[::1]:80", true),
            ("null", true),
            ("https://a/", false),
            ("https://a/path", false),
            ("https://a:84433", false),
            ("https://a:", false),
            ("https://a:b", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(Origins::Only(vec![origin.into()]).check().is_ok(), good, "{origin}");
        }
    }
}
