//! The head of a request that a server receives (RFC 9113 §8.3.1).

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Method, Request, Version, header};

use super::fields::{Collected, Fields, Of, Taken, malformed};
use super::{Limits, Protocol, Refused, target};
use crate::error::shown;
use crate::hpack::Field;

/// Takes the fields of one block.
#[derive(Debug)]
pub(crate) struct RequestHead {
    fields: Fields,
    extended_connect: bool,
    method: Option<Method>,
    scheme: Option<Scheme>,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    protocol: Option<Protocol>,
}

/// A request that obeys all the rules.
#[derive(Debug)]
pub(crate) struct ReceivedRequest {
    /// The request in the `h2` crate's form. The URI of a CONNECT has only an authority, and that
    /// of a request without `:authority` only a path. [`Protocol`] is among the extensions.
    pub(crate) request: Request<()>,
    /// The length of DATA that must come. `None` if any may come. A CONNECT has none
    /// (RFC 9110 §9.3.6).
    pub(crate) content_length: Option<u64>,
    /// The bytes of values that it holds.
    pub(crate) values: usize,
}

impl RequestHead {
    /// `expected`: the bytes of values that the block probably has. `extended_connect`: whether this
    /// server has announced SETTINGS_ENABLE_CONNECT_PROTOCOL. Without it no client may send
    /// `:protocol` (RFC 8441 §3).
    pub(crate) fn new(limits: Limits, expected: usize, extended_connect: bool) -> RequestHead {
        RequestHead {
            fields: Fields::new(Of::Request, limits, expected),
            extended_connect,
            method: None,
            scheme: None,
            authority: None,
            path: None,
            protocol: None,
        }
    }

    /// Takes the next field.
    pub(crate) fn field(&mut self, field: Field<'_>) {
        if let Taken::Pseudo(name) = self.fields.add(field)
            && let Err(what) = self.pseudo(name, field.value)
        {
            self.fields.refuse(what);
        }
    }

    /// The number of bytes of names and values that are kept, without pseudo-header fields.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.fields.kept()
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        match name {
            b"method" => once(&mut self.method, name, method(value)?),
            b"scheme" => once(&mut self.scheme, name, target::scheme(value)?),
            b"authority" => {
                let keep = |value: &[u8]| self.fields.keep(value);
                once(&mut self.authority, name, target::authority(":authority", value, keep)?)
            }
            b"path" => {
                let keep = |value: &[u8]| self.fields.keep(value);
                once(&mut self.path, name, target::path(value, keep)?)
            }
            b"protocol" if self.extended_connect => {
                once(&mut self.protocol, name, protocol(value)?)
            }
            b"protocol" => Err("the pseudo-header field \":protocol\", but \
                                SETTINGS_ENABLE_CONNECT_PROTOCOL was not announced (RFC 8441 §4)"
                .into()),
            _ => Err(format!(
                "the pseudo-header field {} in a request, \":method\", \":scheme\", \
                 \":authority\" and \":path\" were expected (RFC 9113 §8.3)",
                shown(&[b":", name].concat())
            )),
        }
    }

    /// The request, once all fields have come.
    ///
    /// # Errors
    ///
    /// Fails if the block was too large or is malformed.
    pub(crate) fn finish(self) -> Result<ReceivedRequest, Refused> {
        let Collected { headers, mut content_length, values } = self.fields.finish()?;
        let method = self.method.ok_or_else(|| missing(":method"))?;
        let is_connect = method == Method::CONNECT;
        if self.protocol.is_some() && !is_connect {
            return Err(malformed(format!(
                "the pseudo-header field \":protocol\" with the method {}, CONNECT was expected \
                 (RFC 8441 §4)",
                shown(method.as_str().as_bytes())
            )));
        }
        let uri = if is_connect && self.protocol.is_none() {
            tunnel(self.scheme.is_some(), self.authority, self.path.is_some())?
        } else {
            let scheme = self.scheme.ok_or_else(|| missing(":scheme"))?;
            let path = self.path.ok_or_else(|| missing(":path"))?;
            if path.as_str() == "*" && method != Method::OPTIONS {
                return Err(malformed(format!(
                    "the pseudo-header field \":path\" with \"*\" and the method {}, OPTIONS was \
                     expected (RFC 9113 §8.3.1)",
                    shown(method.as_str().as_bytes())
                )));
            }
            check_host(&headers, &scheme, self.authority.as_ref())?;
            locate(scheme, self.authority, path)?
        };
        if is_connect {
            content_length = None;
        }
        let mut request = Request::new(());
        *request.version_mut() = Version::HTTP_2;
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        if let Some(protocol) = self.protocol {
            request.extensions_mut().insert(protocol);
        }
        Ok(ReceivedRequest { request, content_length, values })
    }
}

