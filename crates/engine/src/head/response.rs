//! The head of a response that a client receives (RFC 9113 §8.3.2).

use http::{Response, StatusCode, Version};

use super::content_length::{self, Asked};
use super::fields::{Collected, Fields, Of, Taken, malformed};
use super::request::once;
use super::{Limits, Refused};
use crate::error::shown;
use crate::hpack::Field;

/// Takes the fields of one block.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    fields: Fields,
    status: Option<StatusCode>,
}

/// A response that obeys all the rules, or an interim one (RFC 9110 §15.2).
#[derive(Debug)]
pub(crate) struct ReceivedResponse {
    pub(crate) response: Response<()>,
    declared: Option<u64>,
    /// The bytes of values that it holds.
    pub(crate) values: usize,
}

impl ReceivedResponse {
    /// Whether it is 1xx, so that the response itself must still come.
    pub(crate) fn is_interim(&self) -> bool {
        self.response.status().is_informational()
    }

    /// The length of DATA that must come. `None` if any may come (RFC 9113 §8.1.1).
    pub(crate) fn content_length(&self, asked: Asked) -> Option<u64> {
        content_length::of_response(self.response.status(), self.declared, asked)
    }
}

impl ResponseHead {
    /// `expected`: the bytes of values that the block probably has.
    pub(crate) fn new(limits: Limits, expected: usize) -> ResponseHead {
        ResponseHead { fields: Fields::new(Of::Response, limits, expected), status: None }
    }

    /// Takes the next field.
    pub(crate) fn field(&mut self, field: Field<'_>) {
        if let Taken::Pseudo(name) = self.fields.add(field)
            && let Err(what) = self.pseudo(name, field.value)
        {
            self.fields.refuse(what);
        }
    }

    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), String> {
        if name != b"status" {
            return Err(format!(
                "the pseudo-header field {} in a response, \":status\" was expected \
                 (RFC 9113 §8.3.2)",
                shown(&[b":", name].concat())
            ));
        }
        once(&mut self.status, name, status(value)?)
    }

    /// The response, once all fields have come. `end`: the block ends the stream, which an interim
    /// response must not do (RFC 9113 §8.1).
    ///
    /// # Errors
    ///
    /// Fails if the block was too large or is malformed.
    pub(crate) fn finish(self, end: bool) -> Result<ReceivedResponse, Refused> {
        let Collected { headers, content_length, values } = self.fields.finish()?;
        let Some(status) = self.status else {
            return Err(malformed(
                "a response without the pseudo-header field \":status\", exactly one was expected \
                 (RFC 9113 §8.3.2)",
            ));
        };
        if end && status.is_informational() {
            return Err(malformed(format!(
                "an interim response with status {} and END_STREAM, a final one was expected \
                 (RFC 9113 §8.1)",
                status.as_str()
            )));
        }
        let mut response = Response::new(());
        *response.version_mut() = Version::HTTP_2;
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(ReceivedResponse { response, declared: content_length, values })
    }
}

fn status(value: &[u8]) -> Result<StatusCode, String> {
    match StatusCode::from_bytes(value) {
        Ok(StatusCode::SWITCHING_PROTOCOLS) => {
            Err("the status 101, which HTTP/2 does not have (RFC 9113 §8.6)".into())
        }
        Ok(status) => Ok(status),
        Err(_) => Err(format!(
            "the pseudo-header field \":status\" with {}, three digits were expected \
             (RFC 9113 §8.3.2)",
            shown(value)
        )),
    }
}
