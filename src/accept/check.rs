//! Whether a request can carry a connection, and the response for its client if not.

use std::fmt;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use crate::config::{Methods, method_not_allowed};
use crate::hosted::Body;

/// The reason why a request cannot become a connection.
///
/// Send it to the client: answer with [`into_response`](AcceptError::into_response).
#[derive(Debug)]
pub struct AcceptError {
    status: StatusCode,
    text: String,
    /// The header fields that the status needs.
    fields: Vec<(HeaderName, String)>,
    /// The answer to HEAD has no body, and hyper leaves that to its user (RFC 9110 §9.3.2).
    to_head: bool,
}

impl AcceptError {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> AcceptError {
        AcceptError { status, text: text.into(), fields: Vec::new(), to_head: false }
    }

    pub(super) fn with_field(mut self, name: HeaderName, value: impl Into<String>) -> AcceptError {
        self.fields.push((name, value.into()));
        self
    }

    /// Makes this the answer to a request with this method.
    pub(super) fn for_method(mut self, method: &Method) -> AcceptError {
        self.to_head = *method == Method::HEAD;
        self
    }

    /// The status of the response: 405 for a wrong method, 505 for a wrong HTTP version, 403 for a
    /// page of another origin, 503 once the acceptor is [drained](crate::Acceptor::drain). For a
    /// WebSocket also 400 and 426 for an invalid request, and 501 for a server that cannot upgrade.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response that tells the client why, in plain text.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(if self.to_head {
            Body::empty()
        } else {
            Body::full(Bytes::from(format!("{}\n", self.text)))
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        for (name, value) in self.fields {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for AcceptError {}

/// Checks the version and the method.
pub(super) fn check<B>(request: &Request<B>, methods: &Methods) -> Result<(), AcceptError> {
    if let version @ (Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11) = request.version() {
        let text = format!(
            "a full-duplex connection needs HTTP/2, and this request came by {version:?}: over TLS, \
             offer \"h2\" in ALPN; without TLS, begin with HTTP/2 right away (curl: \
             --http2-prior-knowledge); a proxy on the way may have to be told to pass HTTP/2 on"
        );
        return Err(AcceptError::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
    }
    if let Some(allowed) = methods.refusal(request.method()) {
        let text = method_not_allowed(request.method(), &allowed);
        let error = AcceptError::new(StatusCode::METHOD_NOT_ALLOWED, text)
            .with_field(header::ALLOW, allowed);
        return Err(error.for_method(request.method()));
    }
    Ok(())
}
