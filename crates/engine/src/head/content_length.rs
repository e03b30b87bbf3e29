//! The length of content that a head declares (RFC 9113 §8.1.1, RFC 9110 §8.6).

use http::{Method, StatusCode};

use crate::error::shown;

/// The kind of request that a response answers, as far as the response's content depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// HEAD: the response has no content.
    Head,
    /// CONNECT, with or without `:protocol`: a successful response opens a tunnel instead.
    Connect,
    Other,
}

impl From<&Method> for Asked {
    fn from(method: &Method) -> Asked {
        match *method {
            Method::HEAD => Asked::Head,
            Method::CONNECT => Asked::Connect,
            _ => Asked::Other,
        }
    }
}

/// The total DATA that may come. `None` if any amount may come (RFC 9110 §6.4.1, §9.3.6).
pub(super) fn of_response(status: StatusCode, declared: Option<u64>, asked: Asked) -> Option<u64> {
    let has_none = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    match asked {
        Asked::Connect if status.is_success() => None,
        Asked::Head => Some(0),
        _ if has_none => Some(0),
        _ => declared,
    }
}

pub(super) fn parse(value: &[u8]) -> Result<u64, String> {
    let digits = value.iter().all(u8::is_ascii_digit).then_some(value);
    digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).ok_or_else(|| {
        format!(
            "the field \"content-length\" with {}, a number was expected (RFC 9110 §8.6)",
            shown(value)
        )
    })
}
