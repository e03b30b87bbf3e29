//! Parsing the URL of a connection.

use std::fmt;

use http::Uri;
#[cfg(feature = "requests")]
use http::uri::Authority;
use http::uri::{PathAndQuery, Scheme};

use crate::error::{Error, ErrorKind, Result};

/// A URL that can be connected to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    uri: Uri,
    origin: Origin,
}

/// Connections must have the same origin to share a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) tls: bool,
    /// A name or an address, without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Origin {
    /// Host and port, with brackets around an IPv6 address.
    pub(super) fn authority(&self) -> String {
        let Origin { host, port, .. } = self;
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target> {
        if !url.contains("://") {
            return Err(wrong(url, NO_SCHEME));
        }
        let uri = url.parse::<Uri>();
        Target::of(uri.map_err(|error| wrong(url, "it cannot be read").with_source(error))?)
    }

    pub(super) fn of(uri: Uri) -> Result<Target> {
        let wrong = |what: &str| wrong(&uri.to_string(), what);
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if matches!(scheme.as_str(), "ws" | "wss") => {
                let why = "ws:// and wss:// are WebSockets; write http:// or https://, and set ClientBuilder::reach";
                return Err(wrong(why));
            }
            Some(scheme) => return Err(wrong(&format!("the scheme {scheme} is not known here"))),
            None => return Err(wrong(NO_SCHEME)),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?.as_str();
        if authority.contains('@') {
            return Err(wrong("it carries a user name, which HTTP/2 does not; use a header"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port.map(number) {
            Some(None) => return Err(wrong("its port is no number up to 65535")),
            Some(Some(port)) => port,
            None if tls => 443,
            None => 80,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() {
            return Err(wrong("its host is empty"));
        }
        let origin = Origin { tls, host, port };
        if uri.path_and_query().is_some() {
            return Ok(Target { uri, origin });
        }
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        let with_path = Uri::from_parts(parts).map_err(|error| wrong(&error.to_string()))?;
        Ok(Target { uri: with_path, origin })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Lets requests name another host than that of the link.
    #[cfg(feature = "requests")]
    pub(super) fn set_authority(&mut self, authority: Authority) {
        let mut parts = self.uri.clone().into_parts();
        parts.authority = Some(authority);
        // It has a scheme and a path.
        if let Ok(uri) = Uri::from_parts(parts) {
            self.uri = uri;
        }
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }
}

const NO_SCHEME: &str = "it has no scheme, https:// or http://";

fn wrong(url: &str, what: &str) -> Error {
    let message = format!(
        "{:?} is no URL to connect to: {what}; expected something like https://host:port/path",
        without_secrets(url)
    );
    Error::new(ErrorKind::InvalidInput, message)
}

/// A port, of digits only.
fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A URL without its query, and without a password: errors are logged.
fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find('/').map_or(url.len(), |at| begin + at);
    let user = url[begin..end].rfind('@').map(|at| &url[begin..begin + at]);
    match user.and_then(|user| user.split_once(':')) {
        Some((name, password)) => {
            let hidden = begin + name.len() + 1;
            format!("{}…{}", &url[..hidden], &url[hidden + password.len()..])
        }
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_no_secrets() {
        for (url, shown) in [
            ("ftp://host/path?token=x", "\"ftp://host/path\""),
            ("https://user:pass@host/?token=x", "\"https://user:…@host/\""),
            ("https://user@host/", "\"https://user@host/\""),
            ("/path?token=x", "\"/path\""),
            ("user:p@ss@host", "\"user:…@host\""),
        ] {
            let error = Target::parse(url).expect_err(url).to_string();
            assert!(error.starts_with(shown), "{error}");
        }
    }

    #[test]
    fn a_url_gives_its_origin_with_the_default_port_of_its_scheme() {
        let origin = |url| {
            let origin = Target::parse(url).expect("a good URL").origin;
            (origin.tls, origin.host, origin.port)
        };
        assert_eq!(origin("https://example.com"), (true, "example.com".into(), 443));
        assert_eq!(origin("http://Example.com:8000/x?y"), (false, "example.com".into(), 8000));
        assert_eq!(origin("https://[::1]:1/"), (true, "::1".into(), 1));
        assert_eq!(origin("http://[::1]"), (false, "::1".into(), 80));
    }

    #[test]
    fn what_is_no_url_is_refused_with_the_reason() {
        for (url, reason) in [
            ("", "scheme"),
            ("localhost:8000", "scheme"),
            ("/echo", "scheme"),
            ("ws://localhost/", "ws"),
            ("https://user:pass@host/", "user name"),
            ("https://host:99999/", "port"),
            ("https://host:/", "port"),
            ("https://host:+1/", "port"),
            ("https://[::1]:x/", "port"),
            ("https://a b/", "cannot be read"),
            ("localhost:8000/echo", "scheme"),
        ] {
            let error = Target::parse(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
    }
}
