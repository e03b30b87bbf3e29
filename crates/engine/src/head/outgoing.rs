//! Heads and trailers to send. They are checked first, and then written without fail.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use super::fields::Of;
use super::{
    Protocol, content_length, has_blank_at_an_end, is_connection_specific, is_name, target,
};
use crate::UnsendableHead;
use crate::error::shown;
use crate::hpack::{Encoder, Indexing};

/// A head or trailers that a peer has no reason to refuse.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pseudo: Pseudo<'a>,
    headers: &'a HeaderMap,
    content_length: Option<u64>,
}

#[derive(Debug)]
enum Pseudo<'a> {
    Request {
        method: &'a Method,
        authority: &'a str,
        /// `None` for a CONNECT without a protocol.
        place: Option<Place<'a>>,
        protocol: Option<&'a Protocol>,
    },
    Status(StatusCode),
    /// For trailers.
    None,
}

#[derive(Debug)]
struct Place<'a> {
    scheme: &'a str,
    path: Cow<'a, str>,
}

impl<'a> Outgoing<'a> {
    /// Interprets the URI as the `h2` crate does. For a CONNECT only its authority counts, a
    /// missing path is `/`, and a missing scheme is `http`. Without an authority there must be a
    /// field `host`, which becomes `:authority` (RFC 9113 §8.3.1).
    ///
    /// # Errors
    ///
    /// Any request that a server would have to refuse.
    pub(crate) fn request(
        method: &'a Method,
        uri: &'a Uri,
        headers: &'a HeaderMap,
        protocol: Option<&'a Protocol>,
    ) -> Result<Outgoing<'a>, UnsendableHead> {
        if protocol.is_some() && method != Method::CONNECT {
            return Err(UnsendableHead::new(format!(
                "a protocol with the method {}, CONNECT was expected (RFC 8441 §4)",
                shown(method.as_str().as_bytes())
            )));
        }
        let is_tunnel = method == Method::CONNECT && protocol.is_none();
        let authority = authority(uri, headers, is_tunnel).map_err(UnsendableHead::new)?;
        let place = if is_tunnel { None } else { Some(place(method, uri)?) };
        let content_length = check(Of::Request, headers)?;
        let pseudo = Pseudo::Request { method, authority, place, protocol };
        Ok(Outgoing { pseudo, headers, content_length })
    }

    /// Checks a response, or an interim one.
    ///
    /// # Errors
    ///
    /// Any response that a client would have to refuse, such as the status 101.
    pub(crate) fn response(response: &'a Response<()>) -> Result<Outgoing<'a>, UnsendableHead> {
        let (status, headers) = (response.status(), response.headers());
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(UnsendableHead::new(
                "the status 101, which HTTP/2 does not have (RFC 9113 §8.6)",
            ));
        }
        let content_length = check(Of::Response, headers)?;
        Ok(Outgoing { pseudo: Pseudo::Status(status), headers, content_length })
    }

    /// Checks the trailers of a request or a response.
    ///
    /// # Errors
    ///
    /// Any trailers that the other end would have to refuse.
    pub(crate) fn trailers(trailers: &'a HeaderMap) -> Result<Outgoing<'a>, UnsendableHead> {
        check(Of::Trailers, trailers)?;
        Ok(Outgoing { pseudo: Pseudo::None, headers: trailers, content_length: None })
    }

    /// The value of `content-length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether it is a response of status 2xx.
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.pseudo, Pseudo::Status(status) if status.is_success())
    }

    /// Whether it is a 304, whose `content-length` describes content that is not sent
    /// (RFC 9110 §8.6).
    pub(crate) fn is_not_modified(&self) -> bool {
        matches!(self.pseudo, Pseudo::Status(StatusCode::NOT_MODIFIED))
    }

    /// The size that the peer's SETTINGS_MAX_HEADER_LIST_SIZE limits, in bytes (RFC 9113 §6.5.2).
    pub(crate) fn size(&self) -> usize {
        let mut size = 0;
        self.each(&mut |name, value, _| size += name.len() + value.len() + 32);
        size
    }

    /// Appends the field block.
    pub(crate) fn write(&self, encoder: &mut Encoder, into: &mut Vec<u8>) {
        encoder.begin(into);
        self.each(&mut |name, value, how| match entry(name, value) {
            Some(index) => into.push(index),
            None => encoder.field(name, value, how, into),
        });
    }

    /// Calls `f` with all fields, the pseudo-header fields first (RFC 9113 §8.3).
    fn each(&self, f: &mut impl FnMut(&[u8], &[u8], Indexing)) {
        match &self.pseudo {
            Pseudo::Request { method, authority, place, protocol } => {
                f(b":method", method.as_str().as_bytes(), Indexing::Index);
                if let Some(protocol) = protocol {
                    f(b":protocol", protocol.as_str().as_bytes(), Indexing::Index);
                }
                if let Some(Place { scheme, path }) = place {
                    f(b":scheme", scheme.as_bytes(), Indexing::Index);
                    f(b":path", path.as_bytes(), of_path(path));
                }
                f(b":authority", authority.as_bytes(), Indexing::Index);
            }
            Pseudo::Status(status) => f(b":status", status.as_str().as_bytes(), Indexing::Index),
            Pseudo::None => {}
        }
        let is_request = matches!(self.pseudo, Pseudo::Request { .. });
        for (name, value) in self.headers {
            // `:authority` contains it.
            if !(is_request && *name == header::HOST) {
                f(name.as_str().as_bytes(), value.as_bytes(), of_field(name, value));
            }
        }
    }
}

