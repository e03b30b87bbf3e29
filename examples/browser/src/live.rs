//! A route for pages that talk in JSON: a text message for each value, and a token among the subprotocols.

use axum::response::{Html, IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Extension, Router};
use futures_util::{SinkExt, StreamExt};
use h2conn::axum::Accept;
use h2conn::codec::Json;
use h2conn::http::{HeaderMap, StatusCode};
use h2conn::tokio_util::codec::Framed;
use h2conn::{Acceptor, Conn, WebSockets};
use serde::{Deserialize, Serialize};

/// The token of everybody. A server of your own gives one to each user who has logged in.
const TOKEN: &str = "eyJ1c2VyIjoiYW5uYSJ9.c2lnbmVk";

#[derive(Deserialize)]
struct Said {
    text: String,
}

#[derive(Serialize)]
struct Heard {
    number: u64,
    text: String,
}

pub(crate) fn routes() -> h2conn::Result<Router> {
    // The page offers "json" and its token, and gets "json" back.
    let websockets = WebSockets::new().json_lines().subprotocols(["json"]);
    let acceptor = Acceptor::builder().websockets(websockets).build()?;
    Ok(Router::new()
        .route("/json", get(|| async { Html(include_str!("json.html")) }))
        .route("/token", get(|| async { TOKEN }))
        .route("/live", any(live))
        .layer(Extension(acceptor)))
}

async fn live(headers: HeaderMap, accept: Accept) -> Response {
    if h2conn::bearer_token(&headers) != Some(TOKEN) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    accept.on_conn(|conn| async move {
        match talk(&conn).await {
            Ok(values) => eprintln!("{values} values were heard"),
            Err(error) => eprintln!("a connection ended badly: {error}"),
        }
    })
}

async fn talk(conn: &Conn) -> h2conn::Result<u64> {
    let mut values = Framed::new(conn, Json::<Heard, Said>::new());
    let mut number = 0;
    while let Some(Said { text }) = values.next().await.transpose()? {
        number += 1;
        values.send(Heard { number, text: text.to_uppercase() }).await?;
    }
    conn.close().await?;
    Ok(number)
}
