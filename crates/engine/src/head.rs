//! Heads of requests and responses, and trailers: fields to and from the types of `http`, with
//! every rule of RFC 9113 §8.
//!
//! Receiving: a [`RequestHead`], [`ResponseHead`] or [`Trailers`] is fed the fields of one block as
//! they are decoded, and judges them at its end. Sending: an [`Outgoing`] checks a head, and can
//! then not fail to be written.

mod content_length;
mod fields;
mod outgoing;
mod protocol;
mod request;
mod response;
mod target;
mod trailers;

pub(crate) use content_length::Asked;
pub(crate) use fields::{Limits, Refused};
pub(crate) use outgoing::Outgoing;
pub use protocol::{InvalidProtocol, Protocol};
pub(crate) use request::{ReceivedRequest, RequestHead};
pub(crate) use response::{ReceivedResponse, ResponseHead};
pub(crate) use trailers::Trailers;

/// Fields that belong to one connection of HTTP/1.1 and mean nothing here (RFC 9113 §8.2.2).
fn is_connection_specific(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade"
    )
}

/// A value may not begin or end with a blank (RFC 9113 §8.2.1).
fn has_blank_at_an_end(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}