/// The byte for a field of the static table (RFC 7541 §6.1, appendix A), for the fields that most
/// heads begin with.
#[inline]
fn entry(name: &[u8], value: &[u8]) -> Option<u8> {
    let index = match (name, value) {
        (b":method", b"GET") => 2,
        (b":method", b"POST") => 3,
        (b":path", b"/") => 4,
        (b":scheme", b"http") => 6,
        (b":scheme", b"https") => 7,
        (b":status", b"200") => 8,
        (b":status", b"204") => 9,
        (b":status", b"206") => 10,
        (b":status", b"304") => 11,
        (b":status", b"400") => 12,
        (b":status", b"404") => 13,
        (b":status", b"500") => 14,
        _ => return None,
    };
    Some(0x80 | index)
}

/// A path without a query is likely to be requested again.
fn of_path(path: &str) -> Indexing {
    if path.contains('?') { Indexing::Without } else { Indexing::Index }
}

/// No table keeps secrets (RFC 7541 §7.1.3), and values that are new each time evict nothing. All
/// responses of a second have the same `date`.
fn of_field(name: &HeaderName, value: &HeaderValue) -> Indexing {
    if value.is_sensitive() {
        return Indexing::Never;
    }
    match *name {
        header::AUTHORIZATION
        | header::PROXY_AUTHORIZATION
        | header::COOKIE
        | header::SET_COOKIE => Indexing::Never,
        header::AGE
        | header::CONTENT_LENGTH
        | header::CONTENT_RANGE
        | header::ETAG
        | header::EXPIRES
        | header::IF_MODIFIED_SINCE
        | header::IF_NONE_MATCH
        | header::LAST_MODIFIED
        | header::LOCATION
        | header::RANGE => Indexing::Without,
        _ => Indexing::Index,
    }
}

/// `:authority`: the URI's, or else `host`. If both are there, they must be equal.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap, is_tunnel: bool) -> Result<&'a str, String> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host_of(host)).transpose()?;
    if hosts.next().is_some() {
        return Err("the field \"host\" twice, once was expected (RFC 9110 §7.2)".into());
    }
    let authority = uri.authority();
    if let Some(authority) = authority {
        target::check_authority("the URI", authority)?;
    }
    if let (Some(authority), Some((_, host))) = (authority, &host)
        && !target::is_same(uri.scheme().unwrap_or(&Scheme::HTTP), authority, host)
    {
        return Err(format!(
            "the field \"host\" with {} and a URI with {}, the same was expected \
             (RFC 9113 §8.3.1)",
            shown(host.as_str().as_bytes()),
            shown(authority.as_str().as_bytes())
        ));
    }
    let (text, authority) = match (authority, &host) {
        (Some(authority), _) => (authority.as_str(), authority),
        (None, Some((text, host))) => (*text, host),
        (None, None) => {
            return Err("a request with neither an authority in its URI nor \"host\", one was \
                        expected (RFC 9113 §8.3.1)"
                .into());
        }
    };
    if is_tunnel {
        target::check_tunnel(authority)?;
    }
    Ok(text)
}

fn host_of(host: &HeaderValue) -> Result<(&str, Authority), String> {
    let keep = Bytes::copy_from_slice;
    let authority = target::authority("the field \"host\"", host.as_bytes(), keep)?;
    let text = host.to_str().map_err(|error| error.to_string())?;
    Ok((text, authority))
}

fn place<'a>(method: &Method, uri: &'a Uri) -> Result<Place<'a>, UnsendableHead> {
    let path = match uri.path_and_query().map(|path| path.as_str()) {
        Some(path) if path.starts_with('/') => path.into(),
        Some("*") if method == Method::OPTIONS => "*".into(),
        Some(query) if query.starts_with('?') => format!("/{query}").into(),
        None | Some("") if method == Method::OPTIONS => "*".into(),
        None | Some("") => "/".into(),
        Some(path) => {
            return Err(UnsendableHead::new(format!(
                "the path {} with the method {}, an absolute one was expected (RFC 9113 §8.3.1)",
                shown(path.as_bytes()),
                shown(method.as_str().as_bytes())
            )));
        }
    };
    Ok(Place { scheme: uri.scheme_str().unwrap_or("http"), path })
}

/// Checks all fields except the pseudo-header fields, and returns the value of `content-length`.
fn check(of: Of, headers: &HeaderMap) -> Result<Option<u64>, UnsendableHead> {
    let mut content_length = None;
    for (name, value) in headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        if !is_name(name) {
            return Err(UnsendableHead::new(format!(
                "the field name {}, a token was expected (RFC 9113 §8.2.1)",
                shown(name)
            )));
        }
        if is_connection_specific(name) {
            return Err(UnsendableHead::new(format!(
                "the field {}, but it belongs to HTTP/1.1 (RFC 9113 §8.2.2)",
                shown(name)
            )));
        }
        if has_blank_at_an_end(value) {
            return Err(UnsendableHead::new(format!(
                "a value of the field {} begins or ends with a blank, none was expected there \
                 (RFC 9113 §8.2.1)",
                shown(name)
            )));
        }
        if name == b"te" && !(of == Of::Request && value.eq_ignore_ascii_case(b"trailers")) {
            return Err(UnsendableHead::new(
                "the field \"te\", only \"trailers\" in a request was expected (RFC 9113 §8.2.2)",
            ));
        }
        if name == b"content-length" && of != Of::Trailers {
            let length = content_length::parse(value).map_err(UnsendableHead::new)?;
            if content_length.replace(length).is_some_and(|other| other != length) {
                return Err(UnsendableHead::new(
                    "the field \"content-length\" with two lengths, one was expected \
                     (RFC 9110 §8.6)",
                ));
            }
        }
    }
    Ok(content_length)
}
