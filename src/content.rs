//! The content of ordinary requests and responses: bodies and trailers on their way to a stream and
//! out of one, and the fields that belong to them.

mod fields;
mod received;
mod sending;

use std::error::Error as StdError;

pub(crate) use fields::{content_length, is_without_content, remove_connection_specific, trim};
pub(crate) use received::Received;
#[cfg(feature = "requests")]
pub(crate) use sending::Piece;
#[cfg(feature = "serve")]
pub(crate) use sending::too_short;
pub(crate) use sending::{Pieces, Sending};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;
