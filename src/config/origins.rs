//! The pages that may connect. A browser lets any page send a POST to any server, or open a
//! WebSocket to it, with the server's cookies. So a server must check the origin (RFC 6454,
//! RFC 6455 §10.2).

use http::uri::Authority;
use http::{HeaderMap, Uri, header};

use super::fields::only;
use crate::error::{Error, ErrorKind, Result};

/// The origins whose pages may connect.
#[derive(Clone, Debug, Default)]
pub(crate) enum Origins {
    /// Only the host and port that the request was sent to.
    #[default]
    Same,
    Only(Vec<String>),
    Any,
}

impl Origins {
    pub(crate) fn only(origins: impl IntoIterator<Item = impl Into<String>>) -> Origins {
        Origins::Only(origins.into_iter().map(Into::into).collect())
    }

    /// Refuses origins that no browser sends.
    pub(crate) fn check(&self) -> Result<()> {
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

    /// Whether a request with this target and these header fields may connect. If not, returns the
    /// text for its client.
    pub(crate) fn refusal(&self, uri: &Uri, headers: &HeaderMap) -> Option<String> {
        let host = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => only(headers, header::HOST).and_then(|host| host.to_str().ok()),
        };
        let mut named = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = named.next() else { return self.refusal_without_origin(headers) };
        let origin = String::from_utf8_lossy(origin.as_bytes());
        let admitted = named.next().is_none()
            && match self {
                Origins::Any => true,
                Origins::Only(origins) => origins.iter().any(|listed| is_same(listed, &origin)),
                Origins::Same => host.is_some_and(|host| is_at(&origin, host)),
            };
        if admitted {
            return None;
        }
        let expected = match (self, host) {
            (Origins::Same, Some(host)) => {
                format!("that of {host:?}, which the request was sent to")
            }
            _ => "one that this server lists".to_owned(),
        };
        Some(format!(
            "pages of the origin {origin:?} may not connect here; expected {expected}. The server's program can list \
             more (`origins`)"
        ))
    }

    /// Programs send no origin, and browsers send none for an embedded resource. A browser then
    /// marks the request as cross-site (Fetch Metadata, §2.3).
    fn refusal_without_origin(&self, headers: &HeaderMap) -> Option<String> {
        let mut sites = headers.get_all("sec-fetch-site").iter();
        if matches!(self, Origins::Any) || !sites.any(|site| site == "cross-site") {
            return None;
        }
        let text = "pages of other sites may not connect here, and the request has sec-fetch-site: cross-site and no \
                    origin";
        Some(text.to_owned())
    }
}

/// The scheme, host and port of a serialized origin (RFC 6454 §6.2).
///
/// Pages never have an origin with `ws` or `wss`. But clients that are no browser make an origin of
/// the URL that they connect to. They mean the server's own, whose page would be at `http` or
/// `https`.
fn parse(origin: &str) -> Option<(String, Authority)> {
    // `Uri` makes a path of an empty one, so it does not show whether there was a path.
    let (_, rest) = origin.split_once("://")?;
    let parts = origin.parse::<Uri>().ok()?.into_parts();
    let whole = |authority: &Authority| authority.as_str() == rest && is_good(authority);
    let mut scheme = parts.scheme?.as_str().to_ascii_lowercase();
    if matches!(scheme.as_str(), "ws" | "wss") {
        scheme.replace_range(..2, "http");
    }
    Some((scheme, parts.authority.filter(whole)?))
}

/// Whether this is a host, with a valid port if there is one.
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

/// Whether an origin is the host and port that a request was sent to.
fn is_at(origin: &str, host: &str) -> bool {
    match (parse(origin), host.parse::<Authority>()) {
        (Some((scheme, authority)), Ok(host)) if is_good(&host) => {
            place(&scheme, &authority) == place(&scheme, &host)
        }
        _ => false,
    }
}

/// The host and port. Without a port, the scheme's port counts.
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

    /// The request has the form of HTTP/1.1, whose target may be only a path.
    fn refusal(origins: &Origins, host: &str, fields: &[(&'static str, &str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, host.parse().expect("a value"));
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        origins.refusal(&Uri::from_static("/path"), &headers)
    }

    fn admits(origins: &Origins, origin: &str, host: &str) -> bool {
        refusal(origins, host, &[("origin", origin)]).is_none()
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
        assert_eq!(Origins::Same.refusal(&Uri::default(), &HeaderMap::new()), None);
        assert_eq!(Origins::Only(Vec::new()).refusal(&Uri::default(), &HeaderMap::new()), None);
    }

    #[test]
    fn the_target_names_the_host_where_it_has_one() {
        let headers = HeaderMap::from_iter([
            (header::ORIGIN, "https://a.example".parse().expect("a value")),
            (header::HOST, "b.example".parse().expect("a value")),
        ]);
        let to = |uri| Origins::Same.refusal(&Uri::from_static(uri), &headers);
        assert_eq!(to("https://a.example/path"), None);
        let text = to("https://c.example/path").expect("another host");
        assert!(text.contains("\"https://a.example\"") && text.contains("\"c.example\""), "{text}");
    }

    #[test]
    fn a_page_of_another_site_is_refused_also_where_it_names_no_origin() {
        let from = |site| refusal(&Origins::Same, "a", &[("sec-fetch-site", site)]);
        for (site, refused) in
            [("cross-site", true), ("same-site", false), ("same-origin", false), ("none", false)]
        {
            assert_eq!(from(site).is_some(), refused, "{site}");
        }
        let listed = Origins::only(["https://b"]);
        let fields = [("sec-fetch-site", "cross-site"), ("origin", "https://b")];
        assert_eq!(refusal(&listed, "a", &fields), None, "it is listed");
        assert!(refusal(&listed, "a", &fields[..1]).is_some(), "it does not say which it is");
        assert_eq!(refusal(&Origins::Any, "a", &fields[..1]), None);
        let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
        assert!(refusal(&Origins::Same, "a", &twice).is_some());
    }

    #[test]
    fn two_origins_in_one_request_are_none() {
        let twice = [("origin", "https://a"), ("origin", "https://a")];
        assert!(refusal(&Origins::Any, "a", &twice).is_some());
    }

    #[test]
    fn of_a_list_only_what_it_names_may_connect() {
        let listed = Origins::only(["https://a.example", "null"]);
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
        let listed = Origins::only(["wss://a.example", "ws://b.example"]);
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
            assert_eq!(Origins::only([origin]).check().is_ok(), good, "{origin}");
        }
    }
}
