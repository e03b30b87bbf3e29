//! One connection, from its request to its end.

#[cfg(feature = "accept")]
use std::fmt::Display;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use http::request;
#[cfg(feature = "accept")]
use http::{Request, StatusCode};
use tracing::Level;

use super::{Link, Side, TARGET, meters, name};
use crate::error::{Error, Reason};

/// The reports of a connection. It counts as open until it has ended, or until this is dropped.
#[derive(Debug)]
pub(crate) struct Conn {
    side: Side,
    form: &'static str,
    open: AtomicBool,
}

impl Conn {
    /// A client has asked for the connection, or a server was asked for it. `form` names what it
    /// rides on. The target's query is left out, because it may be a secret.
    pub(crate) fn opened(link: &Link, form: &'static str, request: &request::Parts) -> Conn {
        let side = link.side().name();
        meters::add("h2conn_conns_open", [("side", side), ("form", form)], 1.0);
        if tracing::enabled!(target: TARGET, Level::DEBUG) {
            let (method, path) = (&request.method, request.uri.path());
            // A client opens it in its user's task.
            let span = link.span_or_current();
            tracing::debug!(target: TARGET, parent: &span, side, form, %method, path, "conn opened");
        }
        Conn { side: link.side(), form, open: AtomicBool::new(true) }
    }

    /// Reports that the connection is over. `rejected` says whether the answer refused it. Only the
    /// first call counts.
    pub(crate) fn ended(&self, link: &Link, how: &Result<(), Error>, rejected: bool) {
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
        if !tracing::enabled!(target: TARGET, Level::DEBUG) {
            return;
        }
        // Any task can see to the end, the user's included.
        let (side, span) = (self.side.name(), link.span_or_current());
        match how {
            Ok(()) => tracing::debug!(target: TARGET, parent: &span, side, result, "conn ended"),
            Err(error) => {
                tracing::debug!(target: TARGET, parent: &span, side, result, %error, "conn ended");
            }
        }
    }

    /// Another connection, which rides on this one, is reported in its place.
    #[cfg(feature = "websocket")]
    pub(crate) fn is_ridden(&self) {
        if self.open.swap(false, SeqCst) {
            self.closed();
        }
    }

    fn count(&self, result: &'static str) {
        ended(self.side.name(), self.form, result);
        self.closed();
    }

    fn closed(&self) {
        let labels = [("side", self.side.name()), ("form", self.form)];
        meters::add("h2conn_conns_open", labels, -1.0);
    }
}

fn ended(side: &'static str, form: &'static str, result: &'static str) {
    let labels = [("side", side), ("form", form), ("result", result)];
    meters::count("h2conn_conns_total", labels);
}

/// `accept`, or a listener by itself, refuses a request with this status, so that there is no connection. It is reported in
/// the span in which the program looks at the request.
#[cfg(feature = "accept")]
pub(crate) fn rejected<B>(
    side: Side,
    form: &'static str,
    request: &Request<B>,
    status: StatusCode,
    error: &dyn Display,
) {
    let side = side.name();
    ended(side, form, "rejected");
    let (method, path, status) = (request.method(), request.uri().path(), status.as_u16());
    tracing::debug!(target: TARGET, side, form, %method, path, status, %error, "conn rejected");
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.open.swap(false, SeqCst) {
            self.count("dropped");
        }
    }
}
