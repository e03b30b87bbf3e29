//! The doctor in a server that gives requests to handlers: hyper, axum, or a listener that serves a router.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::{Asked, Doctor, FIELD, NO_SUCH_PROBE};
use crate::accept::{AcceptError, Acceptor};
use crate::hosted::Body;

/// The acceptor of a doctor. The first probe is a GET without a body, which boxes pass that hold others back.
pub(super) fn acceptor() -> Acceptor {
    let builder = Acceptor::builder().header(FIELD, "1").require_body(false);
    builder.build().expect("the field can be sent")
}

impl Doctor {
    /// Serves a request that a handler has received, in a task of its own. Returns the response that the handler must
    /// return, as [`accept`](fn@crate::accept) does, with the same limits of the server underneath. The probes of
    /// WebSockets need the feature `websocket`.
    ///
    /// # Errors
    ///
    /// The same as for [`accept`](fn@crate::accept), and 404 for a path that is no probe's.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn accept<B>(&self, request: Request<B>) -> Result<Response<Body>, AcceptError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let Some(asked) = Asked::of(request.uri().path()) else {
            return Err(AcceptError::new(StatusCode::NOT_FOUND, NO_SUCH_PROBE));
        };
        let (conn, response) = self.acceptor.accept(request)?;
        let reports = Arc::clone(&self.reports);
        // The client sees how it ends.
        tokio::spawn(async move { drop(reports.act(&asked, conn).await) });
        Ok(response)
    }

    /// A router for axum that has the doctor at this path and at all below it (feature `axum`). Merge it into your own,
    /// or [nest](axum::Router::nest) a router that has it.
    ///
    /// # Panics
    ///
    /// Panics if axum cannot have such a path, as [`axum::Router::route`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use axum::Router;
    /// use h2conn::doctor::Doctor;
    ///
    /// let app: Router = Router::new().merge(Doctor::default().router("/doctor/"));
    /// ```
    #[cfg(feature = "axum")]
    pub fn router<S: Clone + Send + Sync + 'static>(&self, path: &str) -> axum::Router<S> {
        use axum::{Router, body::Body, extract::Request, routing::any};

        let doctor = self.clone();
        let answer = any(move |request: Request| async move {
            doctor.accept(request).map(|response| response.map(Body::new))
        });
        let folder = path.trim_end_matches('/');
        let router = Router::new()
            .route(&format!("{folder}/"), answer.clone())
            .route(&format!("{folder}/{{*probe}}"), answer.clone());
        if folder.is_empty() { router } else { router.route(folder, answer) }
    }
}
