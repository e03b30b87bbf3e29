//! The fields of one block, as they are decoded. They are counted, checked and collected.

use std::fmt;
use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{content_length, has_blank_at_an_end, is_connection_specific, is_name};
use crate::StreamError;
use crate::error::shown;
use crate::hpack::Field;

/// The limits on one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of names and values, plus 32 for each field (RFC 9113 §6.5.2).
    pub(crate) size: usize,
    /// Fields, including pseudo-header fields. The crumbs of a cookie count as one.
    pub(crate) count: usize,
}

/// A block that cannot be used. The compression is still in step, and the connection goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It exceeds the limits. None of it is kept.
    TooLarge {
        /// The whole block's size, counted as in [`Limits::size`].
        size: usize,
        /// The whole block's fields, counted as in [`Limits::count`].
        count: usize,
    },
    /// It breaks a rule (RFC 9113 §8.1.1).
    Malformed(StreamError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::TooLarge { size, count } => {
                write!(f, "{count} fields of {size} bytes, fewer were expected (RFC 9113 §10.5.1)")
            }
            Refused::Malformed(error) => error.fmt(f),
        }
    }
}

/// A kind of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Request,
    Response,
    Trailers,
}

/// The result of taking a field.
#[derive(Debug)]
pub(super) enum Taken<'a> {
    /// It is among the other fields, or there is a fault and the field does not matter any more.
    Done,
    /// It is a pseudo-header field, without its colon, and comes before all other fields.
    Pseudo(&'a [u8]),
}

/// The initial room for the fields of a program's request, which are kept as long as its stream. By
/// default the map makes room for six, which takes 600 bytes.
const A_FEW: usize = 3;

#[derive(Debug)]
pub(super) struct Fields {
    of: Of,
    limits: Limits,
    size: usize,
    count: usize,
    headers: HeaderMap,
    values: Values,
    /// The crumbs, joined (RFC 9113 §8.2.3).
    cookie: Vec<u8>,
    has_cookie: bool,
    cookie_is_sensitive: bool,
    content_length: Option<u64>,
    pseudo_is_over: bool,
    fault: Option<Fault>,
}

#[derive(Debug)]
enum Fault {
    TooLarge,
    Malformed(StreamError),
}

/// All fields except the pseudo-header fields.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) headers: HeaderMap,
    pub(super) content_length: Option<u64>,
    /// The bytes of all values that are kept.
    pub(super) values: usize,
}

/// The room for the values of one block, in bytes, if it is not known how many come. A peer that sends
/// a large head and then small ones must not make each of them hold more.
const ROOM: RangeInclusive<usize> = 64..=1024;

/// The values of one block. They share a buffer, which lives as long as one of them.
#[derive(Debug)]
struct Values {
    /// Has no bytes, only room.
    buffer: BytesMut,
    /// The bytes that are expected in total.
    expected: usize,
    kept: usize,
}

impl Values {
    fn keep(&mut self, value: &[u8]) -> Bytes {
        self.kept += value.len();
        if self.buffer.capacity() < value.len() {
            let expected = self.expected.clamp(*ROOM.start(), *ROOM.end());
            self.buffer = BytesMut::with_capacity(expected.max(value.len()));
        }
        self.buffer.extend_from_slice(value);
        self.buffer.split().freeze()
    }
}

impl Fields {
    /// `expected`: the bytes of values that the block probably has.
    pub(super) fn new(of: Of, limits: Limits, expected: usize) -> Fields {
        Fields {
            of,
            limits,
            size: 0,
            count: 0,
            headers: HeaderMap::new(),
            values: Values { buffer: BytesMut::new(), expected, kept: 0 },
            cookie: Vec::new(),
            has_cookie: false,
            cookie_is_sensitive: false,
            content_length: None,
            pseudo_is_over: false,
            fault: None,
        }
    }

