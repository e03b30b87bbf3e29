//! Header fields that the program gives for its requests or responses.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::error::{Error, ErrorKind, Result};

/// Header fields about one HTTP/1.1 connection, or about a length that is not known
/// (RFC 9113 §8.2.2).
const NOT_OURS: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
];

/// Makes header fields from the program's input.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`], which names the field.
pub(crate) fn parse_headers(fields: &[(String, String)]) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let wrong = |why| cannot_be_sent(name, why);
        let name = HeaderName::try_from(name.as_str())
            .map_err(|_| wrong("its name has characters that no name may have"))?;
        if NOT_OURS.contains(&name) {
            return Err(wrong(SET_BY_THE_CONNECTION));
        }
        let value = HeaderValue::try_from(value.as_str())
            .map_err(|_| wrong("its value has characters that no value may have"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Refuses fields that no request and no response of a connection may have.
///
/// # Errors
///
/// [`ErrorKind::InvalidInput`], which names the field.
pub(crate) fn check_headers(headers: &HeaderMap) -> Result<()> {
    match headers.keys().find(|name| NOT_OURS.contains(name)) {
        Some(name) => Err(cannot_be_sent(name.as_str(), SET_BY_THE_CONNECTION)),
        None => Ok(()),
    }
}

const SET_BY_THE_CONNECTION: &str = "HTTP/2 does without it, or the connection sets it itself";

fn cannot_be_sent(name: &str, why: &str) -> Error {
    let message = format!("the header field {name:?} cannot be sent: {why}");
    Error::new(ErrorKind::InvalidInput, message)
}

/// The value of a field that occurs once.
pub(crate) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).into_iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether this is a token (RFC 9110 §5.6.2).
pub(crate) fn is_token(text: &str) -> bool {
    let may_be_in_one =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(may_be_in_one)
}

/// The members of a list (RFC 9110 §5.6.1), which may stand in several fields.
pub(crate) fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let fields = headers.get_all(name).into_iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).map(str::trim).collect::<Vec<_>>().into_iter()
}

/// Whether the fields ask HTTP/1.1 to go on with another protocol (RFC 9110 §7.8, RFC 6455 §4.2.1).
pub(crate) fn asks_to_upgrade(headers: &HeaderMap, protocol: &str) -> bool {
    let has = |name, value| values(headers, name).any(|seen| seen.eq_ignore_ascii_case(value));
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, protocol)
}
