//! The reasons of resets, which hyper takes from h2's errors and hides in its own. Only this file
//! names h2.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use crate::error::{Ending, Error, Reason};

/// The source that an error of the response's body must have for hyper to reset with this reason.
pub(super) fn source_of(reason: Reason) -> impl StdError + Send + Sync + 'static {
    h2::Error::from(h2::Reason::from(reason.code()))
}

/// The reason of a reset that a connection's user has asked for, in the error of the response's body.
#[cfg(feature = "serve")]
pub(crate) fn asked_for(error: &(dyn StdError + 'static)) -> Option<Reason> {
    let mut next = Some(error);
    while let Some(level) = next {
        // No other error of ours has a source of h2.
        if level.is::<Error>()
            && let Some(h2) = level.source().and_then(|source| source.downcast_ref::<h2::Error>())
        {
            return h2.reason().map(|reason| Reason::from_code(reason.into()));
        }
        next = level.source();
    }
    None
}

/// The ending that an error of a request's body means. Frameworks wrap the error with the reason.
pub(super) fn ending(error: Box<dyn StdError + Send + Sync>) -> Ending {
    let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
    while let Some(level) = next {
        if let Some(h2) = level.downcast_ref::<h2::Error>() {
            let reason =
                h2.reason().map_or(Reason::PROTOCOL_ERROR, |r| Reason::from_code(r.into()));
            return match h2 {
                h2 if h2.is_io() => Ending::Gone(None),
                h2 if h2.is_reset() && h2.is_remote() => Ending::Reset(reason),
                h2 if h2.is_go_away() && h2.is_remote() => Ending::GoAway(reason, "".into()),
                h2 => Ending::Violation(reason, h2.to_string().into()),
            };
        }
        // The body of a server of this crate.
        if let Some(error) = level.downcast_ref::<Error>() {
            return Ending::Failed(error.clone());
        }
        next = level.source();
    }
    Ending::Gone(Some(Arc::new(io::Error::other(error))))
}
