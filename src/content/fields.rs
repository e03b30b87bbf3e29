//! The fields of HTTP/1.1 that HTTP/2 forbids, and the length that a head announces.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::config::values;

/// Fields that HTTP/2 forbids (RFC 9113 §8.2.2).
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(crate) fn remove_connection_specific(fields: &mut HeaderMap) {
    if fields.contains_key(header::CONNECTION) {
        remove_named(fields);
    }
    for name in &CONNECTION_SPECIFIC {
        fields.remove(name);
    }
}

/// Removes `connection` and the fields that it names (RFC 9110 §7.6.1).
#[cold]
fn remove_named(fields: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        values(fields, header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named {
        fields.remove(name);
    }
    fields.remove(header::CONNECTION);
}

/// Removes blanks around values, which HTTP/2 forbids (RFC 9113 §8.2.1).
pub(crate) fn trim(fields: &mut HeaderMap) {
    for value in fields.values_mut() {
        let bytes = value.as_bytes();
        let trimmed = bytes.trim_ascii();
        if trimmed.len() < bytes.len()
            && let Ok(mut trimmed) = HeaderValue::from_bytes(trimmed)
        {
            trimmed.set_sensitive(value.is_sensitive());
            *value = trimmed;
        }
    }
}

/// Whether a response has no content, whatever its head announces (RFC 9110 §6.4.1).
pub(crate) fn is_without_content(request: &Method, status: StatusCode) -> bool {
    *request == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// The length that a head announces. `None` also for one that is no number, with which the head
/// cannot be sent.
pub(crate) fn content_length(fields: &HeaderMap) -> Option<u64> {
    let length = fields.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.bytes().all(|byte| byte.is_ascii_digit()).then(|| length.parse().ok())?
}
