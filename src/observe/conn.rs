//! One connection, from its request to its end.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use http::request;
use tracing::{Level, Span};

use super::{Link, Side, TARGET, meters, name};
use crate::error::{Error, Reason};

/// The reports of a connection. It counts as open until it has ended, or until this is dropped.
#[derive(Debug)]
pub(crate) struct Conn {
    side: Side,
    open: AtomicBool,
}

impl Conn {
    /// A client has asked for the connection, or a server was asked for it. The target's query is
    /// left out, because it may be a secret.
    pub(crate) fn opened(link: &Link, request: &request::Parts) -> Conn {
        let side = link.side().name();
        meters::add("h2conn_conns_open", [("side", side)], 1.0);
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let (method, path) = (&request.method, request.uri.path());
            // A client opens it in its user's task. Under `accept` there is no link's span.
            let span = match link.span().is_none() {
                true => Span::current(),
                false => link.span().clone(),
            };
            tracing::debug!(target: TARGET, parent: &span, side, %method, path, "conn opened");
        }
        Conn { side: link.side(), open: AtomicBool::new(true) }
    }

    /// Reports that the connection is over. `rejected` says whether the answer was not 2xx. Only
    /// the first call counts.
    pub(crate) fn ended(&self, how: &Result<(), Error>, rejected: bool) {
        if !self.open.swap(false, SeqCst) {
            return;
        }
        let result = match how {
            // The way in which the client then ends the refused stream does not matter.
            _ if rejected => "rejected",
            Err(error) if error.reason() == Some(Reason::REFUSED_STREAM) => "refused",
            Err(error) => name(error.kind()),
            Ok(()) => "ok",
        };
        self.count(result);
        let side = self.side.name();
        match how {
            Ok(()) => tracing::debug!(target: TARGET, side, result, "conn ended"),
            Err(error) => tracing::debug!(target: TARGET, side, result, %error, "conn ended"),
        }
    }

    fn count(&self, result: &'static str) {
        let side = self.side.name();
        meters::count("h2conn_conns_total", [("side", side), ("result", result)]);
        meters::add("h2conn_conns_open", [("side", side)], -1.0);
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.open.swap(false, SeqCst) {
            self.count("dropped");
        }
    }
}
