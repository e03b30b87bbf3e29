//! Whether a request can carry a connection, and what its client is told if not.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};

use super::Body;
use crate::config::{Methods, method_not_allowed};

/// Why a request cannot become a connection.
///
/// It is meant for the client: answer with [`into_response`](AcceptError::into_response).
#[derive(Debug)]
pub struct AcceptError {
    status: StatusCode,
    text: String,
    allow: Option<String>,
}

impl AcceptError {
    /// The status that the client is answered with: 405 for the method, 505 for the version of
    /// HTTP.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response that tells the client why, in plain text.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::full(Bytes::from(format!("{}\n", self.text))));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        if let Some(allow) = self.allow.and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(header::ALLOW, allow);
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

/// Looks at the version and the method.
pub(super) fn check<B>(request: &Request<B>, methods: &Methods) -> Result<(), AcceptError> {
    if let version @ (Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11) = request.version() {
        let text = format!(
            "a full-duplex connection needs HTTP/2, and this request came by {version:?}: over TLS, \
             offer \"h2\" in ALPN; without TLS, begin with HTTP/2 right away (curl: \
             --http2-prior-knowledge); a proxy on the way may have to be told to pass HTTP/2 on"
        );
        return Err(AcceptError {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            text,
            allow: None,
        });
    }
    if let Some(allowed) = methods.refusal(request.method()) {
        return Err(AcceptError {
            status: StatusCode::METHOD_NOT_ALLOWED,
            text: method_not_allowed(request.method(), &allowed),
            allow: Some(allowed),
        });
    }
    Ok(())
}
