//! The page, which is a few files without a build step.

use axum::Router;
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

/// The page may use only the files of this server, so that a script in a post cannot run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn page() -> Response {
    response("text/html", include_str!("web/chat.html"))
}

pub(crate) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let style = |text| file("text/css", text);
    let script = |text| file("text/javascript", text);
    Router::new()
        .route("/chat.css", style(include_str!("web/chat.css")))
        .route("/room.css", style(include_str!("web/room.css")))
        .route("/chat.js", script(include_str!("web/chat.js")))
        .route("/posts.js", script(include_str!("web/posts.js")))
        .route("/room.js", script(include_str!("web/room.js")))
        .route("/wire.js", script(include_str!("web/wire.js")))
}

fn file<S: Clone + Send + Sync + 'static>(
    media: &'static str,
    text: &'static str,
) -> MethodRouter<S> {
    get(move || async move { response(media, text) })
}

fn response(media: &str, text: &'static str) -> Response {
    let media = format!("{media}; charset=utf-8");
    let headers = [
        (CONTENT_TYPE, media),
        (CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    (headers, text).into_response()
}
