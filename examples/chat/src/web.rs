//! The page, which is a few files without a build step.

use axum::Router;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};

/// Nothing but what this server has: a post that looks like a script is not one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn page<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    file("text/html", include_str!("web/chat.html"))
}

pub(crate) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/chat.css", file("text/css", include_str!("web/chat.css")))
        .route("/chat.js", file("text/javascript", include_str!("web/chat.js")))
}

fn file<S: Clone + Send + Sync + 'static>(media: &str, text: &'static str) -> MethodRouter<S> {
    let media = format!("{media}; charset=utf-8");
    let headers = [
        (CONTENT_TYPE, media),
        (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    get(move || async move { (headers, text).into_response() })
}
