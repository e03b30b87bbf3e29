//! Heads of requests and responses, and trailers: fields from and to the types of `http`, with
//! every rule of RFC 9113 §8.
//!
//! To receive, a [`RequestHead`], [`ResponseHead`] or [`Trailers`] takes the fields of one block as
//! they are decoded, and checks them at the block's end. To send, an [`Outgoing`] checks a head,
//! and then writes it without fail.

mod content_length;
mod fields;
mod outgoing;
mod protocol;
mod request;
mod response;
mod target;
#[cfg(test)]
mod tests;
mod trailers;

pub(crate) use content_length::Asked;
pub(crate) use fields::{Limits, Refused};
pub(crate) use outgoing::Outgoing;
pub use protocol::{InvalidProtocol, Protocol};
pub(crate) use request::{ReceivedRequest, RequestHead};
#[cfg(test)]
pub(crate) use response::ReceivedResponse;
pub(crate) use response::ResponseHead;
pub(crate) use trailers::Trailers;

/// The characters of a token (RFC 9110 §5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
            | b'|' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'
    )
}

/// Whether this is a token without upper-case letters, as a field's name must be (RFC 9113 §8.2.1).
/// `HeaderName::from_lowercase` of `http` 1.5 also accepts `"`.
fn is_name(name: &[u8]) -> bool {
    const BYTES: [bool; 256] = {
        let mut bytes = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            bytes[byte] = is_token_byte(byte as u8) && !(byte as u8).is_ascii_uppercase();
            byte += 1;
        }
        bytes
    };
    !name.is_empty() && name.iter().all(|&byte| BYTES[usize::from(byte)])
}

/// Whether the field belongs to one connection of HTTP/1.1, and has no meaning here
/// (RFC 9113 §8.2.2).
fn is_connection_specific(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
    )
}

/// Whether a value begins or ends with a blank, which is forbidden (RFC 9113 §8.2.1).
fn has_blank_at_an_end(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}
