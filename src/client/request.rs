//! A request that is being set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Response, request};

use super::Client;
use super::builder::opening;
use super::call::{Call, expects_content};
use super::target::Target;
use crate::config::{check_headers, parse_headers};
use crate::conn::Conn;
use crate::error::{Error, ErrorKind, Result, request_name};

/// A request by which a [`Client`] is about to connect, from [`Client::request`].
///
/// The setters cannot fail and may come in any order; [`connect`](RequestBuilder::connect) and
/// [`open`](RequestBuilder::open) check. A clone sends the same request again.
#[derive(Clone)]
#[must_use = "nothing is sent before `connect` or `open` is called"]
pub struct RequestBuilder {
    client: Client,
    target: Result<Target>,
    method: Option<Method>,
    fields: Vec<(String, String)>,
    /// Fields of an `http::Request`.
    headers: HeaderMap,
    headers_with: Option<HeadersFn>,
    response_timeout: Option<Duration>,
    without_content: bool,
}

/// Without the header fields and the query, because they may be secret.
impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("client", &self.client)
            .field("origin", &self.target.as_ref().map(Target::origin))
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl RequestBuilder {
    pub(super) fn new(client: Client, target: Result<Target>) -> RequestBuilder {
        RequestBuilder {
            client,
            target,
            method: None,
            fields: Vec::new(),
            headers: HeaderMap::new(),
            headers_with: None,
            response_timeout: None,
            without_content: false,
        }
    }

    pub(super) fn from_parts(client: Client, parts: request::Parts) -> RequestBuilder {
        RequestBuilder {
            method: Some(parts.method),
            headers: parts.headers,
            ..RequestBuilder::new(client, Target::of(parts.uri))
        }
    }

    /// Sets the method. Default: that of the client, [`ClientBuilder::method`](super::ClientBuilder::method). Where the
    /// client connects by extended CONNECT it can only be CONNECT.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Adds a header field. It takes the place of the client's fields of that name; several with one name are all
    /// sent.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Calls `change` with the header fields of each attempt, just before they are sent. It comes after the client's
    /// own callback: see [`ClientBuilder::headers_with`](super::ClientBuilder::headers_with).
    pub fn headers_with(mut self, change: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> Self {
        self.headers_with = Some(HeadersFn::new(change));
        self
    }

    /// Sets how long [`connect`](RequestBuilder::connect) waits for the response head. Default: that of the
    /// client, [`ClientBuilder::response_timeout`](super::ClientBuilder::response_timeout).
    pub fn response_timeout(mut self, limit: Duration) -> Self {
        self.response_timeout = Some(limit);
        self
    }

    /// Sends the request without content: its head carries END_STREAM (RFC 9113 §8.1), and has a `content-length` of 0
    /// where the method is POST, PUT or PATCH. The connection can only be read, and writes fail as after a shutdown.
    /// Default: the content stays open until the shutdown.
    ///
    /// Such a request passes proxies that wait for the whole of a request, and those that do not pass on a response to
    /// one that is open (Traefik, Apache). A GET of this kind is answered 400 by `accept`, unless the server sets
    /// `require_body(false)`.
    pub fn without_content(mut self) -> Self {
        self.without_content = true;
        self
    }

    /// Sends the request and waits for the response head, as [`Client::connect`] does.
    ///
    /// # Errors
    ///
    /// As [`connect`](super::connect); [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names a setting that cannot be
    /// used.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::connect`].
    pub async fn connect(self) -> Result<(Conn, Response<()>)> {
        self.build()?.connect().await
    }

    /// Sends the request, and returns a connection that can be written to at once, as [`Client::open`] does.
    ///
    /// # Errors
    ///
    /// As [`Client::open`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) names a setting that cannot be used.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::open`].
    pub async fn open(self) -> Result<Conn> {
        self.build()?.open().await
    }

    fn build(self) -> Result<Call> {
        let target = self.target?;
        let inner = &self.client.inner;
        let protocol = inner.transport.protocol();
        let is_said = |method: &Method| protocol.is_some() && *method == Method::CONNECT;
        let (method, transport) = match self.method.filter(|method| !is_said(method)) {
            None => (inner.method.clone(), inner.transport.clone()),
            Some(method) => opening(Some(method), protocol.map(str::to_owned))?,
        };
        if self.without_content && method == Method::CONNECT {
            let name = request_name(&method, target.uri());
            let message =
                format!("{name}: CONNECT opens a tunnel, which has content; set another method");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        check_headers(&self.headers)?;
        let length = (self.without_content && expects_content(&method)).then_some(0);
        let mut headers = inner.headers.clone();
        replace(&mut headers, self.headers);
        replace(&mut headers, parse_headers(&self.fields)?);
        Ok(Call {
            target,
            method,
            transport,
            headers,
            length,
            ends_with_head: self.without_content,
            headers_with: [inner.headers_with.clone(), self.headers_with],
            response_timeout: self.response_timeout.unwrap_or(inner.response_timeout),
            client: self.client,
        })
    }
}

/// Puts `fields` in the place of those with their names.
pub(super) fn replace(headers: &mut HeaderMap, fields: HeaderMap) {
    for name in fields.keys() {
        headers.remove(name);
    }
    let mut last = None;
    for (name, value) in fields {
        last = name.or(last);
        if let Some(name) = &last {
            headers.append(name, value);
        }
    }
}

/// A callback that changes header fields.
#[derive(Clone)]
pub(super) struct HeadersFn(Arc<dyn Fn(&mut HeaderMap) + Send + Sync>);

impl HeadersFn {
    pub(super) fn new(change: impl Fn(&mut HeaderMap) + Send + Sync + 'static) -> HeadersFn {
        HeadersFn(Arc::new(change))
    }

    pub(super) fn call(&self, headers: &mut HeaderMap) {
        (self.0)(headers);
    }
}

impl fmt::Debug for HeadersFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeadersFn(..)")
    }
}