    #[inline]
    pub(super) fn add<'a>(&mut self, field: Field<'a>) -> Taken<'a> {
        let is_crumb = self.of == Of::Request && field.name == b"cookie";
        self.size = self.size.saturating_add(field.size());
        self.count += usize::from(!(is_crumb && self.has_cookie));
        self.has_cookie |= is_crumb;
        if self.fault.is_some() {
            return Taken::Done;
        }
        if self.size > self.limits.size || self.count > self.limits.count {
            self.give_up(Fault::TooLarge);
            return Taken::Done;
        }
        if let Some(name) = field.name.strip_prefix(b":") {
            if self.pseudo_is_over {
                self.refuse(format!(
                    "the pseudo-header field {} after other fields, it was expected before them \
                     (RFC 9113 §8.3)",
                    shown(field.name)
                ));
                return Taken::Done;
            }
            return Taken::Pseudo(name);
        }
        self.pseudo_is_over = true;
        if let Err(what) = self.add_regular(field, is_crumb) {
            self.refuse(what);
        }
        Taken::Done
    }

    fn add_regular(&mut self, field: Field<'_>, is_crumb: bool) -> Result<(), String> {
        let Field { name, value, never_indexed } = field;
        if !is_name(name) {
            return Err(bad_name(name));
        }
        if has_blank_at_an_end(value) {
            return Err(format!(
                "a value of the field {} begins or ends with a blank, none was expected there \
                 (RFC 9113 §8.2.1)",
                shown(name)
            ));
        }
        if is_crumb {
            if !value.iter().all(|&byte| is_value_byte(byte)) {
                return Err(bad_value(name, value));
            }
            // An empty crumb adds nothing, because a value must not end with a blank.
            if !self.cookie.is_empty() && !value.is_empty() {
                self.cookie.extend_from_slice(b"; ");
            }
            self.cookie.extend_from_slice(value);
            self.cookie_is_sensitive |= never_indexed;
            return Ok(());
        }
        let is_repeated = self.check_meaning(name, value)?;
        if is_repeated {
            return Ok(());
        }
        let Ok(name) = HeaderName::from_lowercase(name) else { return Err(bad_name(name)) };
        let Ok(mut value) = HeaderValue::from_maybe_shared(self.keep(value)) else {
            return Err(bad_value(name.as_str().as_bytes(), value));
        };
        value.set_sensitive(never_indexed);
        if self.headers.is_empty() {
            self.headers.reserve(A_FEW);
        }
        if self.headers.try_append(name, value).is_err() {
            self.give_up(Fault::TooLarge);
        }
        Ok(())
    }

    /// A copy of a value, in the buffer that all values of the block share.
    pub(super) fn keep(&mut self, value: &[u8]) -> Bytes {
        self.values.keep(value)
    }

    /// Checks fields that have a meaning for HTTP/2 itself. Returns whether this field only repeats
    /// known facts.
    fn check_meaning(&mut self, name: &[u8], value: &[u8]) -> Result<bool, String> {
        if is_connection_specific(name) {
            return Err(format!(
                "the field {}, but it belongs to HTTP/1.1 (RFC 9113 §8.2.2)",
                shown(name)
            ));
        }
        match (name, self.of) {
            (b"te", Of::Request) if value.eq_ignore_ascii_case(b"trailers") => Ok(false),
            (b"te", Of::Request) => Err(format!(
                "the field \"te\" with {}, \"trailers\" was expected (RFC 9113 §8.2.2)",
                shown(value)
            )),
            (b"te", _) => {
                Err("the field \"te\" outside of a request's head (RFC 9113 §8.2.2)".into())
            }
            (b"content-length", Of::Request | Of::Response) => {
                let length = content_length::parse(value)?;
                match self.content_length.replace(length) {
                    Some(other) if other != length => Err(format!(
                        "the field \"content-length\" with {other} and with {length}, one length \
                         was expected (RFC 9110 §8.6)"
                    )),
                    known => Ok(known.is_some()),
                }
            }
            _ => Ok(false),
        }
    }

    /// Ends the block with a fault. The fields after it are only counted.
    pub(super) fn refuse(&mut self, what: String) {
        self.give_up(Fault::Malformed(StreamError::protocol(what)));
    }

    #[cold]
    fn give_up(&mut self, fault: Fault) {
        debug_assert!(self.fault.is_none(), "{fault:?} after {:?}", self.fault);
        self.fault = Some(fault);
        self.headers = HeaderMap::new();
        self.cookie = Vec::new();
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let of = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
        self.headers.iter().map(of).sum::<usize>() + self.cookie.capacity()
    }

    pub(super) fn finish(self) -> Result<Collected, Refused> {
        match self.fault {
            Some(Fault::TooLarge) => {
                return Err(Refused::TooLarge { size: self.size, count: self.count });
            }
            Some(Fault::Malformed(error)) => return Err(Refused::Malformed(error)),
            None => {}
        }
        let mut headers = self.headers;
        if self.has_cookie {
            // Each crumb was checked.
            let cookie = Bytes::from(self.cookie);
            let mut value = HeaderValue::from_maybe_shared(cookie)
                .map_err(|_| malformed("a cookie that is no value (RFC 9113 §8.2.3)"))?;
            value.set_sensitive(self.cookie_is_sensitive);
            if headers.try_append(http::header::COOKIE, value).is_err() {
                return Err(Refused::TooLarge { size: self.size, count: self.count });
            }
        }
        let values = self.values.kept;
        Ok(Collected { headers, content_length: self.content_length, values })
    }
}

/// The bytes that a value may have. RFC 9113 §8.2.1 forbids NUL, CR and LF. RFC 9110 §5.5 forbids
/// the other control characters, which `http` cannot represent.
fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cold]
fn bad_value(name: &[u8], value: &[u8]) -> String {
    let byte = value.iter().copied().find(|&byte| !is_value_byte(byte)).unwrap_or_default();
    format!(
        "a value of the field {} has the byte {byte:#04x}, no control character was expected \
         (RFC 9113 §8.2.1)",
        shown(name)
    )
}

#[cold]
fn bad_name(name: &[u8]) -> String {
    if name.iter().any(u8::is_ascii_uppercase) {
        return format!(
            "the field name {} has an upper-case letter, lower case was expected \
             (RFC 9113 §8.2.1)",
            shown(name)
        );
    }
    format!("the field name {}, a token was expected (RFC 9113 §8.2.1)", shown(name))
}

/// A head that breaks a rule of RFC 9113 §8.
#[cold]
pub(super) fn malformed(what: impl Into<std::borrow::Cow<'static, str>>) -> Refused {
    Refused::Malformed(StreamError::protocol(what))
}