/// Sets a pseudo-header field, which must not come twice (RFC 9113 §8.3).
pub(super) fn once<T>(place: &mut Option<T>, name: &[u8], value: T) -> Result<(), String> {
    if place.replace(value).is_some() {
        return Err(format!(
            "the pseudo-header field {} twice, once was expected (RFC 9113 §8.3)",
            shown(&[b":", name].concat())
        ));
    }
    Ok(())
}

#[cold]
fn missing(name: &str) -> Refused {
    malformed(format!(
        "a request without the pseudo-header field \"{name}\", exactly one was expected \
         (RFC 9113 §8.3.1)"
    ))
}

fn method(value: &[u8]) -> Result<Method, String> {
    Method::from_bytes(value).map_err(|_| {
        format!(
            "the pseudo-header field \":method\" with {}, a token was expected (RFC 9110 §9.1)",
            shown(value)
        )
    })
}

fn protocol(value: &[u8]) -> Result<Protocol, String> {
    Protocol::parse(value).ok_or_else(|| {
        format!(
            "the pseudo-header field \":protocol\" with {}, a token was expected (RFC 8441 §4)",
            shown(value)
        )
    })
}

/// The URI of a CONNECT without `:protocol` (RFC 9113 §8.5).
fn tunnel(has_scheme: bool, authority: Option<Authority>, has_path: bool) -> Result<Uri, Refused> {
    if has_scheme || has_path {
        return Err(malformed(
            "CONNECT with \":scheme\" or \":path\", only \":authority\" was expected \
             (RFC 9113 §8.5)",
        ));
    }
    let authority = authority.ok_or_else(|| missing(":authority"))?;
    target::check_tunnel(&authority).map_err(malformed)?;
    Ok(Uri::from(authority))
}

fn locate(
    scheme: Scheme,
    authority: Option<Authority>,
    path: PathAndQuery,
) -> Result<Uri, Refused> {
    let mut parts = http::uri::Parts::default();
    // A URI of `http` cannot have a scheme without an authority.
    parts.scheme = authority.is_some().then_some(scheme);
    parts.authority = authority;
    parts.path_and_query = Some(path);
    Uri::from_parts(parts)
        .map_err(|error| malformed(format!("a request for no URI: {error} (RFC 9113 §8.3.1)")))
}

/// Checks `host`, which replaces a missing `:authority` and must not contradict one
/// (RFC 9113 §8.3.1).
fn check_host(
    headers: &HeaderMap,
    scheme: &Scheme,
    authority: Option<&Authority>,
) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        if authority.is_none() && target::needs_authority(scheme) {
            return Err(malformed(
                "a request with neither \":authority\" nor \"host\", one was expected \
                 (RFC 9113 §8.3.1)",
            ));
        }
        return Ok(());
    };
    if hosts.next().is_some() {
        return Err(malformed("the field \"host\" twice, once was expected (RFC 9110 §7.2)"));
    }
    if authority.is_some_and(|authority| authority.as_str().as_bytes() == host.as_bytes()) {
        return Ok(());
    }
    let keep = Bytes::copy_from_slice;
    let host = target::authority("host", host.as_bytes(), keep).map_err(malformed)?;
    match authority {
        Some(authority) if !target::is_same(scheme, authority, &host) => Err(malformed(format!(
            "the field \"host\" with {} and \":authority\" with {}, the same was expected \
                 (RFC 9113 §8.3.1)",
            shown(host.as_str().as_bytes()),
            shown(authority.as_str().as_bytes())
        ))),
        _ => Ok(()),
    }
}
