//! Trailers that either side receives (RFC 9113 §8.1).

use http::HeaderMap;

use super::fields::{Fields, Of, Taken};
use super::{Limits, Refused};
use crate::error::shown;
use crate::hpack::Field;

/// Takes the fields of one block.
#[derive(Debug)]
pub(crate) struct Trailers {
    fields: Fields,
}

impl Trailers {
    pub(crate) fn new(limits: Limits) -> Trailers {
        Trailers { fields: Fields::new(Of::Trailers, limits, 0) }
    }

    /// Takes the next field.
    pub(crate) fn field(&mut self, field: Field<'_>) {
        if let Taken::Pseudo(_) = self.fields.add(field) {
            self.fields.refuse(format!(
                "the pseudo-header field {} in trailers, none was expected (RFC 9113 §8.1)",
                shown(field.name)
            ));
        }
    }

    /// The number of bytes of names and values that are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.fields.kept()
    }

    /// The trailers, once all fields have come.
    ///
    /// # Errors
    ///
    /// Fails if the block was too large or is malformed.
    pub(crate) fn finish(self) -> Result<HeaderMap, Refused> {
        self.fields.finish().map(|collected| collected.headers)
    }
}
