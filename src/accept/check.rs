//! Whether a request can carry a connection, and the response for its client if not.

use std::fmt;

use http::header::{self, HeaderName};
use http::{Method, Request, Response, StatusCode, Version};

use super::builder::Settings;
use crate::config::{
    BY_HTTP2, NO_H2C, asks_to_upgrade, method_not_allowed, no_websocket_by_http10,
};
use crate::conn::Transport;
use crate::hosted::{Body, plain};

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
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> AcceptError {
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

    /// The status of the response: 403 for a page of another origin, whatever else is wrong.
    /// Otherwise 405 for a wrong method, 505 for a wrong HTTP version, 503 once the acceptor is
    /// [drained](crate::Acceptor::drain), 400 for a GET
    /// [without a body](crate::AcceptorBuilder::require_body). For a WebSocket also 400 and 426 for
    /// an invalid request, and 501 for a server that cannot upgrade or takes no WebSockets.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The response that tells the client why, in plain text.
    pub fn into_response(self) -> Response<Body> {
        let response = plain(self.status, &self.text, self.fields);
        if self.to_head { response.map(|_| Body::empty()) } else { response }
    }
}

impl fmt::Display for AcceptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for AcceptError {}

/// The form that a request asks for, as far as its head tells. Over HTTP/1.1 an upgrade asks for a WebSocket (RFC
/// 6455 §4.2.1), over HTTP/2 an extended CONNECT with a version of the protocol (RFC 8441 §5). The value of `:protocol`
/// itself is hyper's to know.
pub(super) fn asked_for<B>(request: &Request<B>) -> Transport {
    let headers = request.headers();
    match request.version() {
        Version::HTTP_11 if asks_to_upgrade(headers, "websocket") => Transport::WebSocketHttp1,
        Version::HTTP_2
            if *request.method() == Method::CONNECT
                && headers.contains_key(header::SEC_WEBSOCKET_VERSION) =>
        {
            Transport::WebSocketHttp2
        }
        _ => Transport::Request,
    }
}

/// Checks whether a request can carry a connection in its bodies. `has_ended` says that it has no body, or none any
/// more.
pub(super) fn check<B>(
    request: &Request<B>,
    has_ended: bool,
    settings: &Settings,
) -> Result<(), AcceptError> {
    if !settings.takes_websockets() && asked_for(request).is_websocket() {
        let text = no_websockets(cfg!(feature = "websocket"));
        return Err(AcceptError::new(StatusCode::NOT_IMPLEMENTED, text));
    }
    // HTTP/1.0 has no upgrade (RFC 9110 §7.8). Its clients are proxies before a client of HTTP/1.1.
    if request.version() == Version::HTTP_10 && asks_to_upgrade(request.headers(), "websocket") {
        let text = no_websocket_by_http10("HTTP/1.1 or HTTP/2");
        return Err(AcceptError::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
    }
    let refused = settings.methods.refusal(request.method());
    if has_ended && settings.require_body && refused.is_none() && request.method().is_safe() {
        let text = not_a_page(request.method(), settings.takes_websockets());
        return Err(AcceptError::new(StatusCode::BAD_REQUEST, text));
    }
    if let version @ (Version::HTTP_09 | Version::HTTP_10 | Version::HTTP_11) = request.version() {
        let h2c = match asks_to_upgrade(request.headers(), "h2c") {
            true => format!("; {NO_H2C}"),
            false => String::new(),
        };
        let text = format!(
            "a full-duplex connection needs HTTP/2, and this request came by {version:?}: over TLS, \
             offer \"h2\" in ALPN; without TLS, begin with HTTP/2 right away (curl: \
             --http2-prior-knowledge); a proxy on the way may have to be told to pass HTTP/2 on{h2c}"
        );
        return Err(AcceptError::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
    }
    if let Some(allowed) = refused {
        let text = method_not_allowed(request.method(), &allowed);
        let error = AcceptError::new(StatusCode::METHOD_NOT_ALLOWED, text)
            .with_field(header::ALLOW, allowed);
        return Err(error.for_method(request.method()));
    }
    Ok(())
}

/// Whether a request over HTTP/1.1 has content (RFC 9112 §6.3).
#[cfg(feature = "websocket")]
pub(super) fn has_content(headers: &header::HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

/// The text for a client whose WebSocket is not taken. `has_feature` says that the program could take it.
fn no_websockets(has_feature: bool) -> String {
    let why = match has_feature {
        true => {
            "this server takes no WebSockets: its program has switched them off (`no_websockets`)"
        }
        false => {
            "this server takes no WebSockets: its program was built without the feature \"websocket\" of h2conn \
             (Cargo.toml: features = [\"websocket\"])"
        }
    };
    format!("{why}. Connect without one, {BY_HTTP2}")
}

/// The text for a client that has opened a URL like that of a page.
fn not_a_page(method: &Method, takes_websockets: bool) -> String {
    let by_websocket = match takes_websockets {
        true => ", in a web page by \"new WebSocket(URL)\"",
        false => "",
    };
    format!(
        "this URL is for connections that stay open both ways, and a {method} without a body opens none. \
         Connect {BY_HTTP2}{by_websocket}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_known_by_its_head_alone() {
        let request = |version, method: &str, fields: &[(&str, &str)]| {
            let builder = Request::builder().version(version).method(method);
            let builder =
                fields.iter().fold(builder, |all, (name, value)| all.header(*name, *value));
            asked_for(&builder.body(()).expect("a request"))
        };
        let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        let version = [("sec-websocket-version", "13")];
        let (one, two) = (Version::HTTP_11, Version::HTTP_2);
        assert_eq!(request(one, "GET", &upgrade), Transport::WebSocketHttp1);
        assert_eq!(request(two, "CONNECT", &version), Transport::WebSocketHttp2);
        assert_eq!(request(one, "GET", &upgrade[..1]), Transport::Request);
        assert_eq!(request(one, "GET", &upgrade[1..]), Transport::Request);
        assert_eq!(request(two, "GET", &upgrade), Transport::Request);
        assert_eq!(request(two, "POST", &version), Transport::Request);
        assert_eq!(request(two, "CONNECT", &[]), Transport::Request);
    }

    #[test]
    fn a_client_is_told_why_its_websocket_is_not_taken_and_what_to_do() {
        let (off, without) = (no_websockets(true), no_websockets(false));
        assert!(off.contains("`no_websockets`") && !off.contains("feature"), "{off}");
        assert!(without.contains("without the feature \"websocket\" of h2conn"), "{without}");
        assert!(off.contains(BY_HTTP2) && without.contains(BY_HTTP2));
    }
}
