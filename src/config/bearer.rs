//! The token that a request shows.

use http::{HeaderMap, header};

use super::fields::{is_token, only};

/// The beginning of the subprotocol that holds a token.
const PREFIX: &str = "bearer.";

/// The bearer token that a request shows: in `authorization: Bearer TOKEN` (RFC 6750 §2.1), or, where that is
/// not, in a WebSocket's list of subprotocols, as `bearer.TOKEN`.
///
/// A browser cannot set header fields on a WebSocket, but it can offer subprotocols:
/// `new WebSocket(url, ["json", "bearer." + token])`. The server must choose one of those that are offered, or the
/// browser ends the connection. It must not be the token, which would then stand in the response; so list
/// another name with `WebSockets::subprotocols`, here `json`.
///
/// A subprotocol may have letters, digits and ``!#$%&'*+-.^_`|~``. A token in base64url, such as a JWT, fits; encode others so.
/// `None` also if the place that counts has two tokens; a field `authorization: Bearer` counts before the subprotocols. A proxy or a log that has the header fields has the token. The function
/// only finds the token: compare it in constant time, or verify its signature.
///
/// # Examples
///
/// ```
/// use h2conn::http::{HeaderMap, StatusCode};
///
/// fn check(headers: &HeaderMap, expected: &str) -> Result<(), StatusCode> {
///     let token = h2conn::bearer_token(headers).ok_or(StatusCode::UNAUTHORIZED)?;
///     # fn constant_time_eq(a: &[u8], b: &[u8]) -> bool { a == b }
///     match constant_time_eq(token.as_bytes(), expected.as_bytes()) {
///         true => Ok(()),
///         false => Err(StatusCode::FORBIDDEN),
///     }
/// }
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(check(&headers, "s3cret"), Err(StatusCode::UNAUTHORIZED));
/// headers.insert("sec-websocket-protocol", "json, bearer.s3cret".parse()?);
/// assert_eq!(check(&headers, "s3cret"), Ok(()));
/// headers.insert("authorization", "Bearer other".parse()?);
/// assert_eq!(check(&headers, "s3cret"), Err(StatusCode::FORBIDDEN));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(header::AUTHORIZATION) {
        let value = only(headers, header::AUTHORIZATION)?.to_str().ok()?.trim();
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(token.trim()).filter(|token| !token.is_empty());
        }
    }
    let fields = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    let names = fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(','));
    let mut tokens = names.filter_map(|name| name.trim().strip_prefix(PREFIX));
    let token = tokens.next().filter(|token| is_token(token))?;
    tokens.next().is_none().then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_found_in_each_of_its_places() {
        for (fields, token) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bEaReR  abc ")], Some("abc")),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "Bearer ")], None),
            (&[("authorization", "Basic abc")], None),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], None),
            (&[("sec-websocket-protocol", "json, bearer.abc")], Some("abc")),
            (
                &[("sec-websocket-protocol", "json"), ("sec-websocket-protocol", "bearer.a.b-c_")],
                Some("a.b-c_"),
            ),
            (&[("sec-websocket-protocol", "bearer.a,bearer.b")], None),
            (&[("sec-websocket-protocol", "bearer.")], None),
            (&[("sec-websocket-protocol", "bearer.a/b")], None),
            (&[("sec-websocket-protocol", "json")], None),
            // Chromium sends what it remembers of a password along.
            (
                &[("authorization", "Basic abc"), ("sec-websocket-protocol", "bearer.abc")],
                Some("abc"),
            ),
            // A program that sets both means the field.
            (
                &[("authorization", "Bearer abc"), ("sec-websocket-protocol", "bearer.x")],
                Some("abc"),
            ),
            (&[("authorization", "Bearer "), ("sec-websocket-protocol", "bearer.x")], None),
            (
                &[
                    ("authorization", "Basic a"),
                    ("authorization", "Bearer b"),
                    ("sec-websocket-protocol", "bearer.x"),
                ],
                None,
            ),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, HeaderValue::from_static(value));
            }
            assert_eq!(bearer_token(&headers), token, "{fields:?}");
        }
    }
}
